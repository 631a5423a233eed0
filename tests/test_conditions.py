"""Images that condition others: from pairs on the disk to samples, and how near these come."""

import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import tifffile
from PIL import Image

import pfgm_jax
import run_lib
from pfgm_jax import build, metrics, models
from pfgm_jax import config as config_lib
from pfgm_jax.context import NO_CONTEXT, Context
from pfgm_jax.datasets import load_dataset, store
from pfgm_jax.errors import InputError
from tests.networks import NETWORKS, network_of, params_of
from tests.test_run_lib import small_digits

RNG = np.random.default_rng(7)
FIELDS = {
    "training.batch_size": 12,
    "training.small_batch_size": 8,
    "eval.features": "pixels",
    "eval.enable_bpd": False,
    "eval.num_samples": 6,
    "sampling.ode_solver": "euler",
    "sampling.N": 6,
}


def config_of(path, **overrides):
    return small_digits(**{"data.dataset": f"arrays:{path}", **FIELDS, **overrides})


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Real images of two channels in units of thousands, and their halves in size with noise as conditions."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.npz"
    x = RNG.normal([1000.0, -50.0], [200.0, 3.0], (60, 8, 8, 2)).astype(np.float32)
    cond = x.reshape(60, 4, 2, 4, 2, 2).mean(axis=(2, 4)) + RNG.normal(size=(60, 4, 4, 2))
    np.savez(path, x=x, cond=cond.astype(np.float32))
    return path


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_answer_for_the_condition_of_each_row(name):
    network, config = network_of(name, **NETWORKS[name], **{"data.condition_channels": 2})
    params = params_of(network, config)
    apply = jax.jit(lambda x, level, context: network.apply({"params": params}, x, level, context))
    x = jnp.broadcast_to(jax.random.normal(jax.random.key(2), (1, 8, 8, 1)), (4, 8, 8, 1))
    image = RNG.normal(size=(4, 8, 8, 2)).astype(np.float32)
    image[1], image[3] = image[0], 0.0
    found = np.asarray(apply(x, jnp.full(4, 0.7), Context(image=image)))
    rounding = 1e-5 * np.abs(found).max()
    np.testing.assert_allclose(found[1], found[0], rtol=0, atol=rounding)
    assert np.abs(found[2] - found[0]).max() > 100 * rounding
    np.testing.assert_allclose(apply(x, jnp.full(4, 0.7), NO_CONTEXT)[0], found[3], rtol=0, atol=rounding)
    assert models.create_model(config).out_channels == 2


