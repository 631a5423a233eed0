"""Restores held-out digits and clothing by every rule, beside what needs no model, and draws some.

    python -m benchmarks.restoration [--data digits fashion_mnist] [--operators NAME ...] [--pictures docs]

Digits are restored by the perceptron of configs/digits_mlp.py (PFGM), Fashion-MNIST (of Debian's package
dataset-fashion-mnist, or downloaded) by a small U-Net (PFGM++, D = 128); both are trained first, or trained on. For
each operator it prints PSNR in decibels, the mean over images of single answers, and the seconds of an answer.
Beside them are what no model is needed for: the mean image where nothing was measured (A⁺ y + (1 - A⁺ A) mean), and
the training image that is nearest by what was measured.
"""

import argparse
import time
from pathlib import Path

import jax.numpy as jnp
import ml_collections
import numpy as np

import pfgm_jax
import run_lib
from pfgm_jax import build, config_files, datasets, pictures
from pfgm_jax import config as config_lib
from pfgm_jax.commands import command_line
from pfgm_jax.context import Context
from pfgm_jax.datasets import prepare
from pfgm_jax.metrics.paired import psnr_of_each
from pfgm_jax.registry import SAMPLERS
from pfgm_jax.restorer import Restorer
from pfgm_jax.trained_model import TrainedModel

IMAGES, SHOWN = {"digits": 64, "fashion_mnist": 8}, 8
STEPS, RESAMPLINGS = 30, 5
NEAREST_OF = 10_000
# Noise is a share of the range of grey levels.
OPERATORS = {
    "upper half missing": {"operator": "inpaint", "mask": "upper"},
    "70 % missing": {"operator": "inpaint", "mask": 0.7},
    "middle known": {"operator": "crop"},
    "downscaled by 2": {"operator": "downscale"},
    "by 4, bicubic": {"operator": "downscale", "factor": 4, "filter": "bicubic"},
    "blurred": {"operator": "blur", "extent": 1.0, "noise": 0.02},
    "moved, with noise": {"operator": "blur", "kernel": "motion", "extent": 5.0, "angle": 30.0, "noise": 0.05},
    "noise": {"operator": "denoise", "noise": 0.25},
    "half and noise": {"operator": "inpaint", "mask": 0.5, "noise": 0.1},
}
RULES = {
    "null space": {"rule": "null_space"},
    "RePaint": {"rule": "null_space", "sampler": "repaint"},
    "PiGDM": {"rule": "pigdm"},
    "DPS": {"rule": "dps"},
    "SDEdit": {"rule": "sdedit"},
}


def config_of(name: str, folder: Path) -> ml_collections.ConfigDict:
    """The config of a run that learns a data set."""
    if name == "digits":
        config = config_files.load_experiment("digits_mlp")
        config.training.snapshot_sampling = False
        return config
    prepare.prepare(name, folder)
    config = config_files.load_experiment(name)
    config.update_from_flattened_dict(
        {
            "data.dir": str(folder),
            "training.sde": "pfgmpp",
            "training.n_iters": 2000,
            "training.batch_size": 16,
            "training.small_batch_size": 16,
            "training.snapshot_freq": 2000,
            "training.snapshot_freq_for_preemption": 250,
            "training.eval_freq": 500,
            "training.snapshot_sampling": False,
            "model.nf": 16,
            "model.num_res_blocks": 1,
            "model.attn_resolutions": (),
            "model.embedding_type": "positional_log",
            "model.ema_rate": 0.999,
            "optim.lr": 1e-3,
            "optim.warmup": 100,
            "pfgmpp.D": 128.0,
        }
    )
    return config


