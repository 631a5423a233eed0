"""Restoring with a trained model: on the command line's side, and the library's."""

import dataclasses
import json
from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import pfgm_jax
import run_lib
from pfgm_jax import results, sampling
from pfgm_jax.context import Context
from pfgm_jax.datasets import Scaling
from pfgm_jax.errors import InputError
from pfgm_jax.keys import Keys, key_of_samples, sample_keys
from pfgm_jax.metrics.paired import psnr_of_each
from pfgm_jax.registry import OPERATORS, RULES
from pfgm_jax.restoration.operators import Operator
from pfgm_jax.restoration.rules import Rule
from pfgm_jax.restorer import Restorer, create_restorer
from tests.test_evaluation import own_cache, trained, workdir  # noqa: F401
from tests.test_results import contents
from tests.test_run_lib import small_digits

SHORT = {"sampling.ode_solver": "euler", "sampling.N": 6, "restore.num_images": 5}


def restored(workdir, **overrides):  # noqa: F811
    folder = run_lib.restore(small_digits(**{**SHORT, **overrides}), workdir)
    arrays = np.load(folder / "restored.npz")
    return folder, json.loads((folder / "table.json").read_text()), {name: arrays[name] for name in arrays.files}


@pytest.fixture
def model(workdir):  # noqa: F811
    return pfgm_jax.load(workdir, **SHORT)


@pytest.fixture
def test_digits(workdir):  # noqa: F811
    from pfgm_jax import build

    config = pfgm_jax.load(workdir).config
    return build.load_dataset(config).test[:5]


def test_whole_images_are_damaged_and_compared(workdir, test_digits):  # noqa: F811
    options = {"restore.mask": (0, 0, 4, 8), "restore.samples": 2}
    folder, table, arrays = restored(workdir, **options)
    assert folder == workdir / "restored" / "6-inpaint-null_space"
    answers = arrays["restored"]
    assert answers.shape == (5, 2, 8, 8, 1) and answers.dtype == np.uint8
    np.testing.assert_array_equal(answers[:, 0, 4:], test_digits[:, 4:])
    assert (answers[:, 0] != answers[:, 1]).any() and arrays["misfit"].max() < 1e-3
    # What the table says is what the arrays have, against the definition of PSNR.
    truth = np.repeat(test_digits[:, None], 2, axis=1)
    of_all = psnr_of_each(answers.reshape(-1, 8, 8, 1), truth.reshape(-1, 8, 8, 1), 16.0)
    assert table["psnr"] == pytest.approx(of_all.mean(), rel=1e-6)
    errors = ((answers.mean(axis=1) - test_digits.astype(float)) ** 2).mean(axis=(1, 2, 3))
    assert table["psnr_of_mean"] == pytest.approx((10 * np.log10(16**2 / errors)).mean(), rel=1e-6)
    assert table["count"] == 5 and table["evaluations"] == 7 and table["seconds"] > 0
    # A grid of the damaged, two answers and the whole; one picture an answer.
    grid = np.asarray(Image.open(folder / "grid.png"))
    cell = 4 + 32
    assert grid.shape == (5 * cell + 4, 4 * cell + 4)
    last = grid[4 : 4 + 32 : 4, 3 * cell + 4 : 3 * cell + 36 : 4]
    np.testing.assert_array_equal(last, np.round(test_digits[0, ..., 0] * (255 / 16)))
    assert len(list(folder.glob("[0-9]*-[01].png"))) == 10
    # Again it is there, and other options have other folders.
    before = contents(folder)
    assert restored(workdir, **options)[0] == folder and contents(folder) == before
    other, _, more = restored(workdir, **{**options, "restore.samples": 1})
    assert other != folder
    np.testing.assert_array_equal(more["restored"][:, 0], answers[:, 0])
    assert contents(folder) == before


def test_an_interrupted_restoration_goes_on(workdir, monkeypatch):  # noqa: F811
    options = {"sampling.batch_size": 2, "restore.mask": 0.4, "restore.noise": 1.0, "seed": 3}
    restore, calls = Restorer.restore, []

    def interrupted(self, *arguments, **kinds):
        calls.append(kinds["first"])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return restore(self, *arguments, **kinds)

    with monkeypatch.context() as patch:
        patch.setattr(Restorer, "restore", interrupted)
        with pytest.raises(KeyboardInterrupt):
            restored(workdir, **options)
    assert calls == [0, 2, 4]
    with monkeypatch.context() as patch:
        patch.setattr(Restorer, "restore", lambda self, *a, **k: calls.append(k["first"]) or restore(self, *a, **k))
        _, _, arrays = restored(workdir, **options)
    assert calls[3:] == [4]
    # As in one batch: what became of an image and its answers depend on its number alone.
    _, _, whole = restored(workdir, **{**options, "sampling.batch_size": 8, "restore.num_images": 4})
    assert np.abs(arrays["restored"][:4].astype(int) - whole["restored"]).max() <= 1


