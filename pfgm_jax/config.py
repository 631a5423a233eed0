"""Everything a config has to satisfy, checked once before any work."""

import itertools
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import ml_collections

from pfgm_jax import datasets, likelihood, methods, metrics, models
from pfgm_jax.build import create_scaling, image_shape
from pfgm_jax.errors import InputError
from pfgm_jax.folders import Folder, write_whole
from pfgm_jax.methods.poisson import hyper_parameters
from pfgm_jax.models import ncsnv2
from pfgm_jax.models.layers import ACTIVATIONS
from pfgm_jax.ode import SCHEDULES, SOLVERS

_Check = Callable[[Any], bool]


def _at_least(bound: float) -> tuple[_Check, str]:
    return lambda v: math.isfinite(v) and v >= bound, f"give a number of at least {bound}"


def _above(bound: float) -> tuple[_Check, str]:
    return lambda v: math.isfinite(v) and v > bound, f"give a number above {bound}"


def _share() -> tuple[_Check, str]:
    return lambda v: 0 <= v < 1, "give a number of at least 0 and below 1"


def _all_are(types, values) -> bool:
    return isinstance(values, tuple) and all(isinstance(v, types) for v in values)


def _one_of(names) -> tuple[_Check, str]:
    return lambda v: v in names, f"choose one of {', '.join(names)}"


# The range of every field whose type alone does not say it.
RANGES: dict[str, tuple[_Check, str]] = {
    "seed": (lambda v: 0 <= v < 2**32, "give an integer of at least 0 and below 2^32"),
    "data.image_size": (
        lambda v: (
            v >= 0
            if isinstance(v, int)
            else isinstance(v, tuple | list) and _all_are(int, (*v,)) and len(v) == 2 and min(v) > 0
        ),
        "give the side of a square in pixels, (height, width), or 0 for the data's own",
    ),
    "data.num_channels": _at_least(0),
    "data.levels": _at_least(0),
    "data.scale": _at_least(0),
    "training.sde": _one_of((*methods.METHODS, *models.SCORE_MODELS)),
    "training.n_iters": _at_least(1),
    "training.batch_size": _at_least(1),
    "training.small_batch_size": _at_least(1),
    "training.field_reference": _one_of(("batch", "dataset")),
    "training.field_chunk": _at_least(1),
    "training.accumulate": _at_least(1),
    "training.log_freq": _at_least(1),
    "training.eval_freq": _at_least(1),
    "training.snapshot_freq": _at_least(1),
    "training.snapshot_freq_for_preemption": _at_least(1),
    "training.M": _at_least(0),
    "training.tau": _above(0),
    "training.gamma": _above(0),
    "sampling.ode_solver": _one_of(SOLVERS),
    "sampling.rtol": _above(0),
    "sampling.atol": _above(0),
    "sampling.max_steps": _at_least(1),
    "sampling.N": _at_least(1),
    "sampling.schedule": (
        lambda v: v in ("", *SCHEDULES),
        f"choose one of {', '.join(SCHEDULES)}, or '' for the solver's",
    ),
    "sampling.rho": _above(0),
    "sampling.levels": (
        lambda v: _all_are((int, float), v) and all(a > b > 0 for a, b in itertools.pairwise((math.inf, *v))),
        "give positive numbers, each below the one before it, such as (10.0,1.0,0.1), or ()",
    ),
    "sampling.z_max": _at_least(0),
    "sampling.z_min": _above(0),
    "sampling.upper_norm": _at_least(0),
    "sampling.z_exp": _at_least(0),
    "sampling.drift_epsilon": _at_least(0),
    "sampling.num_samples": _at_least(1),
    "sampling.batch_size": _at_least(1),
    "sampling.checkpoint": _at_least(0),
    "eval.checkpoints": (
        lambda v: isinstance(v, str) and (v in ("newest", "all") or all(n.strip().isdigit() for n in v.split(","))),
        'give newest, all, or steps such as "50000,100000"',
    ),
    "eval.batch_size": _at_least(1),
    "eval.num_samples": _at_least(2),
    "eval.features": _one_of(metrics.KINDS),
    "eval.front_end": _one_of(metrics.FRONT_ENDS),
    "eval.num_images": _at_least(0),
    "eval.divergence": _one_of(likelihood.DIVERGENCES),
    "eval.num_probes": _at_least(1),
    "model.name": _one_of(models.MODELS),
    "model.sigma_end": _above(0),
    "model.ema_rate": _share(),
    "model.nf": _at_least(4),
    "model.ch_mult": (
        lambda v: _all_are(int, v) and len(v) > 0 and min(v) >= 1,
        "give a tuple of at least one integer, each at least 1, such as (1,2,2)",
    ),
    "model.attn_resolutions": (lambda v: _all_are(int, v), "give a tuple of integers, such as (16,)"),
    "data.shift": (lambda v: _all_are((int, float), v), "give a tuple of numbers, or () for the data's own"),
    "model.num_res_blocks": _at_least(1),
    "model.dtype": _one_of(("float32", "bfloat16")),
    "model.resblock_type": _one_of(("biggan", "ddpm")),
    "model.fir_kernel": (
        lambda v: _all_are((int, float), v) and 2 <= len(v) <= 16 and sum(v) > 0,
        "give a tuple of 2 to 16 numbers with a positive sum, such as (1,3,3,1)",
    ),
    "model.progressive_input": _one_of(("none", "input_skip", "residual")),
    "model.progressive": _one_of(("none", "output_skip", "residual")),
    "model.progressive_combine": _one_of(("sum", "cat")),
    "model.embedding_type": _one_of(("positional", "fourier")),
    "model.fourier_scale": _above(0),
    "model.nonlinearity": _one_of(ACTIVATIONS),
    "model.sigma_min": _above(0),
    "model.sigma_max": _above(0),
    "model.num_scales": _at_least(1),
    "model.dropout": _share(),
    "model.init_scale": _at_least(0),
    "optim.optimizer": _one_of(("Adam",)),
    "optim.lr": _above(0),
    "optim.beta1": _share(),
    "optim.eps": _above(0),
    "optim.weight_decay": _at_least(0),
    "optim.warmup": _at_least(0),
    "optim.grad_clip": (
        lambda v: math.isfinite(v) and v != 0,
        "give a positive number, or -1 for no limit",
    ),
}

