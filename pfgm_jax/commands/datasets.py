"""Data sets from the command line.

python -m pfgm_jax.datasets prepare cifar10|fashion_mnist|celeba|lsun_bedroom [--data_dir DIR]
python -m pfgm_jax.datasets info --config configs/celeba.py [--picture data.png]
"""

from absl import flags
from etils import epy

from pfgm_jax.commands import command_line
from pfgm_jax.errors import InputError

with epy.lazy_imports():  # `--help` does not wait for JAX
    import jax
    import ml_collections
    import numpy as np

    from pfgm_jax import build, datasets, pictures
    from pfgm_jax import config as config_lib
    from pfgm_jax.datasets import prepare

FLAGS = flags.FLAGS
EXAMPLES = 64


def _numbers(values: float | tuple[float, ...]) -> str:
    """Formats numbers, the first of many."""
    values = values if isinstance(values, tuple) else (values,)
    return " ".join(f"{value:.6g}" for value in values[:8]) + (" ..." if len(values) > 8 else "")


def _labels(split: "datasets.Split") -> str:
    """Says how many examples each class has, or how many numbers a label has."""
    if not split.labelled:
        return "none"
    if split.labels.ndim > 1:
        return f"{split.labels.shape[1]} real numbers"
    classes, counts = np.unique(split.labels, return_counts=True)
    told = [f"{c} ({n})" if c >= 0 else f"none ({n})" for c, n in zip(classes, counts, strict=True)]
    return f"{(classes >= 0).sum()}, with so many examples of each, " + ", ".join(told)


def _conditions(config: "ml_collections.ConfigDict") -> dict[str, str]:
    """Says what images condition the examples, in which units."""
    data = config.data
    if not data.condition_channels:
        return {}
    units = {"condition shift": data.condition_shift, "condition scale": data.condition_scale}
    channels = {"conditions": f"images of {data.condition_channels} channels"}
    return {**channels, **{name: _numbers(tuple(values)) for name, values in units.items()}}


def info() -> None:
    """Prints what the data of a config are, and what follows from them; draws some as the network sees them."""
    config = FLAGS.config
    config_lib.validate(config)
    dataset = build.load_dataset(config)
    config = config_lib.fill_in(config, dataset)
    scaling = build.create_scaling(config)
    shape = build.image_shape(config)
    for name, value in {
        "training examples": len(dataset.train),
        "test examples": len(dataset.test),
        "shape": " x ".join(map(str, shape)),
        "grey levels": f"{scaling.levels} from {scaling.lowest} on" if scaling.lowest else scaling.levels or "none",
        **({} if scaling.levels else {"shift": _numbers(scaling.shift), "scale": _numbers(scaling.scale)}),
        "labels": _labels(dataset.train),
        **_conditions(config),
        "mean norm": f"{datasets.mean_norm(scaling, dataset.train):.6g}",
        **{name: f"{value:.6g}" for name, value in build.create_method(config).summary().items()},
    }.items():
        print(f"{name}: {value}")
    if not build.holds_vectors(config):
        window = build.window(config)
        print(f"black and white: {window[0]:.6g} and {window[1]:.6g}")
        numbers = np.linspace(0, len(dataset.train) - 1, min(EXAMPLES, len(dataset.train))).astype(np.int32)
        seen = scaling.augment(jax.random.key(config.seed), dataset.train[numbers], numbers)
        grid = pictures.image_grid(pictures.to_pixels(np.asarray(scaling.to_stored(seen)), window))
        pictures.to_picture(grid).save(FLAGS.picture)
        print(f"picture: {FLAGS.picture}")


def run(operands: list[str]) -> None:
    """Runs a command."""
    command, *names = operands
    if command == "prepare" and len(names) == 1:
        prepare.prepare(names[0], datasets.data_dir(FLAGS.data_dir))
    elif command == "info" and not names:
        if FLAGS.config is None:
            raise InputError("--config is missing; give the path of a config, or the name of one in configs/")
        info()
    else:
        raise InputError(f"{' '.join(operands)!r} is not a command; give 'prepare NAME' or 'info --config FILE'")


def main(program: str) -> None:
    """Parses the flags and runs a command.

    Args:
      program: how it is called, for messages.
    """
    flags.DEFINE_string("data_dir", "", "Folder of data sets; by default TFDS_DATA_DIR or ~/.cache/pfgm_jax.")
    flags.DEFINE_string("picture", "data.png", "What `info` writes.")
    help_text = "A config file, or the name of one in configs/; --config.GROUP.FIELD=VALUE overrides a field."
    command_line.define_config(help_text, required=False)
    usage = (__doc__ or "").replace("python -m pfgm_jax.datasets", program)
    command_line.run(run, program, usage, ("a command, prepare or info,",), more=1)