def test_damaged_pictures_are_restored(workdir, tmp_path, test_digits):  # noqa: F811
    """Half as large, as real pictures are found: rounded, and without the whole ones."""
    small = test_digits.reshape(5, 4, 2, 4, 2, 1).mean(axis=(2, 4))
    pictures = tmp_path / "small"
    pictures.mkdir()
    for i, image in enumerate(small):
        Image.fromarray(np.round(image[..., 0]).astype(np.uint8)).save(pictures / f"{i}.png")
    downscale = {"restore.operator": "downscale", "restore.whole": False, "restore.images": f"folder:{pictures}"}
    _, table, arrays = restored(workdir, **downscale)
    assert table["files"] == [f"{i}.png" for i in range(5)] and "psnr" not in table
    # Real numbers are not rounded, and followed to their last digit.
    np.savez(tmp_path / "small.npz", x=small.astype(np.float32))
    _, table, _ = restored(workdir, **{**downscale, "restore.images": f"arrays:{tmp_path / 'small.npz'}"})
    assert table["misfit"] < 1e-3 < arrays["misfit"].mean()


def test_rounded_values_have_the_noise_of_rounding_unless_they_are_the_images_own(model):
    noise = lambda operator, rounded, **given: create_restorer(model.config, operator, None, rounded, given).noise
    assert noise("downscale", True) == pytest.approx(12**-0.5)
    assert noise("blur", True, noise=0.5) == pytest.approx((0.5**2 + 1 / 12) ** 0.5)
    assert noise("downscale", False) == noise("crop", True) == noise("inpaint", True) == 0
    assert noise("blur", False, noise=2.0) == 2


@pytest.mark.slow
def test_the_library_restores_as_the_functions_do(model, test_digits):
    damaged = test_digits.astype(np.float32)
    mask = np.zeros((5, 8, 8), bool)
    mask[:, :, :3] = True
    damaged[~mask] = np.nan  # what is missing is not looked at
    found = model.restore(damaged, operator="inpaint", mask=mask, rule="pigdm", seed=4)
    assert found.shape == test_digits.shape and found.dtype == np.uint8

    from pfgm_jax.restoration import restored as around
    from pfgm_jax.restoration.operators.inpaint import Inpaint

    known = np.where(mask[..., None], np.asarray(model.scaling.to_network(test_digits)), 0)
    method = around(model.method, Inpaint((8, 8, 1)), RULES["pigdm"]())
    keys = sample_keys(key_of_samples(Keys.from_seed(4).samples, given=False, restored=True), 5)
    context = Context(known=jnp.asarray(known), mask=jnp.asarray(mask[..., None]))
    x = sampling.sample(method, model.net, model.sampler, keys, context).x
    assert np.abs(np.asarray(model.scaling.to_stored(x)).astype(int) - found).max() <= 1
    # The noise is not that of a sample with the same number and seed, which may be the image.
    drawn = method.start(keys, context), model.method.prior_sample(sample_keys(Keys.from_seed(4).samples, 5))
    restored_noise, plain_noise = (np.asarray(a).ravel() for a in drawn)
    assert abs(np.corrcoef(restored_noise, plain_noise)[0, 1]) < 0.2
    # One mask for all, and several answers of which each has its own number.
    several = model.restore(damaged, operator="inpaint", mask=mask[0], rule="pigdm", seed=4, samples=3)
    assert several.shape == (3, *found.shape)
    np.testing.assert_array_equal(several[0], found)
    assert (several[1] != several[0]).any()
    np.testing.assert_array_equal(model.restore(damaged[:2], "inpaint", mask=mask[0], rule="pigdm", seed=4), found[:2])


