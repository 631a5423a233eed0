"""Digits by their label, with PFGM and another method: is a sample what was asked for, and what does guidance do?

    python -m benchmarks.labels [--folder runs/labels] [--pictures docs] [--configs digits_mlp digits_vp]

Trains each with model.num_classes=10 on the exact field of each class. A support vector machine of scikit-learn that
knows the training digits (and finds the label of a share of the test digits that is printed) then says of 1,000 samples
what they show, and the Fréchet distance in pixel space how near they are to the training digits, for each guidance.
Labels are as frequent as in the data. Draws grids with one class a row, as labels_<config>.png, for guidance 1 and 4.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import sklearn.svm

import run_lib
from pfgm_jax import build, config_files, datasets, evaluation, pictures
from pfgm_jax.commands import command_line
from pfgm_jax.loading import load_with
from pfgm_jax.trained_model import TrainedModel

GUIDANCE = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)
SAMPLES = 1000
SHOWN = (1.0, 4.0)


def classifier(dataset: datasets.Dataset) -> Any:
    """A support vector machine that knows the training digits."""
    train = dataset.train
    options: dict[str, Any] = {"gamma": 0.001, "C": 10.0}
    return sklearn.svm.SVC(**options).fit(train[:].reshape(len(train), -1), train.labels)


def with_guidance(model: TrainedModel, guidance: float) -> TrainedModel:
    """The model with another guidance."""
    config = model.config.copy_and_resolve_references()
    config.sampling.guidance = guidance
    return model.with_config(config)


def drawn(model: TrainedModel, n: int, label: Any = None) -> tuple[np.ndarray, float]:
    """Draws n samples, in the model's own labels or in given ones; returns them and the mean number of evaluations."""
    if label is not None:
        return model.sample(n, seed=model.config.seed, label=label), 0.0
    found = [batch.check() for batch in model.draw(n, model.config.seed)]
    x = np.concatenate([batch.x for batch in found])
    evaluations = np.concatenate([batch.evaluations for batch in found])
    return np.asarray(model.scaling.to_stored(x)), float(evaluations.mean())


def main() -> None:
    """Trains, draws, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/labels"))
    parser.add_argument("--pictures", type=Path, default=Path("docs"))
    parser.add_argument("--configs", nargs="+", default=["digits_mlp", "digits_vp"])
    arguments = parser.parse_args()
    command_line.set_up_logging()
    dataset = datasets.load_dataset("digits")
    svm = classifier(dataset)
    lines = []
    for name in arguments.configs:
        config = config_files.load_experiment(name)
        config.model.num_classes, config.training.snapshot_sampling = 10, False
        run_lib.train(config, arguments.folder / name)
        config = config_files.read(arguments.folder / name)
        model = load_with(config, arguments.folder / name)
        compare = evaluation.create_comparison(config, dataset)
        labels = evaluation.labels_of_samples(model, SAMPLES)
        for guidance in GUIDANCE:
            samples, evaluations = drawn(with_guidance(model, guidance), SAMPLES)
            share = float((svm.predict(samples.reshape(SAMPLES, -1)) == labels).mean())
            lines.append(f"{name:14}{guidance:10.1f}{share:14.3f}{compare(samples)['fid']:10.4f}{evaluations:13.1f}")
        rows = np.repeat(np.arange(10), pictures.CLASS_IMAGES)
        grids = [drawn(with_guidance(model, guidance), len(rows), rows)[0] for guidance in SHOWN]
        pixels = [pictures.to_pixels(images, build.window(config)) for images in grids]
        beside = np.concatenate([pictures.class_grid(images, rows) for images in pixels], axis=1)
        pictures.save_picture(arguments.pictures / f"labels_{name}.png", beside)
    test = dataset.test
    of_test = (svm.predict(test[:].reshape(len(test), -1)) == test.labels).mean()
    print(f"the classifier finds the label of {of_test:.3f} of {len(test)} test digits")
    print(f"{'':14}{'guidance':>10}{'as asked for':>14}{'FD':>10}{'evaluations':>13}")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
