"""Fields of configs that cannot be: of other types, out of range, in contradiction, unknown or missing."""

from typing import Any

import ml_collections

from configs import cifar10, digits, heart
from pfgm_jax import build, config, config_fields, config_files
from tests.hostile.case import Case, assert_refused, plainly

NAN, INFINITY = float("nan"), float("inf")
# Values that a field cannot have, though they are of its type or near to it.
OUT_OF_RANGE = {
    "seed": (-1, 2**32, 1.5),
    "data.dataset": ("", "digit", "digits:", "arrays:", "folder:", "tfds:", "cifar10:x", "mnist", "digits\n"),
    "data.image_size": (-8, 2.5, (8,), (8, 8, 8), (8, 0), (8, -8), "8x8", 10**12),
    "data.num_channels": (-1, 10**10),
    "data.levels": (-2, 2**40),
    "data.shift": ((NAN,), (INFINITY, 0.0), ("a",), ((1.0,),), (1e-40,)),
    "data.scale": (-1.0, NAN, 1e-50, 1e39),
    "training.sde": ("", "vp", "Poisson", "edm"),
    "training.n_iters": (0, -5, 10**20, 10**400, 1e300, INFINITY),
    "training.batch_size": (0, -1, 2**31),
    "training.small_batch_size": (0, 1.5, 10**9),
    "training.field_reference": ("all", "example"),
    "training.field_chunk": (0, -4096),
    "training.accumulate": (0, -2),
    "training.log_freq": (0,),
    "training.eval_freq": (0, 0.5),
    "training.snapshot_freq": (0, 10**30),
    "training.snapshot_freq_for_preemption": (0,),
    "training.M": (-1.0, NAN, INFINITY, 1e-300),
    "training.tau": (0.0, -0.03, 1e9, NAN, INFINITY),
    "training.gamma": (0.0, -5.0, 1e-320, 1e40),
    "sampling.method": ("", "pc", "rk45"),
    "sampling.ode_solver": ("", "RK45", "rk4", "ode"),
    "sampling.rtol": (0.0, -1e-4, NAN, 1e-60),
    "sampling.atol": (0.0, INFINITY),
    "sampling.max_steps": (0, 10**12),
    "sampling.N": (0, -3, 1e2 + 0.5),
    "sampling.schedule": ("linear", "RHO"),
    "sampling.rho": (0.0, -7.0, 1e100),
    "sampling.levels": ((1.0, 2.0), (1.0, 1.0), (0.0,), (-1.0,), (NAN,), (INFINITY, 1.0), ("1",)),
    "sampling.z_max": (-40.0, 1e-4, 1e60),
    "sampling.z_min": (0.0, -1e-3, 1e-45),
    "sampling.upper_norm": (-1.0, 1e39),
    "sampling.z_exp": (-5.0, NAN),
    "sampling.drift_epsilon": (-1e-5, NAN),
    "sampling.num_samples": (0, -64, 10**11),
    "sampling.batch_size": (0, -256),
    "sampling.checkpoint": (-1, 10**18),
    "eval.checkpoints": ("", "latest", "1,,2", "-5", "1.5", "\u00b2", "newest,5", "9" * 30),
    "eval.batch_size": (0,),
    "eval.num_samples": (1, 0),
    "eval.features": ("", "vgg"),
    "eval.front_end": ("torch",),
    "eval.bpd_dataset": ("", "validation", "folder:", "arrays:", "digits", "tests"),
    "eval.num_images": (-1,),
    "eval.divergence": ("hutchinson", ""),
    "eval.num_probes": (0, -1),
    "model.name": ("", "unet", "NCSNpp"),
    "data.augmentation": (-0.1, 1.1, NAN, INFINITY),
    "pfgmpp.D": (0.5, -1.0, NAN, -INFINITY, 1e-45),
    "pfgmpp.sigma_min": (0.0, -1.0, 90.0, NAN, INFINITY),
    "pfgmpp.sigma_max": (0.0, 0.001, NAN, INFINITY),
    "sampling.alpha": (-0.1, NAN, INFINITY),
    "model.ema_profiles": ((0.1,), (0.1, 0.5), (0.0, 0.1), ("a", "b"), (NAN, 0.1), (0.1, True)),
    "model.sigma_end": (0.0, -0.01, 1e-46),
    "model.ema_rate": (1.0, -0.1, 0.99999999999, NAN),
    "model.nf": (3, 0, -128),
    "model.dtype": ("float16", "fp32", "float64"),
    "model.nonlinearity": ("gelu", ""),
    "model.sigma_min": (0.0, 60.0),
    "model.sigma_max": (0.001, -1.0),
    "model.num_scales": (0,),
    "model.ch_mult": ((), (0,), (1, 2.5), ("1", "2"), (1, -2), (1, True), ((1, 2),)),
    "model.num_res_blocks": (0,),
    "model.attn_resolutions": ((16.5,), ("16",), (None,)),
    "model.dropout": (1.0, -0.1, 0.99999999999),
    "model.resblock_type": ("resnet",),
    "model.fir_kernel": ((1e400, 1), (1,), (), (1, -1), (0, 0), tuple(range(17)), (NAN, 1), ("1", "3")),
    "model.progressive_input": ("skip",),
    "model.progressive": ("input_skip",),
    "model.progressive_combine": ("add",),
    "model.embedding_type": ("sinusoidal",),
    "model.fourier_scale": (0.0,),
    "model.init_scale": (-1.0,),
    "optim.optimizer": ("adam", "SGD"),
    "optim.lr": (0.0, -1e-3, NAN, INFINITY, 1e-42),
    "optim.beta1": (1.0, -0.9, 0.99999999999),
    "optim.eps": (0.0, 1e-50),
    "optim.weight_decay": (-1.0,),
    "optim.warmup": (-1, 10**15),
    "optim.grad_clip": (0.0, NAN, INFINITY),
}
WRONG_TYPES = {bool: "no", int: "12", float: "fast", str: 7, tuple: 3}
# Fields that do not exist: misspelt, of another group, of other programs, of nothing.
UNKNOWN = (
    *("training.nn_iters", "training.batchsize", "training.Gamma", "training.lr", "training.steps", "trainig.tau"),
    *(
        "optim.learning_rate",
        "optim.beta2",
        "model.channels",
        "model.ema",
        "sampling.solver",
        "sampling.n",
        "sampling.tol",
    ),
    *("data.path", "data.root", "data.imagesize", "eval.fid", "eval.batchsize", "seeds", "lr", "wandb", "data.shift.x"),
)