def test_a_function_of_the_users_own(model, test_digits):
    """One of ours, written as a function; and row sums, of which the zero of the data's units is not that of x."""
    halves = test_digits.astype(np.float32).reshape(5, 4, 2, 4, 2, 1).mean(axis=(2, 4))
    ours = model.restore(halves, operator="downscale")
    same = model.restore(halves, operator=lambda x: x.reshape(4, 2, 4, 2, 1).mean(axis=(1, 3)))
    assert np.abs(ours.astype(int) - same).max() <= 1
    sums = test_digits.astype(np.float32).sum(axis=2)
    restorer = create_restorer(model.config, lambda x: x.sum(axis=1), None, False, {})
    ((_, answers),) = restorer.restore(model.params, sums, None, Context())
    # Before they are rounded, and limited to what can be stored.
    grey = 8.5 * answers.x.astype(np.float64) + 8  # the middles of 17 levels
    assert np.abs(grey.sum(axis=2) - sums).max() <= 1e-2


def test_units_are_those_of_the_data():
    """Network units of every kind of data are those of its scaling."""
    rng = np.random.default_rng(0)
    kinds = (
        Scaling(17),
        Scaling(256, low=0.0),
        Scaling(256, dequantize=True),
        Scaling(4096, lowest=-1024, dtype="int16"),
        Scaling(0, shift=(3.0, -1.0), scale=(2.0, 0.5)),
        Scaling(0, shift=(1.0, 2.0), scale=4.0),
    )
    for scaling in kinds:
        zero, unit = scaling.units
        stored = rng.integers(0, 17, (3, 2, 2, 2)) + scaling.lowest
        x = np.asarray(scaling.to_network(jnp.asarray(stored)))
        np.testing.assert_allclose(zero + unit * x, stored, atol=1e-3)


def test_other_contents_of_a_file_are_other_results(workdir, tmp_path):  # noqa: F811
    mask, kernel = np.zeros((8, 8)), np.eye(3)
    mask[:4] = 1
    folders = []
    for content, rows in ((mask, kernel), (1 - mask, kernel[::-1])):
        np.save(tmp_path / "mask.npy", content)
        np.save(tmp_path / "kernel.npy", rows)
        for options in (
            {"restore.mask": str(tmp_path / "mask.npy")},
            {"restore.operator": "blur", "restore.kernel": str(tmp_path / "kernel.npy")},
        ):
            folders.append(restored(workdir, **options, **{"restore.num_images": 2})[0])
    assert len({*folders}) == 4


def test_a_method_that_restores_is_found_beside_the_model(workdir):  # noqa: F811
    """Another rule, operator, noise or seed has a folder of its own."""
    others = ({}, {"restore.rule": "dps"}, {"restore.noise": 2.0}, {"seed": 5}, {"restore.operator": "blur"})
    folders = [restored(workdir, **{**other, "restore.num_images": 2})[0] for other in others]
    assert len({*folders}) == len(others)
    assert all(results.RECORD in {p.name for p in folder.iterdir()} for folder in folders)


@dataclasses.dataclass(frozen=True)
class Scaled(Operator):
    """Images times a number, which is a field of the config."""

    fields: ClassVar[Mapping[str, str]] = {"times": "restore.times"}
    times: float = 2.0

    @property
    def gain(self):
        return self.times**2

    def apply(self, x):
        return self.times * x

    def transpose(self, y):
        return self.times * y


@dataclasses.dataclass(frozen=True)
class Replaced(Rule):
    """What was measured is all that counts."""

    fields: ClassVar[Mapping[str, str]] = {"share": "restore.share"}
    share: float = 1.0

    def change(self, seen):
        return self.share * seen.operator.pseudo_inverse(seen.residual)


def test_an_operator_and_a_rule_are_a_class_and_a_line_each(workdir, test_digits):  # noqa: F811
    OPERATORS.register("scaled", Scaled)
    RULES.register("replaced", Replaced)
    try:
        options = {"restore.operator": "scaled", "restore.times": -3.0, "restore.rule": "replaced"}
        _, table, arrays = restored(workdir, **options)
        assert table["times"] == -3 and table["misfit"] < 1e-3
        np.testing.assert_array_equal(arrays["restored"][:, 0], test_digits)
        other, *_ = restored(workdir, **options, **{"restore.share": 0.5})
        assert other.name.startswith("6-scaled-replaced-")
        with pytest.raises(InputError, match="restore.tims is not a field of the config: did you mean restore.times"):
            restored(workdir, **{"restore.tims": 1.0})
    finally:
        OPERATORS.unregister("scaled")
        RULES.unregister("replaced")