# Fields in which a `0` or `()` stands for "from the data".
FROM_DATA = (
    "data.image_size",
    "data.num_channels",
    "data.levels",
    "data.shift",
    "data.scale",
    "training.M",
    "sampling.z_max",
    "sampling.upper_norm",
)

# Fields that decide the shapes or the meaning of the parameters: a run cannot go on with others.
_IDENTITY = (
    "data.image_size",
    "data.num_channels",
    "data.levels",
    "data.shift",
    "data.scale",
    "data.centered",
    "data.uniform_dequantization",
    "training.sde",
    "training.gamma",
    "model.name",
    "model.nf",
    "model.ch_mult",
    "model.num_res_blocks",
    "model.attn_resolutions",
    "model.resblock_type",
    "model.resamp_with_conv",
    "model.fir",
    "model.fir_kernel",
    "model.progressive_input",
    "model.progressive",
    "model.progressive_combine",
    "model.embedding_type",
    "model.nonlinearity",
    "model.scale_by_sigma",
    "model.sigma_min",
    "model.sigma_max",
    "model.num_scales",
    "model.conditional",
    "model.skip_rescale",
)


def _get(config: ml_collections.ConfigDict, path: str) -> Any:
    value: Any = config
    for name in path.split("."):
        value = value[name]
    return value


def _set(config: ml_collections.ConfigDict, path: str, value: Any) -> None:
    group, name = path.split(".")
    with config.ignore_type():
        _get(config, group)[name] = value


def validate(config: ml_collections.ConfigDict) -> None:
    """Checks every field that can be checked without the data.

    Raises:
      InputError: a value is out of range, or two fields contradict each other.
    """
    for path in RANGES:
        _validate_field(config, path)
    training, sampling = config.training, config.sampling
    if training.small_batch_size > training.batch_size:
        raise InputError(
            f"training.small_batch_size is {training.small_batch_size}, but training.batch_size is "
            f"{training.batch_size}; perturb at most as many points as are drawn"
        )
    if config.model.sigma_max <= config.model.sigma_min:
        raise InputError(
            f"model.sigma_max is {config.model.sigma_max}, not above model.sigma_min, which is "
            f"{config.model.sigma_min}; give a larger one"
        )
    labelled = config.model.name == "ncsnv2" or config.model.embedding_type == "positional"
    if config.model.scale_by_sigma and config.training.sde == "poisson" and labelled:
        raise InputError(
            "model.scale_by_sigma is True, which divides by noise levels that the condition counts, but PFGM's "
            "condition is z; set it to False"
        )
    if sampling.z_max and sampling.z_max <= sampling.z_min:
        raise InputError(
            f"sampling.z_max is {sampling.z_max}, not above sampling.z_min, which is {sampling.z_min}; "
            "the ODE runs from z_max down to z_min"
        )
    if sampling.levels and (
        min(sampling.levels) <= sampling.z_min or (sampling.z_max and max(sampling.levels) >= sampling.z_max)
    ):
        raise InputError(
            f"sampling.levels is {tuple(sampling.levels)}, which must lie above sampling.z_min = {sampling.z_min} and "
            f"below sampling.z_max{f' = {sampling.z_max:.6g}' if sampling.z_max else ''}"
        )


