"""PFGM beside what it is measured against, on one network with the same batches and steps.

    python -m benchmarks.compare --data digits|fashion_mnist [--budget MINUTES] [--seeds N] [--gpu]
        [--figures] [--folder runs/compare] [--output docs]

Trains PFGM, PFGM++ with D = 128, the VE, VP and sub-VP SDEs and flow matching, with each seed. Draws samples of each by
its ODE, by its SDE or ancestral sampler, and in few steps. Measures likelihoods, and how far off images are that are
encoded and decoded. A quarter of the budget is for training, and decides how many steps there are. What is done is kept
in the folder: a command that was interrupted goes on where it stopped when it is given again.

Prints tables with means over seeds and their standard errors, and what they say of the paper's claims, and writes them
to the output folder. With --figures it also draws the paper's figures there, of the first seed, and trains the weak
network of one of them, which takes half as long again. With --gpu the network has the size that a GPU trains in the
time. docs/comparison.md says what came out.
"""

import argparse
import functools
import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np

import pfgm_jax
import run_lib
from benchmarks import compare_figures, compare_tables
from benchmarks.compare_plan import CELLS, DATA, METHODS, Cell, Data, config_of, plan, sampled
from pfgm_jax import build, config_files, datasets, evaluation, metrics, results
from pfgm_jax.commands import command_line
from pfgm_jax.loading import load_with
from pfgm_jax.metrics.held_out import Copying
from pfgm_jax.metrics.neighbours import nearest_distances
from pfgm_jax.registry import METRICS

# By kind of features: what is measured by them, and what its name begins with.
MEASURED = {"pixels": ("fid", ""), "efficientnet": ("kid", "feature_")}
# Of a thousand images each, whose kernel distances are averaged; all samples are in each.
SUBSETS = 10
# Held-out images that samples' distances to training images are compared with.
HELD_OUT = 1000


