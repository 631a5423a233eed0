"""Linear operators: their algebra, and what other libraries make of the same images."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from PIL import Image

from pfgm_jax.context import Context
from pfgm_jax.errors import FieldError, InputError
from pfgm_jax.registry import OPERATORS
from pfgm_jax.restoration.operators import Function
from pfgm_jax.restoration.operators.blur import Blur, gaussian, line
from pfgm_jax.restoration.operators.downscale import Downscale
from pfgm_jax.restoration.operators.grey import Grey
from pfgm_jax.restoration.operators.inpaint import Inpaint

RNG = np.random.default_rng(0)
UNEVEN = RNG.uniform(0.1, 1, (3, 4))


def every_second_and_sums(x):
    return jnp.concatenate([x[::2].ravel(), 0.3 * x.sum(axis=1).ravel()])


CASES = {
    "share": lambda shape: Inpaint(shape, mask=0.3),
    "rectangle": lambda shape: Inpaint(shape, mask=(1, 2, 3, 2)),
    "crop": lambda shape: OPERATORS["crop"](shape, part=(1, 0, 2, 5)),
    "middle": lambda shape: OPERATORS["crop"](shape),
    "grey": OPERATORS["grey"],
    "area": lambda shape: Downscale(shape, factor=2),
    "area of 4": lambda shape: Downscale(shape, factor=4),
    "bicubic": lambda shape: Downscale(shape, factor=2, filter="bicubic"),
    "gaussian": lambda shape: Blur(shape, extent=0.8),
    "wide gaussian": lambda shape: Blur(shape, extent=3.0),
    "motion": lambda shape: Blur(shape, kernel="motion", extent=4.5, angle=30.0),
    "kernel": lambda shape: Blur(shape, kernel=UNEVEN),
    "denoise": OPERATORS["denoise"],
    "function": lambda shape: Function(shape, every_second_and_sums),
}
SHAPES = [(8, 8, 3), (8, 12, 1), (12, 8, 2), (16, 8, 4)]


def made(name, shape, n=5):
    if name == "grey" and shape[2] == 1:
        shape = (*shape[:2], 3)
    operator = CASES[name](shape)
    mask = jnp.asarray(operator.draw_masks(7, 0, n)) if isinstance(operator, Inpaint) else None
    return operator.of(Context(mask=mask)), jnp.asarray(RNG.normal(size=(n, *shape)), jnp.float32)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_transpose_and_pseudo_inverse_are_those_of_the_operator(name, shape):
    operator, x = made(name, shape)

    def all_of(x, y):
        measured = operator.apply(x)
        back = operator.pseudo_inverse(measured)
        return measured, operator.transpose(y), operator.apply(back), operator.pseudo_inverse(operator.apply(back))

    y = jnp.asarray(RNG.normal(size=(len(x), *operator.measured_shape)), jnp.float32)
    measured, transposed, again, shortest = jax.jit(all_of)(x, y)
    assert measured.shape == y.shape and transposed.shape == x.shape
    left = np.sum(np.asarray(measured, np.float64) * np.asarray(y), axis=tuple(range(1, y.ndim)))
    right = np.sum(np.asarray(x, np.float64) * np.asarray(transposed), axis=(1, 2, 3))
    scale = np.linalg.norm(np.asarray(measured).ravel()) * np.linalg.norm(np.asarray(y).ravel())
    assert np.abs(left - right).max() <= 1e-5 * scale
    # A A⁺ y = y for what can be measured.
    np.testing.assert_allclose(again, measured, atol=1e-5 * float(np.abs(measured).max()))
    # A⁺ y is the shortest such image: as long as what is left of x without the null space, and unchanged by A⁺ A.
    back = np.asarray(operator.pseudo_inverse(measured), np.float64)
    np.testing.assert_allclose(shortest, back, atol=3e-3 * np.abs(back).max())
    along = np.sum(back * (np.asarray(x) - back), axis=(1, 2, 3))
    assert np.abs(along).max() <= 1e-3 * float(np.sum(np.asarray(x) ** 2, axis=(1, 2, 3)).max())


def dense(operator, shape):
    """A as a matrix in float64."""
    basis = jnp.eye(math.prod(shape), dtype=jnp.float32).reshape(-1, *shape)
    return np.asarray(jax.jit(operator.apply)(basis), np.float64).reshape(len(basis), -1).T


@pytest.mark.parametrize("name", [name for name in CASES if name not in ("share", "rectangle")])
def test_inverses_are_those_of_the_matrix(name):
    operator, x = made(name, (8, 8, 1))
    A = dense(operator, operator.shape)
    y = np.asarray(operator.apply(x), np.float64).reshape(len(x), -1)
    for a, b in ((1.0, 0.05), (0.3, 1.0), (2.5, 0.4)):
        expected = np.linalg.solve(a * A @ A.T + b * np.eye(len(A)), y.T).T
        found = np.asarray(operator.inverse(jnp.asarray(operator.apply(x)), a, b)).reshape(len(x), -1)
        np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())
    # Rows may have numbers of their own.
    a = jnp.linspace(0.5, 2.0, len(x)).reshape(-1, *[1] * len(operator.measured_shape))
    found = np.asarray(operator.inverse(jnp.asarray(operator.apply(x)), a, 0.1)).reshape(len(x), -1)
    for row, of_row, right in zip(found, np.asarray(a).ravel(), y, strict=True):
        expected = np.linalg.solve(of_row * A @ A.T + 0.1 * np.eye(len(A)), right)
        np.testing.assert_allclose(row, expected, atol=2e-5 * np.abs(expected).max())


def test_bicubic_is_pillows():
    operator = Downscale((16, 24, 1), factor=4, filter="bicubic")
    x = RNG.normal(size=(1, 16, 24, 1)).astype(np.float32)
    theirs = Image.fromarray(x[0, ..., 0]).resize((6, 4), Image.Resampling.BICUBIC)
    np.testing.assert_allclose(operator.apply(jnp.asarray(x))[0, ..., 0], np.asarray(theirs), atol=1e-5)


def test_grey_is_pillows():
    pixels = RNG.integers(0, 256, (8, 8, 3)).astype(np.uint8)
    theirs = np.asarray(Image.fromarray(pixels).convert("L"), np.float32)
    ours = Grey((8, 8, 3)).apply(jnp.asarray(pixels[None], jnp.float32))[0, ..., 0]
    assert np.abs(np.asarray(ours) - theirs).max() <= 0.51


@pytest.mark.parametrize(
    "kernel", [gaussian(0.8), line(4.5, 30.0), UNEVEN / UNEVEN.sum()], ids=["gauss", "line", "own"]
)
def test_blur_is_scipys_convolution(kernel):
    x = RNG.normal(size=(1, 16, 12, 1)).astype(np.float32)
    theirs = scipy.ndimage.convolve(x[0, ..., 0].astype(np.float64), kernel, mode="wrap")
    ours = np.asarray(Blur((16, 12, 1), kernel=kernel).apply(jnp.asarray(x)))[0, ..., 0]
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_kernels_are_of_the_size_that_is_asked_for():
    for std in (0.7, 1.0, 2.0):
        kernel = gaussian(std)
        reach = np.arange(len(kernel)) - len(kernel) // 2
        np.testing.assert_allclose([kernel.sum(), (kernel.sum(0) * reach**2).sum()], [1, std**2], rtol=0.05)
    flat, upright = line(5.0, 0.0), line(5.0, 90.0)
    np.testing.assert_allclose(flat, upright.T, atol=1e-12)
    x = np.arange(flat.shape[1]) - flat.shape[1] // 2
    # A line of length L has the variance L²/12; linear shares add at most 1/4 to it.
    assert 25 / 12 <= (flat.sum(0) * x**2).sum() <= 25 / 12 + 0.26
    # Counter-clockwise, with rows that go down.
    tilted = line(9.0, 45.0)
    y, x = np.meshgrid(
        np.arange(len(tilted)) - len(tilted) // 2, np.arange(len(tilted)) - len(tilted) // 2, indexing="ij"
    )
    assert (tilted * x * y).sum() < 0


def test_masks_are_of_their_share_and_depend_on_the_number_alone():
    operator = Inpaint((10, 12, 3), mask=0.3)
    masks = operator.draw_masks(5, 0, 6)
    np.testing.assert_array_equal(masks.reshape(6, -1).sum(axis=1), 120 - 36)
    np.testing.assert_array_equal(operator.draw_masks(5, 2, 3), masks[2:5])
    assert (operator.draw_masks(6, 0, 6) != masks).any() and (masks[0] != masks[1]).any()


def test_files_of_masks_and_kernels(tmp_path):
    known = RNG.integers(0, 2, (8, 8)).astype(np.uint8)
    Image.fromarray(known * 255).save(tmp_path / "mask.png")
    np.save(tmp_path / "mask.npy", known)
    for name in ("mask.png", "mask.npy"):
        masks = Inpaint((8, 8, 3), mask=str(tmp_path / name)).draw_masks(0, 0, 2)
        np.testing.assert_array_equal(masks[1, ..., 0], known == 1)
    np.save(tmp_path / "kernel.npy", UNEVEN)
    Image.fromarray(np.round(UNEVEN * 200).astype(np.uint8)).save(tmp_path / "kernel.png")
    x = jnp.asarray(RNG.normal(size=(2, 8, 8, 1)), jnp.float32)
    expected = Blur((8, 8, 1), kernel=UNEVEN).apply(x)
    np.testing.assert_array_equal(Blur((8, 8, 1), kernel=str(tmp_path / "kernel.npy")).apply(x), expected)
    np.testing.assert_allclose(Blur((8, 8, 1), kernel=str(tmp_path / "kernel.png")).apply(x), expected, atol=0.02)
    (tmp_path / "no.png").write_bytes(b"no picture")
    for name in ("no.png", "none.npy"):
        with pytest.raises(FieldError, match="give"):
            Blur((8, 8, 1), kernel=str(tmp_path / name))


REFUSED = [
    (
        lambda: Inpaint((8, 8, 1), mask=1.5),
        "mask is 1.5; give the share of pixels that are missing, above 0 and below 1",
    ),
    (lambda: Inpaint((8, 8, 1), mask=(0, 0, 9, 1)), "mask is (0, 0, 9, 1); give (top, left, height, width) of a part"),
    (lambda: Inpaint((8, 8, 1), mask=()), "mask is (); give a share"),
    (lambda: OPERATORS["crop"]((8, 8, 1), part=(4, 4, 5, 2)), "part is (4, 4, 5, 2); give (top, left, height, width)"),
    (lambda: Downscale((8, 9, 1), factor=2), "factor is 2; it does not divide 8 x 9, the size of the images"),
    (lambda: Downscale((8, 8, 1), factor=1), "factor is 1; give a number of at least 2"),
    (lambda: Downscale((8, 8, 1), filter="nearest"), "filter is 'nearest'; choose one of area, bicubic"),
    (lambda: Grey((8, 8, 1)), "operator is 'grey'; the images have one channel"),
    (lambda: Blur((8, 8, 1), kernel=np.zeros((2, 2))), "give gaussian, motion, a file, or rows of finite numbers"),
    (lambda: Blur((8, 8, 1), kernel=np.ones((9, 2))), "it is larger than the images, which have 8 x 8"),
    (lambda: Blur((8, 8, 1), extent=0.0), "extent is 0.0; give a number above 0"),
    (lambda: Function((8, 8, 1), lambda x: x**2), "the operator is not linear"),
    (lambda: Function((8, 8, 1), lambda x: x + 1), "the operator is not linear"),
    (
        lambda: Function((8, 8, 1), lambda x: jnp.asarray(np.asarray(x))),
        "the operator cannot be applied to an image of (8, 8, 1)",
    ),
]


@pytest.mark.parametrize("make, message", REFUSED, ids=[message[:30] for _, message in REFUSED])
def test_what_an_operator_cannot_be_is_refused(make, message):
    with pytest.raises(InputError) as error:
        make()
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_mask_of_another_size_is_refused(tmp_path):
    np.save(tmp_path / "mask.npy", np.ones((4, 8)))
    with pytest.raises(FieldError, match="it has 4 x 8 pixels, and the images 8 x 8"):
        Inpaint((8, 8, 1), mask=str(tmp_path / "mask.npy")).draw_masks(0, 0, 1)
