"""Calls of the library with arguments that cannot be, of a small model that nobody trained."""

import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np

import pfgm_jax
from configs import digits
from pfgm_jax import Context, build, config, config_files, datasets, metrics, models, registry, samplers
from pfgm_jax.datasets import prepare
from pfgm_jax.loading import load_params
from pfgm_jax.metrics.features import ExtractorOptions
from tests.hostile.case import Case, assert_refused, plainly

NAN = float("nan")


@functools.cache
def model() -> pfgm_jax.TrainedModel:
    """A model of digits with random parameters."""
    made = digits.get_config()
    made.update_from_flattened_dict({"model.name": "mlp", "model.nf": 8, "model.num_res_blocks": 1})
    made = config.fill_in(made, build.load_dataset(made))
    params = models.init_params(models.create_model(made), build.image_shape(made), jax.random.key(0))
    return pfgm_jax.TrainedModel(made, params, 1)


IMAGES = np.zeros((2, 8, 8, 1), np.uint8)
LATENTS = np.zeros((2, 8, 8, 1), np.float32)


class Odd:
    """Says nothing of itself but errors."""

    def __repr__(self):
        raise RuntimeError

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError


# Not images of the model, whoever takes them.
NO_IMAGES: dict[str, Any] = {
    "None": None,
    "nothing": [],
    "an empty array": np.zeros((0, 8, 8, 1), np.uint8),
    "ragged": [[1, 2], [3]],
    "ragged images": [np.zeros((8, 8, 1), np.uint8), np.zeros((8, 7, 1), np.uint8)],
    "text": "digits",
    "a number": 3,
    "0-d": np.uint8(3),
    "one image": np.zeros((8, 8, 1), np.uint8),
    "another size": np.zeros((2, 9, 8, 1), np.uint8),
    "colours": np.zeros((2, 8, 8, 3), np.uint8),
    "channels first": np.zeros((2, 1, 8, 8), np.uint8),
    "floats": np.zeros((2, 8, 8, 1)),
    "signed": np.zeros((2, 8, 8, 1), np.int32),
    "too bright": np.full((2, 8, 8, 1), 17, np.uint8),
    "objects": np.full((2, 8, 8, 1), None),
    "complex": np.zeros((2, 8, 8, 1), complex),
    "dates": np.zeros((2, 8, 8, 1), "M8[D]"),
    "records": np.zeros((2, 8, 8, 1), [("a", "u1")]),
    "letters": np.full((2, 8, 8, 1), "a"),
    "dictionary": {"images": IMAGES},
    "a generator": (image for image in IMAGES),
    "odd": Odd(),
}
NO_LATENTS: dict[str, Any] = {
    "None": None,
    "nothing": [],
    "an empty array": np.zeros((0, 8, 8, 1)),
    "ragged": [[1.0], [2.0, 3.0]],
    "another size": np.zeros((2, 8, 9, 1)),
    "one": np.zeros((8, 8, 1)),
    "NaN": np.full((2, 8, 8, 1), NAN),
    "infinite": np.full((2, 8, 8, 1), -np.inf),
    "beyond float32": np.full((2, 8, 8, 1), 1e300),
    "complex": np.zeros((2, 8, 8, 1), complex),
    "letters": np.full((2, 8, 8, 1), "1.5"),
    "odd": Odd(),
}


def _context(**given: Any) -> Context:
    return Context(**given)


NO_COUNTS: tuple[Any, ...] = (
    0,
    -1,
    2.5,
    1e300,
    10**400,
    2**31,
    None,
    "3",
    True,
    NAN,
    [3],
    np.array([3]),
    np.float32(3),
    3j,
    Odd(),
)
NO_SEEDS: tuple[Any, ...] = (-1, 2**32, 1.5, None, "0", NAN, [0], True, 10**400, jax.random)
CONTEXTS: tuple[Any, ...] = (
    None,
    3,
    {"label": [1, 2]},
    _context(label=3),
    _context(label=[1]),
    _context(label=[]),
    _context(label=[[1], [2, 3]]),
    _context(label=["a", "b"]),
    _context(image=np.zeros((3, 8, 8, 1))),
    _context(mask=[None, None]),
)
NO_OVERRIDES: dict[str, Any] = {
    "sampling.solver": "euler",
    "sampling": "euler",
    "training.n_iters": None,
    "sampling.N": 2.5,
    "sampling.rtol": None,
    "sampling.atol": "small",
    "sampling.ode_solver": None,
    "sampling.z_max": 1e-320,
    "sampling.levels": (NAN,),
    "seed": -1,
    "": 3,
    "a.b.c": 3,
    "data.centered": "no",
    "model": {},
    "eval.divergence": ["exact"],
}
NO_NAMES: tuple[Any, ...] = (None, 3, "", [], {}, "rk4", Odd(), b"rk45")