def with_field(get_config, path, value):
    """A config whose field has a value, whatever its type, and whether it exists or not."""
    made = get_config()
    *groups, name = path.split(".", 1)
    with made.ignore_type(), made.unlocked():
        group = made
        for each in groups:
            if each not in group:
                group[each] = ml_collections.ConfigDict()
            group = group[each]
        # Names with a dot cannot be set but by an update.
        group.update(ml_collections.ConfigDict({name: value})) if "." not in name else group.update({"x": {"y": value}})
    return made


def _refused_field(path, value, named=None, get_config=digits.get_config):
    def attempt(_):
        made = with_field(get_config, path, value)
        assert_refused(lambda: config.validate(made), path if named is None else named)

    return attempt


def _fields() -> list[Case]:
    cases = [
        Case(f"{path} = {str(value)[:40]!r}", _refused_field(path, value, "" if path == "data.dataset" else None))
        for path, values in OUT_OF_RANGE.items()
        for value in values
        if path != "data.dataset" and (path, value) != ("data.levels", 2**40)
    ]
    for path, default in sorted(config_fields.known_fields().items()):
        if path == "data.image_size":
            continue
        cases.append(Case(f"{path} of another type", _refused_field(path, WRONG_TYPES[type(default)])))
        cases.append(Case(f"{path} is None", _refused_field(path, None)))
    cases += [Case(f"unknown {path}", _refused_field(path, 3, "is not a field")) for path in UNKNOWN]
    return cases


def _sources() -> list[Case]:
    def attempt(name):
        return lambda _: assert_refused(
            lambda: build.load_dataset(with_field(digits.get_config, "data.dataset", name)), "data.dataset"
        )

    return [Case(f"data.dataset = {name!r}", attempt(name)) for name in OUT_OF_RANGE["data.dataset"]]