def validate_devices(config: ml_collections.ConfigDict, dataset: datasets.Dataset, count: int) -> None:
    """Checks that the batches of a config can be shared out among so many devices.

    Raises:
      InputError: they cannot.
    """
    training = config.training
    parts = count * training.accumulate
    if training.small_batch_size % parts:
        microbatches = f", each with training.accumulate = {training.accumulate} microbatches"
        raise InputError(
            f"training.small_batch_size is {training.small_batch_size}, which {count} devices"
            f"{microbatches if training.accumulate > 1 else ''} cannot share evenly; choose a multiple of {parts}"
        )
    if training.field_reference == "batch" and training.batch_size % count:
        raise InputError(
            f"training.batch_size is {training.batch_size}, which {count} devices cannot share evenly; choose a "
            f"multiple of {count}"
        )
    fewest = min(len(dataset.train), len(dataset.test))
    if training.field_reference == "dataset" and fewest < count:
        raise InputError(
            f"training.field_reference is 'dataset', but a split of {config.data.dataset} has {fewest} examples for "
            f"{count} devices; choose 'batch'"
        )


def validate_network(config: ml_collections.ConfigDict) -> None:
    """Checks what decides the network of a config, which may lack fields of other kinds.

    Raises:
      InputError: a value is out of range, or the images do not suit the network.
    """
    for path in RANGES:
        group, name = path.split(".") if "." in path else ("", path)
        if path in ("data.image_size", "data.num_channels") or (group == "model" and name in config.model):
            _validate_field(config, path)
    _validate_shape(config)


def _validate_field(config: ml_collections.ConfigDict, path: str) -> None:
    holds, cure = RANGES[path]
    try:
        value = _get(config, path)
    except (KeyError, AttributeError):
        raise InputError(f"{path} is missing from the config; begin with configs/default.py") from None
    # The release has lists where we have tuples.
    if not holds(tuple(value) if isinstance(value, list) else value):
        raise InputError(f"{path} is {value!r}; {cure}")


def _validate_shape(config: ml_collections.ConfigDict) -> None:
    name = config.model.name
    if name == "mlp":
        return
    height, width, channels = image_shape(config)
    levels = len(config.model.ch_mult)
    divisor = 2 ** (levels - 1) if name == "ncsnpp" else ncsnv2.sides_divisor(height, width)
    if height % divisor or width % divisor:
        subject = f"model.ch_mult has {levels} levels, which need" if name == "ncsnpp" else "model.name 'ncsnv2' needs"
        raise InputError(
            f"{subject} sides divisible by {divisor}, but the images are {height} x {width}; choose "
            f"{'fewer levels or ' if name == 'ncsnpp' else ''}another data.image_size"
        )
    if not 1 <= channels <= 4:
        raise InputError(f"data.num_channels is {channels}; images have 1 to 4 channels")


def is_filled_in(config: ml_collections.ConfigDict) -> bool:
    """Whether a config of images leaves nothing to its data."""
    idle = ["data.shift", "data.scale"]
    if config.training.sde not in methods.METHODS:
        idle += ["training.M", "sampling.z_max", "sampling.upper_norm"]
    return all(_get(config, path) for path in FROM_DATA if path not in idle)


def fill_in(config: ml_collections.ConfigDict, dataset: datasets.Dataset) -> ml_collections.ConfigDict:
    """A copy of a config with everything that its data decide.

    Args:
      config: validated.
      dataset: what `data.dataset` names.

    Returns:
      The config with the fields of `FROM_DATA` filled in where they were 0.

    Raises:
      InputError: the config contradicts the data.
    """
    config = config.copy_and_resolve_references()
    height, width, channels = dataset.shape
    size = height if height == width else (height, width)
    found = {"data.image_size": size, "data.num_channels": channels, "data.levels": dataset.levels}
    if not isinstance(config.data.image_size, int):
        given = tuple(config.data.image_size)
        _set(config, "data.image_size", given[0] if given[0] == given[1] else given)
    for path, value in found.items():
        if _get(config, path) not in (0, value):
            raise InputError(
                f"{path} is {_get(config, path)}, but {config.data.dataset} has {value}; set it to 0 or to that"
            )
        _set(config, path, value)
    if len(dataset.train) < config.training.batch_size:
        raise InputError(
            f"training.batch_size is {config.training.batch_size}, but {config.data.dataset} has "
            f"{len(dataset.train)} training examples; draw at most as many"
        )
    if not dataset.levels:
        shift, scale = datasets.vector_scaling(dataset.train[:])
        config.data.shift, config.data.scale = config.data.shift or shift, config.data.scale or scale
        if len(config.data.shift) != channels:
            raise InputError(
                f"data.shift has {len(config.data.shift)} components, but {config.data.dataset} has vectors of "
                f"{channels}; give one for each, or () for the data's own"
            )
    if not dataset.levels and config.model.name != "mlp":
        raise InputError(
            f"model.name is {config.model.name!r}, but {config.data.dataset} holds vectors; choose model.name 'mlp'"
        )
    _validate_shape(config)

    given = (config.training.M, config.sampling.z_max, config.sampling.upper_norm)
    if config.training.sde in methods.METHODS and not all(given):
        norm = datasets.mean_norm(create_scaling(config), dataset.train)
        try:
            found = hyper_parameters(norm, math.prod(dataset.shape), config.model.sigma_end, config.training.tau)
        except ValueError as error:
            raise InputError(str(error)) from None
        config.training.M = config.training.M or float(found.M)
        config.sampling.z_max = config.sampling.z_max or found.z_max
        config.sampling.upper_norm = config.sampling.upper_norm or found.upper_norm
    validate(config)
    return config