def with_options(model: TrainedModel, operator: dict, rule: dict, span: float, count: int) -> ml_collections.ConfigDict:
    """The model's config with an operator and a rule."""
    height, width, _ = model.shape
    options = {**operator, "rule": rule["rule"], "noise": operator.get("noise", 0.0) * span}
    if options.get("mask") == "upper":
        options["mask"] = (0, 0, height // 2, width)
    config = model.config.copy_and_resolve_references()
    changes = {"sampling.ode_solver": "dpmpp_2m", "sampling.N": STEPS, "sampling.resamplings": RESAMPLINGS}
    changes["sampling.batch_size"] = count // 2
    config_files.override(config, {**{f"restore.{name}": value for name, value in options.items()}, **changes})
    if "sampler" in rule:
        build.choose_sampler(config, rule["sampler"])
    config_lib.validate(config)
    return config


def without_a_model(
    restorer: Restorer, y: np.ndarray, mask: np.ndarray | None, train: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Restores by the mean of training images, and by the nearest of them; all in network units."""
    operator = restorer.operator.of(Context(mask=mask))
    known = jnp.asarray(restorer.to_network(y, mask), jnp.float32)
    mean = jnp.broadcast_to(jnp.asarray(train.mean(axis=0)), (len(y), *train.shape[1:]))
    filled = mean + operator.pseudo_inverse(known - operator.apply(mean))
    nearest = []
    for i in range(len(y)):
        of_one = restorer.operator.of(Context(mask=None if mask is None else np.repeat(mask[i : i + 1], len(train), 0)))
        away = np.asarray(of_one.apply(jnp.asarray(train)) - known[i : i + 1])
        nearest.append((away.reshape(len(train), -1) ** 2).sum(axis=1).argmin())
    return np.asarray(filled), train[nearest]


def compare(name: str, model: TrainedModel, dataset: datasets.Dataset, folder: Path, operators: list[str]) -> list[str]:
    """Restores by every rule; returns lines of a table, and draws the first images."""
    count = IMAGES[name]
    truth = dataset.test[:count]
    x = np.asarray(model.scaling.to_network(jnp.asarray(truth)))
    train = np.asarray(model.scaling.to_network(jnp.asarray(dataset.train[:NEAREST_OF])))
    span = model.config.data.levels - 1.0
    psnr = lambda found: psnr_of_each(np.asarray(model.scaling.to_stored(jnp.asarray(found))), truth, span).mean()
    columns = ["mean", "nearest", *RULES]
    lines = [f"{name}, {count} images", f"{'':20}" + "".join(f"{column:>18}" for column in columns)]
    for what in operators:
        operator = OPERATORS[what]
        cells, drawn = [], []
        for rule in RULES.values():
            if "sampler" in rule and not SAMPLERS[rule["sampler"]].supports(model.method):
                cells.append(f"{'-':>18}")
                continue
            config = with_options(model, operator, rule, span, count)
            restorer = Restorer(config)
            mask = restorer.masks(0, 0, count)
            y = restorer.damage(x, mask, 0, 0)
            context = Context()
            parts, start = [], 0.0
            for _, part in restorer.restore(model.params, y, mask, context):
                seconds = time.perf_counter() - start
                parts.append(part.x)
                start = time.perf_counter()
            found = np.concatenate(parts)
            # Of the last batch, since the first is compiled.
            cells.append(f"{psnr(found):10.2f} {seconds / len(parts[-1]):5.2f} s")
            if not drawn:
                simple = without_a_model(restorer, y, mask, train)
                drawn += [restorer.pictures(y, mask), *simple]
            drawn.append(found)
        lines.append(f"{what:20}" + "".join(f"{psnr(found):18.2f}" for found in simple) + "".join(cells))
        print(lines[-1], flush=True)
        rows = np.stack([np.asarray(model.scaling.to_stored(jnp.asarray(a[:SHOWN]))) for a in [*drawn, x]])
        pixels = pictures.to_pixels(rows.reshape(-1, *model.shape), build.window(model.config))
        file = folder / f"restored_{name}_{what.split(',')[0].replace(' ', '_').replace('%', 'percent')}.png"
        pictures.save_picture(file, pictures.image_grid(pixels, shortest=28, columns=SHOWN))
    return lines


def main() -> None:
    """Trains, restores, prints tables and draws pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["digits", "fashion_mnist"])
    parser.add_argument("--operators", nargs="+", choices=OPERATORS, default=[*OPERATORS])
    parser.add_argument("--folder", type=Path, default=Path("runs/restoration"))
    parser.add_argument("--pictures", type=Path, default=Path("runs/restoration"))
    parser.add_argument("--steps", type=int, default=0, help="of training; 0 for the config's")
    arguments = parser.parse_args()
    command_line.set_up_logging()
    arguments.pictures.mkdir(parents=True, exist_ok=True)
    tables = []
    for name in arguments.data:
        workdir = arguments.folder / name
        config = config_of(name, arguments.folder / "data")
        config.training.n_iters = arguments.steps or config.training.n_iters
        start = time.perf_counter()
        run_lib.train(config, workdir)
        print(f"{name}: trained to step {config.training.n_iters} in {time.perf_counter() - start:.0f} s", flush=True)
        model = pfgm_jax.load(workdir)
        dataset = build.load_dataset(model.config)
        tables += compare(name, model, dataset, arguments.pictures, arguments.operators)
    print("\n".join(tables))


if __name__ == "__main__":
    main()