# Fields that contradict each other: each alone would do.
CONTRADICTIONS = (
    (digits, {"training.small_batch_size": 2048, "training.batch_size": 1024}, "training.small_batch_size"),
    (digits, {"data.levels": 17, "data.shift": (1.0,)}, "data.shift"),
    (digits, {"data.levels": 17, "data.scale": 2.0}, "data.scale"),
    (heart, {"sampling.z_min": 50.0, "sampling.z_max": 40.0}, "sampling.z_max"),
    (heart, {"sampling.ode_solver": "euler", "sampling.levels": (1.0, 100.0)}, "sampling.levels"),
    (digits, {"sampling.method": "euler"}, "sampling.method"),
    (digits, {"model.sigma_min": 1.0, "model.sigma_max": 1.0}, "model.sigma_max"),
)
# Fields that contradict their data.
OF_DATA = (
    (digits, {"data.image_size": 9}, "data.image_size"),
    (digits, {"data.num_channels": 3}, "data.num_channels"),
    (digits, {"data.levels": 256}, "data.levels"),
    (digits, {"data.shift": (0.5,)}, "data.shift"),
    (digits, {"data.scale": 3.0}, "data.scale"),
    (digits, {"training.batch_size": 2000}, "training.batch_size"),
    (digits, {"model.sigma_end": 1e6}, "model.sigma_end"),
    (digits, {"model.name": "ncsnpp", "model.ch_mult": (1, 2, 2, 2, 2)}, "model.ch_mult"),
    (heart, {"data.shift": (0.0, 1.0, 2.0)}, "data.shift"),
    (heart, {"model.name": "ncsnpp"}, "model.name"),
    (heart, {"data.image_size": (1, 2)}, "data.image_size"),
    (cifar10, {"data.dir": "/nowhere"}, "data.dataset"),
    (digits, {"data.dataset": "arrays:/nowhere.npy"}, "/nowhere.npy"),
    (digits, {"data.dataset": "folder:/nowhere"}, "/nowhere"),
    (digits, {"data.dataset": "tfds:nothing", "data.dir": "/nowhere"}, "tfds:nothing"),
)


def _together() -> list[Case]:
    def attempt(module, fields, named, filled_in):
        def act():
            made = module.get_config()
            made.update_from_flattened_dict(fields)
            config.validate(made)
            if filled_in:
                config.fill_in(made, build.load_dataset(made))

        return lambda _: assert_refused(act, named)

    return [
        Case(f"{module.__name__} with {fields}", attempt(module, fields, named, filled_in))
        for known, filled_in in ((CONTRADICTIONS, False), (OF_DATA, True))
        for module, fields, named in known
    ]


def _missing() -> list[Case]:
    def attempt(path):
        def act():
            made: Any = digits.get_config()
            group, _, name = path.partition(".")
            del (made[group] if name else made)[name or group]
            config.validate(made)

        return lambda _: assert_refused(act, path.partition(".")[0])

    paths = ("seed", "data.dir", "model.nf", "sampling.method", "training.gamma", "eval", "optim", "sampling")
    return [Case(f"no {path}", attempt(path)) for path in paths]


def _no_configs() -> list[Case]:
    given: tuple[Any, ...] = (None, {}, "digits", 3, [], digits, digits.get_config)
    attempt = lambda value: lambda _: assert_refused(lambda: plainly(config.validate, value), "the config")
    return [Case(f"a config of the type {type(value).__name__}", attempt(value)) for value in given]


def _groups() -> list[Case]:
    groups = ("data", "training", "sampling", "eval", "model", "optim")

    def attempt(group, value):
        def act():
            made = digits.get_config()
            with made.ignore_type():
                made[group] = value
            config.validate(made)

        return lambda _: assert_refused(act, group)

    return [Case(f"{group} = {value!r}", attempt(group, value)) for group in groups for value in (3, None)]


def _names() -> list[Case]:
    names = ("", "cifar", "configs/digits.py", "../digits", "digits.py", "\0")
    attempt = lambda name: lambda _: assert_refused(lambda: config_files.load_experiment(name), "the config is")
    return [Case(f"experiment {name!r}", attempt(name)) for name in names]


def cases() -> list[Case]:
    """All of them."""
    return [*_fields(), *_sources(), *_together(), *_missing(), *_no_configs(), *_groups(), *_names()]