def fill_in_from_run(config: ml_collections.ConfigDict, saved: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """A copy of a config with what a run that was started with it found in its data.

    Raises:
      InputError: the run trained another model.
    """
    config = config.copy_and_resolve_references()
    for path in FROM_DATA:
        if not _get(config, path):
            _set(config, path, _get(saved, path))
    check_same_model(config, saved)
    validate(config)
    return config


def check_same_model(config: ml_collections.ConfigDict, saved: ml_collections.ConfigDict) -> None:
    """Refuses to go on with another model than a run began with.

    Raises:
      InputError: names the fields that differ.
    """
    differing = differences(config, saved, _IDENTITY)
    if differing:
        raise InputError(
            f"the workdir holds a run of another model: {'; '.join(differing)}. "
            "Choose another --workdir, or set these fields back"
        )


def differences(
    config: ml_collections.ConfigDict, saved: ml_collections.ConfigDict, paths: Sequence[str] | None = None
) -> list[str]:
    """Which fields of two configs differ, each as "field is this, and was that".

    Args:
      config, saved: now, and before.
      paths: the fields to look at; None for all.
    """
    now, before = (_flat(to_dict(c)) for c in (config, saved))
    paths = paths or sorted(now)
    return [f"{p} is {now[p]!r}, and was {before.get(p)!r}" for p in paths if now[p] != before.get(p)]


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    groups = {k: v if isinstance(v, dict) else {"": v} for k, v in values.items()}
    return {f"{group}.{name}".rstrip("."): value for group, fields in groups.items() for name, value in fields.items()}


def to_dict(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """Plain JSON values of a config."""
    return json.loads(json.dumps(config.to_dict()))


def from_dict(values: dict[str, Any]) -> ml_collections.ConfigDict:
    """The config that `to_dict` gave these values of; lists become tuples."""
    tuples = lambda v: tuple(v) if isinstance(v, list) else v
    return ml_collections.ConfigDict(
        {k: {n: tuples(w) for n, w in v.items()} if isinstance(v, dict) else v for k, v in values.items()}
    )


def write(config: ml_collections.ConfigDict, workdir: Folder) -> None:
    """Saves a config as config.json of a workdir, atomically."""
    content = json.dumps(to_dict(config), indent=1) + "\n"
    write_whole(workdir / "config.json", content.encode())


def make_folder(path: Folder) -> None:
    """Makes the folder of a run.

    Raises:
      InputError: it cannot be made there.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"--workdir is {path}, which is a file or lies in one; name a folder") from None
    except OSError as error:
        raise InputError(f"--workdir is {path}, which cannot be made ({error.strerror}); name another") from None


def read(workdir: Folder, defaults: ml_collections.ConfigDict | None = None) -> ml_collections.ConfigDict:
    """The config that the run in a workdir was started with, filled in.

    Args:
      workdir: of the run.
      defaults: for fields that are younger than the run.

    Raises:
      InputError: there is no run, or its config.json is damaged.
    """
    path = workdir / "config.json"
    try:
        saved = json.loads(path.read_text())
        for group in ("data", "training", "sampling", "model", "optim"):
            saved[group]  # as old as runs
        for group, fields in to_dict(defaults).items() if defaults else ():
            saved[group] = {**fields, **saved.get(group, {})} if isinstance(fields, dict) else saved.get(group, fields)
        config = from_dict(saved)
        for field in (*RANGES, *FROM_DATA, *_IDENTITY):
            _get(config, field)
        return config
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"--workdir is {workdir}, which holds no run; train first: python main.py --mode train"
        ) from None
    except (ValueError, AttributeError, KeyError, TypeError):
        raise InputError(f"{path} is damaged; restore it, or choose another --workdir") from None