class Run:
    """A trained model, and what was measured of it, which a file keeps."""

    def __init__(self, config: ml_collections.ConfigDict, workdir: Path, data: Data):
        self.config, self.workdir, self.data = config, workdir, data
        self._path = workdir / "compared.json"
        self.found: dict[str, Any] = json.loads(self._path.read_text()) if self._path.exists() else {}

    def train(self) -> None:
        """Trains, unless that is done."""
        if "train" in self.found:
            return
        run_lib.train(self.config, self.workdir)
        lines = [json.loads(line) for line in (self.workdir / "metrics.jsonl").read_text().splitlines()]
        losses = {name: lines[-1][name] for name in ("held_out_loss", "fitted_loss")}
        taken = np.diff([0, *(line["step"] for line in lines)])
        seconds = float(np.sum(taken / [line["steps_per_second"] for line in lines]))
        self._keep("train", {"seconds": seconds, **losses})

    def sample(self, cell: Cell) -> None:
        """Draws samples and compares them with the data, by pixels and by a network's features."""
        if cell.name in self.found:
            return
        model = load_with(sampled(config_files.read(self.workdir), cell), self.workdir)
        folder = results.samples_folder(self.workdir, model, self.data.samples)
        rows = evaluation.draw_samples(model, folder, self.data.samples)
        values = {"evaluations": float(rows["evaluations"].mean()), "seconds": float(rows["seconds"].sum())}
        for features in MEASURED:
            values |= self._distances(features)(rows["samples"])
        copies = Copying.of_distances(nearest_distances(_flat(rows["samples"]), self._train), self._held_out)
        values |= {"memorized": copies.memorized, "nearer_than_test": copies.nearer}
        self._keep(cell.name, values)

    @functools.cached_property
    def _dataset(self) -> datasets.Dataset:
        return build.load_dataset(config_files.read(self.workdir))

    @functools.cached_property
    def _train(self) -> np.ndarray:
        return _flat(self._dataset.train[:])

    @functools.cached_property
    def _held_out(self) -> np.ndarray:
        """Distances of held-out images to their nearest training image."""
        return nearest_distances(_flat(self._dataset.test[:HELD_OUT]), self._train)

    @functools.cache  # noqa: B019
    def _distances(self, features: str) -> Callable[[np.ndarray], dict[str, float]]:
        """Returns a function from images to their distances to training and test images."""
        directory, options = datasets.data_dir(), metrics.MetricOptions(kid_subsets=SUBSETS)
        name, (metric, prefix) = self.config.data.dataset, MEASURED[features]
        extractor = metrics.create_extractor(features, metrics.ExtractorOptions(directory, self._dataset.levels))
        splits = {"": (self._dataset.train, "train"), "_test": (self._dataset.test, "test")}
        references = {
            ending: metrics.reference_statistics(name, split, extractor, directory, of)
            for ending, (split, of) in splits.items()
        }

        def measure(images):
            of_images = metrics.extract(images, extractor)
            found = {ending: METRICS[metric](of_images, reference, options) for ending, reference in references.items()}
            return {f"{prefix}{metric}{ending}": values[metric] for ending, values in found.items()}

        return measure

    def measure_images(self) -> None:
        """Measures likelihoods of test and training images, and how far off they are when encoded and decoded."""
        if "images" in self.found:
            return
        values = {}
        for split in ("test", "train"):
            config = self.config.copy_and_resolve_references()
            config.eval.bpd_dataset, config.eval.num_images = split, self.data.images
            folder = run_lib.likelihood(config, self.workdir)
            values[f"bits_{split}"] = json.loads((folder / "table.json").read_text())["bits_per_dim"]
        options: dict[str, Any] = {"sampling.ode_solver": "rk45"}
        model = pfgm_jax.load(self.workdir, **options)
        images = compare_figures.test_images(model, self.data.images)
        x = np.asarray(model.scaling.to_network(images))
        back = model.generator.decode(model.params, model.generator.encode(model.params, x))
        values["inversion"] = float(np.median(np.sqrt(np.mean(np.square(back - x), axis=(1, 2, 3)))) / 2)
        self._keep("images", values)

    def _keep(self, name: str, values: dict[str, float]) -> None:
        self.found[name] = values
        partial = self._path.with_suffix(".partial")
        partial.write_text(json.dumps(self.found, indent=1))
        partial.replace(self._path)


def _flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1)


def run(folder: Path, data: Data, made: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Trains and measures all methods with all seeds; returns what was found, by method."""
    found: dict[str, list[dict[str, Any]]] = {method: [] for method in METHODS}
    for seed in range(made["seeds"]):
        for method in METHODS:
            config = config_of(data, method, seed, made["steps"], made["gpu"])
            workdir = compare_figures.workdir_of(folder, method, seed)
            of_method = Run(config, workdir, data)
            of_method.train()
            for cell in CELLS:
                if method in cell.methods:
                    of_method.sample(cell)
            of_method.measure_images()
            found[method].append(of_method.found)
            print(f"seed {seed}, {method}: done", flush=True)
    return found


def main() -> None:
    """Runs, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=list(DATA), required=True)
    parser.add_argument("--budget", type=float, default=90, help="minutes")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--figures", action="store_true")
    parser.add_argument("--folder", type=Path, default=Path("runs/compare"))
    parser.add_argument("--output", type=Path, default=Path("docs"))
    arguments = parser.parse_args()
    command_line.keep_compilations()
    command_line.set_up_logging()
    data = DATA[arguments.data]
    folder = arguments.folder / arguments.data
    made = plan(folder, data, arguments.budget, arguments.seeds or data.seeds, arguments.gpu)
    found = run(folder, data, made)
    device = jax.devices()[0].device_kind
    machine = f"{platform.platform()}, {device}, jax {jax.__version__}, pfgm_jax {pfgm_jax.__version__}"
    text = compare_tables.text(arguments.data, made, found, machine)
    print(text)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / f"comparison_{arguments.data}.txt").write_text(text)
    if arguments.figures:
        compare_figures.draw(folder, arguments.data, data, made, arguments.output)


if __name__ == "__main__":
    main()
