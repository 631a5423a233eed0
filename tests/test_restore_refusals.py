"""What cannot be restored is refused in one sentence, before anything is computed or written."""

import jax.numpy as jnp
import numpy as np
import pytest

import pfgm_jax
import run_lib
from pfgm_jax.errors import InputError
from pfgm_jax.registry import OPERATORS
from pfgm_jax.trained_model import TrainedModel
from tests.test_evaluation import own_cache, trained, workdir  # noqa: F401
from tests.test_restore_mode import model, restored, test_digits  # noqa: F401
from tests.test_results import contents

REFUSED = [
    ({"restore.operator": "erase"}, "restore.operator is 'erase'; choose one of inpaint, crop, grey, downscale, blur"),
    ({"restore.rule": "guess"}, "restore.rule is 'guess'; choose one of null_space, pigdm, dps, sdedit"),
    ({"restore.noise": -1.0}, "restore.noise is -1.0; give a number of 0 to 1e9"),
    ({"restore.operator": "downscale", "restore.factor": 3}, "restore.factor is 3; it does not divide 8 x 8"),
    ({"restore.operator": "grey"}, "restore.operator is 'grey'; the images have one channel, and no colour to be"),
    ({"restore.mask": "no.png"}, "restore.mask is 'no.png'; there is no such file"),
    ({"restore.mask": 2.0}, "restore.mask is 2.0; give the share of pixels that are missing, above 0 and below 1"),
    ({"restore.mask": (0, 0, 9, 9)}, "restore.mask is (0, 0, 9, 9); give (top, left, height, width) of a part"),
    ({"restore.start": 1e5}, "restore.start is 100000.0; give a z above 0.001 and at most"),
    (
        {"restore.start": 1.0, "sampling.levels": (10.0, 0.5)},
        "sampling.levels is (10.0, 0.5); the ODE is solved",
    ),
    ({"restore.samples": 0}, "restore.samples is 0; give a number of 1 to 2048"),
    ({"restore.whole": False}, "restore.mask is 0.5, a share at random, but the images are damaged already"),
    ({"restore.whole": False, "restore.mask": (0, 0, 2, 2)}, "restore.images is 'test', whose images are whole, but"),
    ({"restore.images": "fold"}, "restore.images is 'fold'; choose test, train, folder:PATH or arrays:PATH"),
    ({"sampling.method": "repaint", "pfgmpp.D": 3.0}, "pfgmpp.D is 3"),
]


@pytest.mark.parametrize(("overrides", "message"), REFUSED, ids=[message[:40] for _, message in REFUSED])
def test_what_cannot_be_restored_is_refused(workdir, overrides, message):  # noqa: F811
    before = contents(workdir)
    with pytest.raises(InputError) as error:
        restored(workdir, **overrides)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)
    assert contents(workdir) == before


def test_arrays_of_another_shape_are_refused(workdir, tmp_path):  # noqa: F811
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 5, 5, 1), np.float32))
    overrides = {"restore.operator": "crop", "restore.whole": False, "restore.images": f"arrays:{tmp_path / 'a.npz'}"}
    with pytest.raises(InputError, match=r"have shape \(5, 5, 1\), but the operator makes \(4, 4, 1\) of the model's"):
        restored(workdir, **overrides)


CALLS = [
    (lambda m, x: m.restore(x, "inpaint"), "mask is not given, but the operator is Inpaint"),
    (lambda m, x: m.restore(x, "denoise", mask=x > 0), "mask is given, but the operator is Denoise"),
    (lambda m, x: m.restore(x, "inpaint", mask=np.ones((4, 8))), "the mask has shape (4, 8), and the images 5 x 8 x 8"),
    (lambda m, x: m.restore(x, "downscale"), "the damaged images have shape (5, 8, 8, 1); of the model's images"),
    (lambda m, x: m.restore(x, "denoise", noise=-1.0), "restore.noise is -1.0; give a number of 0 to 1e9"),
    (lambda m, x: m.restore(x, "denoise", strenght=2.0), "restore.strenght is not a field of the config: did you mean"),
    (lambda m, x: m.restore(x, 7), "operator is 7; choose one of inpaint, crop, grey, downscale, blur, denoise"),
    (lambda m, x: m.restore(x, lambda v: v**2), "the operator is not linear"),
    (lambda m, x: m.restore(x * np.nan, "denoise"), "some values of the damaged images are not finite in float32"),
    (lambda m, x: m.restore(x, "inpaint", mask=np.full((8, 8), np.nan)), "the mask has NaN or infinity"),
    (lambda m, x: m.restore(x + np.uint8(99), "denoise"), "the damaged images have grey level "),
    (lambda m, x: m.restore(x, "blur", extent=1e6), "restore.extent is 1000000.0; the images have 8 x 8 pixels"),
    (lambda m, x: m.restore(x, "denoise", whole=True), "whole is an option of --mode restore alone; leave it out"),
    (lambda m, x: m.restore(x, "denoise", rule=["pigdm"]), "restore.rule is ('pigdm',); "),
    (lambda m, x: m.restore(np.array(5.0), "denoise"), "the damaged images have shape (); of the model's images"),
    (lambda m, x: m.restore(x, {}), "operator is {}; give text, a number, a tuple or an array of numbers"),
    (
        lambda m, x: m.restore(x, OPERATORS["denoise"]((4, 4, 1))),
        "operator is of images of (4, 4, 1), but the",
    ),
    (lambda m, x: m.restore(x, jnp.fft.fft2), "the operator makes complex64 of an image; give a function with float32"),
    (lambda m, x: m.restore(x, lambda v: 0 * v), "the operator makes zeros of every image"),
    (lambda m, x: m.restore(x, "denoise", samples=0), "samples is 0; give an integer of at least 1"),
    (lambda m, x: m.restore(x, "denoise", label=3), "label is 3, but the model knows no labels"),
]


@pytest.mark.parametrize(("call", "message"), CALLS, ids=[message[:40] for _, message in CALLS])
def test_calls_that_cannot_be_are_refused(model, test_digits, call, message):  # noqa: F811
    with pytest.raises(InputError) as error:
        call(model, test_digits)
    assert str(error.value).startswith(message) and "\n" not in str(error.value)


def test_operators_of_images_are_refused_for_vectors(tmp_path):
    from configs import heart
    from pfgm_jax.config_files import override

    config = heart.get_config()
    small = {"training.n_iters": 2, "training.batch_size": 64, "training.small_batch_size": 32, "model.nf": 8}
    override(config, {**small, "training.snapshot_sampling": False, "optim.warmup": 1})
    run_lib.train(config, tmp_path)
    override(config, {"restore.operator": "blur", "sampling.ode_solver": "euler", "sampling.N": 5})
    with pytest.raises(InputError, match="'blur', but the data are vectors; choose denoise, or give the library"):
        run_lib.restore(config, tmp_path)
    override(config, {"restore.operator": "denoise", "restore.noise": 0.05})
    folder = run_lib.restore(config, tmp_path)
    assert np.load(folder / "restored.npz")["restored"].shape == (16, 1, 1, 1, 2)
    loaded: TrainedModel = pfgm_jax.load(tmp_path, **{"sampling.ode_solver": "euler", "sampling.N": 5})
    sums = loaded.restore(np.full((3, 1), 0.4, np.float32), operator=lambda x: x[0, 0, :1] + x[0, 0, 1:])
    assert sums.shape == (3, 1, 1, 2)