def _methods() -> list[Case]:
    kind = pfgm_jax.TrainedModel
    refused = lambda function, *given, **options: (
        lambda _: assert_refused(lambda: plainly(function, model(), *given, **options))
    )
    cases = []
    for name, images in NO_IMAGES.items():
        for function in (kind.encode, kind.bits_per_dim):
            cases.append(Case(f"{function.__name__} of {name}", refused(function, images)))
    cases += [Case(f"decode of {name}", refused(kind.decode, z)) for name, z in NO_LATENTS.items()]
    for i, count in enumerate(NO_COUNTS):
        cases.append(Case(f"sample {i} of no number", refused(kind.sample, count)))
        cases.append(Case(f"draws {i} of no number", refused(kind.bits_per_dim, IMAGES, draws=count)))
        cases.append(Case(f"steps {i} of no number", refused(kind.interpolate, IMAGES, IMAGES, count)))
    for i, seed in enumerate(NO_SEEDS):
        cases.append(Case(f"sample with the seed {i}", refused(kind.sample, 2, seed=seed)))
        cases.append(Case(f"bits with the seed {i}", refused(kind.bits_per_dim, IMAGES, seed=seed)))
    for i, context in enumerate(CONTEXTS):
        cases.append(Case(f"sample in the context {i}", refused(kind.sample, 2, context=context)))
        cases.append(Case(f"encode in the context {i}", refused(kind.encode, IMAGES, context=context)))
    names = [name for name in NO_NAMES if name is not None]
    cases += [Case(f"sampler {i}", refused(kind.sample, 2, sampler=name)) for i, name in enumerate(names)]
    pairs = ((IMAGES, IMAGES[:1]), (IMAGES, None), ([], []), (IMAGES[:1], LATENTS))
    cases += [Case(f"interpolate pair {i}", refused(kind.interpolate, *pair)) for i, pair in enumerate(pairs)]
    cases.append(Case("interpolate in 1 step", refused(kind.interpolate, IMAGES, IMAGES, 1)))
    return cases


def _loads() -> list[Case]:
    names = (None, 3, "", b"runs", [], "/nowhere", "README.md", "tests", "\0", "x\ny", "gs://none/run", "no://x")

    def attempt(name):
        return lambda _: assert_refused(lambda: plainly(pfgm_jax.load, name))

    def overridden(field, value):
        def attempt(folder):
            config_files.write(model().config, folder)
            named = field.split(".")[-1]
            assert_refused(lambda: plainly(pfgm_jax.load, folder, **{field: value}), named)

        return attempt

    def of_step(step):
        def attempt(folder):
            (folder / "checkpoints").mkdir()
            assert_refused(lambda: plainly(load_params, folder, step))

        return attempt

    return [
        *(Case(f"load {str(name)[:20]!r}", attempt(name)) for name in names),
        *(Case(f"load with {field} = {value!r}", overridden(field, value)) for field, value in NO_OVERRIDES.items()),
        *(Case(f"step {i}", of_step(step)) for i, step in enumerate((-1, 2.5, "5", NAN, 10**400, [1], 7, None, True))),
    ]


def _others() -> list[Case]:
    directory = Path("/nowhere")
    acts = {
        "data set None": lambda: plainly(datasets.load_dataset, None),
        "data set 3": lambda: plainly(datasets.load_dataset, 3),
        "data set of a list": lambda: plainly(datasets.load_dataset, ["digits"]),
        "prepare nothing": lambda: plainly(prepare.prepare, "nothing", directory),
        "prepare digits": lambda: plainly(prepare.prepare, "digits", directory),
        "prepare None": lambda: plainly(prepare.prepare, None, directory),
        "no option": lambda: plainly(samplers.create_sampler, "rk45", order=3),
        "rtol of text": lambda: plainly(samplers.create_sampler, "rk45", rtol="small"),
        "rtol None": lambda: plainly(samplers.create_sampler, "rk45", rtol=None),
        "rtol beyond float32": lambda: plainly(samplers.create_sampler, "rk45", rtol=1e-60),
        "steps of a float": lambda: plainly(samplers.create_sampler, "euler", steps=2.5),
        "steps of 10^20": lambda: plainly(samplers.create_sampler, "euler", steps=10**20),
        "levels of text": lambda: plainly(samplers.create_sampler, "euler", levels="abc"),
        "levels that rise": lambda: plainly(samplers.create_sampler, "euler", levels=(1.0, 2.0)),
        "schedule None": lambda: plainly(samplers.create_sampler, "euler", schedule=None),
        "no features": lambda: metrics.create_extractor("vgg", ExtractorOptions(directory)),
        "no front end": lambda: metrics.create_extractor("inception", ExtractorOptions(directory, front_end="x")),
        "no weights": lambda: metrics.create_extractor("inception", ExtractorOptions(directory, weights=directory)),
        "no statistics": lambda: metrics.load_statistics(directory),
        "a method of another sign": lambda: pfgm_jax.methods.Poisson((8, 8, 1), gamma=-1.0),
        "a method of an end above its start": lambda: pfgm_jax.methods.Poisson((8, 8, 1), z_min=50.0),
    }
    cases = [Case(name, lambda _, act=act: assert_refused(act)) for name, act in acts.items()]
    for kind in (registry.METHODS, registry.SAMPLERS, registry.MODELS, registry.SOURCES, registry.METRICS):
        for i, name in enumerate(NO_NAMES):
            look_up = functools.partial(plainly, type(kind).__getitem__, kind, name)
            attempt = lambda _, act=look_up: assert_refused(act)
            cases.append(Case(f"{kind.field} number {i} of no name", attempt))
    return cases


def cases() -> list[Case]:
    """All of them."""
    return [*_methods(), *_loads(), *_others()]