def test_each_example_is_trained_with_its_own_condition_in_units_of_the_network(pairs, tmp_path, monkeypatch):
    """Mirrored as the example is; the mean of 2 x 2 pixels of an example is its condition but for the noise."""
    config = config_of(pairs, **{"data.random_flip": True, "training.n_iters": 4, "training.sde": "vpsde"})
    config = config_lib.fill_in(config, build.load_dataset(config))
    assert config.data.condition_channels == 2 and config.model.label_dropout > 0
    seen, kind = [], type(build.create_method(config))
    pair = kind.training_pair

    def watched(self, key, data, context=NO_CONTEXT, field=None):
        jax.debug.callback(lambda *rows: seen.append([np.asarray(a) for a in rows]), data, context.image)
        return pair(self, key, data, context, field)

    monkeypatch.setattr(kind, "training_pair", watched)
    run_lib.train(config, tmp_path / "run")
    conditions = load_dataset(f"arrays:{pairs}").train.read_conditions(slice(None))
    assert conditions is not None
    flat = conditions.astype(np.float64)
    np.testing.assert_allclose(config.data.condition_shift, flat.mean(axis=(0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(config.data.condition_scale, 2 * flat.std(axis=(0, 1, 2)), rtol=1e-5)
    for data, image in seen[:4]:
        x = data * config.data.scale + np.float32(config.data.shift)
        y = image * config.data.condition_scale + np.float32(config.data.condition_shift)
        means = x.reshape(8, 4, 2, 4, 2, 2).mean(axis=(2, 4))
        np.testing.assert_allclose(y[:, ::2, ::2], means, atol=6)
        np.testing.assert_array_equal(y[:, ::2, ::2], y[:, 1::2, 1::2])


@pytest.mark.slow
@pytest.mark.parametrize(("sde", "counted"), [("poisson", "own"), ("poisson", "all"), ("flow", "own")])
def test_pairs_train_sample_and_are_compared(pairs, tmp_path, monkeypatch, sde, counted):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    config = config_of(pairs, **{"training.sde": sde, "training.conditional_field": counted == "own"})
    run_lib.train(config, tmp_path / "run")
    (report,) = run_lib.evaluate(config, tmp_path / "run")
    model = pfgm_jax.load(tmp_path / "run")
    split = build.load_dataset(config).test
    cond = np.load(pairs)["cond"][[19, 39, 59]]
    drawn = model.sample(cond=np.concatenate([cond, cond]), seed=model.config.seed)
    # Samples 0 to 5 are of the three test examples in turn.
    assert drawn.shape == (6, 8, 8, 2) and drawn.dtype == np.float32
    low, high = split[:].min(), split[:].max()
    errors = ((drawn - np.concatenate([split[:], split[:]])) ** 2).mean(axis=(1, 2, 3))
    assert report["psnr"] == pytest.approx(np.mean(10 * np.log10((high - low) ** 2 / errors)), rel=1e-4)
    assert "ssim" not in report  # of 8 x 8 pixels there is no window
    held = np.load(run_lib.sample(config, tmp_path / "run") / "samples.npz")["samples"]
    np.testing.assert_allclose(held[:6], drawn, rtol=1e-4, atol=1e-2)
    # Of other conditions under the same name nothing is taken for these.
    again = np.load(pairs)
    swapped = tmp_path / "swapped.npz"
    np.savez(swapped, x=again["x"], cond=np.roll(again["cond"], 1, axis=0))
    moved = config.copy_and_resolve_references()
    moved.data.dataset = f"arrays:{swapped}"
    beside = np.load(run_lib.sample(moved, tmp_path / "run") / "samples.npz")["samples"]
    assert np.abs(beside[:6] - held[:6]).max() > 0
    other = model.sample(cond=np.roll(cond, 1, axis=0), seed=model.config.seed)
    assert np.abs(other - drawn[:3]).max() > 0
    z = model.encode(split[:], cond=cond)
    assert np.isfinite(z).all() and model.decode(z, cond=cond).shape == (3, 8, 8, 2)
    bits = model.bits_per_dim(split[:], cond=cond)
    likely = config_of(pairs, **{"training.sde": sde, "training.conditional_field": counted == "own"})
    table = run_lib.likelihood(likely, tmp_path / "run")
    written = json.loads(table.joinpath("table.json").read_text())
    of_run = model.bits_per_dim(split[:], seed=model.config.seed, cond=cond)
    assert written["bits_per_dim"] == pytest.approx(of_run.mean(), rel=1e-5) and np.isfinite(bits).all()
    for call, message in (
        (lambda: model.sample(3), "the model is conditioned on images of 2 channels; give them as cond"),
        (lambda: model.sample(cond=cond[..., :1]), "the conditions have shape .* the model takes"),
        (lambda: model.sample(cond=np.full_like(cond, np.nan)), "some conditions are not finite in float32"),
        (lambda: model.sample(4, cond=cond), "the context's image has 3 rows for 4 images"),
        (lambda: model.encode(split[:]), "the model is conditioned on images of 2 channels"),
        (
            lambda: model.sample(cond=cond, guidance=2.0),
            "sampling.guidance is 2.0, but the network is not shown labels",
        ),
    ):
        with pytest.raises(InputError, match=message):
            call()


def test_psnr_and_ssim_are_those_of_their_formulas():
    """SSIM of Wang et al. 2004, equation 13, with Gaussian windows, by scipy; over the pixels whose window is whole."""
    x = RNG.uniform(0, 255, (3, 20, 24, 2))
    y = x + RNG.normal(0, 20, x.shape)
    found = metrics.evaluate_paired(x, y, 255.0)
    assert found["psnr"] == pytest.approx(np.mean(10 * np.log10(255**2 / ((x - y) ** 2).mean(axis=(1, 2, 3)))))
    blur = lambda a: scipy.ndimage.gaussian_filter(a, 1.5, truncate=3.5, axes=(1, 2))
    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y, cov = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2, blur(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = (2 * mean_x * mean_y + c1) * (2 * cov + c2) / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))
    assert found["ssim"] == pytest.approx(values[:, 5:-5, 5:-5].mean(), rel=1e-6)
    assert metrics.evaluate_paired(x, x, 255.0) == {"psnr": 200.0, "ssim": pytest.approx(1.0)}


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".tif":
        photometric = "rgb" if pixels.ndim == 3 and pixels.shape[-1] == 3 else "minisblack"
        tifffile.imwrite(path, pixels, photometric=photometric, planarconfig="contig" if pixels.ndim == 3 else None)
    else:
        Image.fromarray(pixels).save(path)


@pytest.mark.parametrize(
    ("bits", "suffix", "pixels"),
    [
        (16, ".tif", RNG.integers(900, 5000, (40, 6, 4)).astype(np.uint16)),
        (16, ".tif", RNG.integers(0, 65536, (40, 6, 4, 3)).astype(np.uint16)),
        (16, ".png", RNG.integers(0, 65536, (40, 6, 4)).astype(np.uint16)),
        (32, ".tif", RNG.normal(0, 1e4, (40, 6, 4)).astype(np.float32)),
        (32, ".tif", RNG.normal(0, 1e-4, (40, 6, 4, 5)).astype(np.float32)),
        (32, ".tif", RNG.integers(-3000, 3000, (40, 6, 4)).astype(np.int16)),
    ],
)
def test_pictures_of_more_bits_are_read_without_loss(tmp_path, bits, suffix, pixels):
    for i, image in enumerate(pixels):
        save(tmp_path / "pictures" / f"{i:02}{suffix}", image)
    dataset = load_dataset(f"folder:{tmp_path}/pictures", directory=tmp_path, bits=bits)
    assert dataset.train[:0].dtype == (np.uint16 if bits == 16 else np.float32)
    expected = np.delete(pixels.reshape(40, 6, 4, -1), [19, 39], axis=0)
    np.testing.assert_array_equal(dataset.train, expected)
    if bits == 16:
        assert (dataset.levels, dataset.lowest) == (int(pixels.max()) - int(pixels.min()) + 1, pixels.min())
    # Smaller ones are averages: of an image of one value they have that value.
    save(tmp_path / "one" / f"a{suffix}", np.full_like(pixels[0], pixels[0].flat[0]))
    save(tmp_path / "one" / f"b{suffix}", np.full_like(pixels[0], pixels[0].flat[0]))
    small = load_dataset(f"folder:{tmp_path}/one", (3, 2), directory=tmp_path, bits=bits)
    np.testing.assert_allclose(small.train[:], float(pixels[0].flat[0]), rtol=1e-6)


def test_pictures_that_are_not_as_asked_for_are_named(tmp_path, caplog):
    good = RNG.integers(0, 65536, (6, 4)).astype(np.uint16)
    for name in ("a", "b", "c"):
        save(tmp_path / "p" / f"{name}.tif", good)
    save(tmp_path / "p" / "real.tif", good.astype(np.float32))
    save(tmp_path / "p" / "colour.tif", np.stack([good] * 3, axis=-1))
    (tmp_path / "p" / "cut.tif").write_bytes((tmp_path / "p" / "a.tif").read_bytes()[:60])
    dataset = load_dataset(f"folder:{tmp_path}/p", (6, 4), 1, tmp_path, bits=16)
    assert len(dataset.train) + len(dataset.test) == 3
    told = caplog.text
    assert "real.tif: its pixels are float32; read such images with data.bits=32" in told
    assert "colour.tif: it has 3 channels, and not 1" in told and "cut.tif: its content is damaged" in told
    save(tmp_path / "p" / "int16.tif", good.astype(np.int16))
    tifffile.imwrite(tmp_path / "p" / "stack.tif", np.stack([good] * 5), photometric="minisblack")
    content = bytearray((tmp_path / "p" / "a.tif").read_bytes())
    for place in (8, 9, 10, 12):
        content[place] = 255
        (tmp_path / "p" / f"damaged{place}.tif").write_bytes(content)
    tifffile.imwrite(tmp_path / "p" / "turned.tif", good, photometric="minisblack", extratags=[(274, "H", 1, 6, False)])
    save(tmp_path / "p" / "long.tif", np.full((6, 4), 2**24 + 1, np.uint32))
    Image.fromarray(good.astype(np.uint8)).convert("P").save(tmp_path / "p" / "palette.tif")
    load_dataset(f"folder:{tmp_path}/p", (6, 4), 1, tmp_path, bits=16)
    told = caplog.text
    assert "stack.tif: it holds several pictures; save one a file, and channels as the last axis of one" in told
    assert "turned.tif: it is stored turned or mirrored; save it upright" in told
    assert "palette.tif: its pixels are indices of a palette" in told
    assert "long.tif: its integers are larger than 2^24" in told
    assert "int16.tif: its pixels are int16; read such images with data.bits=32" in told
    save(tmp_path / "nan" / "a.tif", np.full((4, 4), np.nan, np.float32))
    with pytest.raises(InputError, match="0 of its 1 images can be read"):
        load_dataset(f"folder:{tmp_path}/nan", (4, 4), 1, tmp_path, bits=32)
    with pytest.raises(
        InputError, match="data.bits is 16, but data.dataset is 'digits', and only the pictures of folder"
    ):
        load_dataset("digits", bits=16)


def test_conditions_are_not_taken_for_what_they_condition(tmp_path, monkeypatch):
    """Two folders of files of the same names, sizes and times, too large for the memory."""
    monkeypatch.setattr(store, "MEMORY_SHARE", 0)
    pixels = {kind: RNG.integers(0, 65536, (20, 6, 4)).astype(np.uint16) for kind in ("x", "cond")}
    for kind, images in pixels.items():
        for i, image in enumerate(images):
            save(tmp_path / "d" / kind / f"{i:02}.tif", image)
            os.utime(tmp_path / "d" / kind / f"{i:02}.tif", (1e9, 1e9))
    train = load_dataset(f"folder:{tmp_path}/d", directory=tmp_path, bits=16).train
    np.testing.assert_array_equal(train[:][..., 0], pixels["x"][:19])
    conditions = train.read_conditions(slice(None))
    assert conditions is not None
    np.testing.assert_array_equal(conditions[..., 0], pixels["cond"][:19])


def test_a_folder_of_pairs_is_matched_by_name(tmp_path):
    x = RNG.integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    cond = RNG.integers(0, 256, (40, 4, 4), dtype=np.uint8)
    for i in range(40):
        save(tmp_path / "d" / "x" / f"{i % 2}" / f"{i:02}.png", x[i])
        save(tmp_path / "d" / "cond" / f"{i % 2}" / f"{i:02}.bmp", cond[i])
    dataset = load_dataset(f"folder:{tmp_path}/d", directory=tmp_path)
    order = np.concatenate([np.arange(0, 40, 2), np.arange(1, 40, 2)])
    kept = np.delete(order, [19, 39])
    np.testing.assert_array_equal(dataset.train, x[kept])
    np.testing.assert_array_equal(dataset.train.labels, kept % 2)
    conditions = dataset.train.read_conditions(slice(None))
    np.testing.assert_array_equal(conditions, np.kron(cond[kept][..., None], np.ones((1, 2, 2, 1), np.uint8)))
    config = small_digits(**{"data.dataset": f"folder:{tmp_path}/d", "data.dir": str(tmp_path), **FIELDS})
    config = config_lib.fill_in(config, build.load_dataset(config))
    assert tuple(config.data.condition_scale) == tuple(config.data.condition_shift) == (127.5,)
    # What a run is sampled with is what it was trained with.
    np.testing.assert_array_equal(build.load_dataset(config).train.read_conditions(slice(None)), conditions)
    small = load_dataset(f"folder:{tmp_path}/d", (2, 2), directory=tmp_path).train.read_conditions(slice(None))
    assert small is not None and small.shape == (38, 2, 2, 1)
    (tmp_path / "d" / "other").mkdir()
    with pytest.raises(InputError, match="which holds x/ and cond/, whose pictures are pairs, and besides other; move"):
        load_dataset(f"folder:{tmp_path}/d", directory=tmp_path)
    (tmp_path / "d" / "other").rmdir()
    (tmp_path / "d" / "cond" / "1" / "07.bmp").unlink()
    with pytest.raises(InputError, match=r"and 1 of its 40 images have no condition in .*cond, the first is 1/07.png"):
        load_dataset(f"folder:{tmp_path}/d", directory=tmp_path)
