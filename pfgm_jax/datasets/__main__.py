"""Data sets from the command line.

python -m pfgm_jax.datasets prepare cifar10|celeba|lsun_bedroom [--data_dir DIR]
python -m pfgm_jax.datasets info --config configs/celeba.py [--picture data.png]
"""

import math

import jax
import numpy as np
from absl import flags
from ml_collections import config_flags
from scipy import stats

from pfgm_jax import build, cli, datasets, writers
from pfgm_jax import config as config_lib
from pfgm_jax.datasets.prepare import prepare
from pfgm_jax.errors import InputError

FLAGS = flags.FLAGS
EXAMPLES = 64


def clipped_share(dim: int, z_max: float, upper_norm: float) -> float:
    """Share of the prior's draws whose norm `upper_norm` clips: |x|²/z_max² ~ BetaPrime(N/2, 1/2)."""
    return float(stats.betaprime(dim / 2, 0.5).sf((upper_norm / z_max) ** 2))


def info() -> None:
    """Prints what the data of a config are, and what follows from them; draws some as the network sees them."""
    config = FLAGS.config
    config_lib.validate(config)
    dataset = build.load_dataset(config)
    config = config_lib.fill_in(config, dataset)
    scaling = build.create_scaling(config)
    shape = build.image_shape(config)
    clipped = clipped_share(math.prod(shape), config.sampling.z_max, config.sampling.upper_norm)
    labels = set(np.unique(dataset.train.labels)) - {-1}
    for name, value in {
        "training examples": len(dataset.train),
        "test examples": len(dataset.test),
        "shape": " x ".join(map(str, shape)),
        "grey levels": dataset.levels or "none",
        "labels": len(labels) or "none",
        "mean norm": f"{datasets.mean_norm(scaling, dataset.train):.6g}",
        "M": f"{config.training.M:g}",
        "z_max": f"{config.sampling.z_max:.6g}",
        "upper_norm": f"{config.sampling.upper_norm:.6g}",
        "share of the prior clipped": f"{clipped:.3f}",
    }.items():
        print(f"{name}: {value}")
    if dataset.levels:
        numbers = np.linspace(0, len(dataset.train) - 1, min(EXAMPLES, len(dataset.train))).astype(np.int32)
        seen = scaling.augment(jax.random.key(config.seed), dataset.train[numbers], numbers)
        grid = writers.image_grid(writers.to_pixels(np.asarray(scaling.decode(seen)), dataset.levels))
        writers.to_picture(grid).save(FLAGS.picture)
        print(f"picture: {FLAGS.picture}")


def main(operands: list[str]) -> None:
    """Runs a command."""
    command, *names = operands
    if command == "prepare" and len(names) == 1:
        prepare(names[0], datasets.data_dir(FLAGS.data_dir))
    elif command == "info" and not names:
        if FLAGS.config is None:
            raise InputError("--config is missing; give the path of a file in configs/")
        info()
    else:
        raise InputError(f"{' '.join(operands)!r} is not a command; give 'prepare NAME' or 'info --config FILE'")


if __name__ == "__main__":
    flags.DEFINE_string("data_dir", "", "Folder of data sets; by default TFDS_DATA_DIR or ~/.cache/pfgm_jax.")
    flags.DEFINE_string("picture", "data.png", "What `info` writes.")
    config_flags.DEFINE_config_file("config", None, "A file of configs/; --config.GROUP.FIELD=VALUE overrides a field.")
    cli.run(main, "python -m pfgm_jax.datasets", ("a command, prepare or info,",), more=1)
