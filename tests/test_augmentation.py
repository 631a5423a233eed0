"""Augmentation of images of which the network is told: beside where points should go, and by its statistics."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import pfgm_jax
import run_lib
from pfgm_jax import build, models
from pfgm_jax.charges import Charges
from pfgm_jax.context import AUGMENTATION, NO_CONTEXT, Context
from pfgm_jax.datasets import Batch, Scaling
from pfgm_jax.datasets.augmentation import Transformation, draw, transformed
from pfgm_jax.errors import InputError
from pfgm_jax.keys import Keys
from pfgm_jax.models.mlp import MLP
from pfgm_jax.models.ncsnpp import NCSNpp
from pfgm_jax.sharding import Devices
from tests.test_run_lib import small_digits

IMAGES = np.random.default_rng(0).uniform(-1, 1, (3, 6, 8, 2)).astype(np.float32)


def transformation(n=1, **numbers):
    """Of n images, all by the same numbers."""
    return Transformation(*(jnp.full((n,), numbers.get(name, 0.0)) for name in Transformation._fields))


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ({}, IMAGES),
        ({"flip_x": 1.0}, IMAGES[:, :, ::-1]),
        ({"flip_y": 1.0}, IMAGES[:, ::-1]),
        ({"flip_x": 1.0, "flip_y": 1.0}, IMAGES[:, ::-1, ::-1]),
    ],
)
def test_flips_and_no_transformation_keep_values_exactly(numbers, expected):
    np.testing.assert_array_equal(transformed(jnp.asarray(IMAGES), transformation(3, **numbers)), expected)


def test_a_quarter_turn_and_a_shift_by_a_pixel_move_pixels():
    square = jnp.asarray(IMAGES[:, :, :6])
    turned = transformed(square, transformation(3, turn=math.pi / 2))
    np.testing.assert_allclose(turned, np.rot90(square, -1, (1, 2)), atol=2e-5)  # y points down
    shifted = transformed(jnp.asarray(IMAGES), transformation(3, shift_x=1.0))  # by an eighth of 8 pixels
    np.testing.assert_allclose(shifted[:, :, 1:], IMAGES[:, :, :-1], atol=1e-5)


@pytest.mark.parametrize(
    "numbers",
    [
        {"scale": 1.3},
        {"turn": 0.7},
        {"axis": 0.4, "stretch": 1.5},
        {"shift_x": 0.5, "shift_y": -0.8},
        {"flip_x": 1.0, "scale": 0.8, "turn": -2.0, "axis": 2.2, "stretch": -1.1, "shift_x": 0.6, "shift_y": 0.3},
    ],
)
def test_points_go_where_the_numbers_lead(numbers):
    """Of a spot at p the centre of brightness is at the image of p: flipped, scaled, turned, stretched, moved."""
    size, p = 64, np.array([6.0, -9.0])
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    spot = np.exp(-((x - p[0]) ** 2 + (y - p[1]) ** 2) / (2 * 3**2)).astype(np.float32)[None, :, :, None]
    found = np.asarray(transformed(jnp.asarray(spot), transformation(1, **numbers)))[0, :, :, 0].astype(np.float64)
    of = lambda name: numbers.get(name, 0.0)
    rotation = lambda a: np.array([[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]])
    expected = p * [1 - 2 * of("flip_x"), 1 - 2 * of("flip_y")] * 2 ** (0.2 * of("scale"))
    expected = rotation(of("turn")) @ expected
    stretch = np.diag(2.0 ** (0.2 * np.array([1, -1]) * of("stretch")))
    expected = rotation(of("axis")) @ stretch @ rotation(-of("axis")) @ expected
    expected = expected + size / 8 * np.array([of("shift_x"), of("shift_y")])
    centre = np.array([(found * x).sum(), (found * y).sum()]) / found.sum()
    np.testing.assert_allclose(centre, expected, atol=0.05)


def test_each_transformation_has_its_share_and_its_law():
    n, probability = 20_000, 0.3
    found = draw(jax.random.split(jax.random.key(0), n), probability)
    within = lambda count, share: abs(int(count) - n * share) < 4.5 * math.sqrt(n * share * (1 - share))
    assert within(np.sum(found.flip_x == 1), 0.5) and within(np.sum(found.flip_x == 0), 0.5)
    assert within(np.sum(found.flip_y == 1), probability / 2)
    normal, uniform = stats.norm.cdf, stats.uniform(-math.pi, 2 * math.pi).cdf
    for name, law in (
        ("scale", normal),
        ("turn", uniform),
        ("axis", uniform),
        ("stretch", normal),
        ("shift_x", normal),
    ):
        values = np.asarray(getattr(found, name))
        assert within(np.sum(values != 0), probability), name
        assert stats.kstest(values[values != 0], law).pvalue > 1e-3, name
    np.testing.assert_array_equal(np.asarray(found.shift_x) != 0, np.asarray(found.shift_y) != 0)
    assert found.numbers.shape == (n, AUGMENTATION)
    assert np.all(draw(jax.random.split(jax.random.key(0), 50), 0.0).numbers[:, 1:] == 0)


def test_examples_are_transformed_as_the_context_says_by_their_own_keys():
    stored = np.random.default_rng(1).integers(0, 17, (12, 8, 8, 1), dtype=np.uint8)
    index = np.arange(12, dtype=np.int32)
    charges = Charges("example", 12, 10, Scaling(17), Devices.all(), augmentation=1e-30)  # flips alone
    data, context, field = charges.examples_and_field(jax.random.key(3), Batch(stored, index, None), None)
    assert field is None and context.augmentation is not None
    flipped = np.asarray(context.augmentation)[:, 0] == 1
    assert 0 < flipped.sum() < 12
    plain = np.asarray(Scaling(17).to_network(stored))
    np.testing.assert_array_equal(data, np.where(flipped[:, None, None, None], plain[:, :, ::-1], plain))
    charges = charges._replace(augmentation=0.5)
    everything, context, _ = charges.examples_and_field(jax.random.key(3), Batch(stored, index, None), None)
    part, of_part, _ = charges.examples_and_field(jax.random.key(3), Batch(stored[4:7], index[4:7], None), None)
    np.testing.assert_allclose(part, everything[4:7], atol=1e-6)
    np.testing.assert_array_equal(of_part.augmentation, np.asarray(context.augmentation)[4:7])


@pytest.mark.parametrize("told", [True, False])
def test_networks_add_a_linear_map_of_the_numbers(told):
    networks = [
        MLP(out_channels=1, nf=8, num_res_blocks=1, told_of_augmentation=told),
        NCSNpp(out_channels=1, nf=8, ch_mult=(1,), num_res_blocks=1, attn_resolutions=(), told_of_augmentation=told),
    ]
    x, level = jnp.asarray(IMAGES[..., :1]), jnp.ones(3)
    zeros, ones = (Context(augmentation=jnp.full((3, AUGMENTATION), v)) for v in (0.0, 1.0))
    for network in networks:
        params = network.init(jax.random.key(0), x, level, NO_CONTEXT)
        params = jax.tree.map(lambda a: a + 0.1 * jax.random.normal(jax.random.key(1), a.shape), params)
        assert ("augmentation" in params["params"]) == told
        answer = lambda context, n=network, p=params: np.asarray(n.apply(p, x, level, context))
        np.testing.assert_array_equal(answer(zeros), answer(NO_CONTEXT))
        assert np.any(answer(ones) != answer(zeros)) == told


def test_a_logarithmic_embedding_is_the_positional_one_of_a_quarter_of_the_logarithm():
    shape = {"out_channels": 1, "nf": 8, "ch_mult": (1,), "num_res_blocks": 1, "attn_resolutions": (), "dropout": 0.0}
    of_log, plain = NCSNpp(embedding_type="positional_log", **shape), NCSNpp(embedding_type="positional", **shape)
    x, level = jnp.asarray(IMAGES[..., :1]), jnp.array([0.002, 1.0, 80.0])
    params = plain.init(jax.random.key(0), x, level)
    params = jax.tree.map(lambda a: a + 0.1 * jax.random.normal(jax.random.key(1), a.shape), params)
    expected = np.asarray(plain.apply(params, x, jnp.log(level) / 4))
    np.testing.assert_allclose(np.asarray(of_log.apply(params, x, level)), expected, rtol=1e-5, atol=1e-5)


def config_of(**overrides):
    return small_digits(**{"training.sde": "pfgmpp", "data.augmentation": 0.2, **overrides})


@pytest.mark.slow
def test_a_run_is_augmented_and_its_samples_are_asked_for_without(tmp_path):
    state = run_lib.train(config_of(), tmp_path / "run")
    model = pfgm_jax.load(tmp_path / "run")
    # Numbers that never arrived would leave the layer as it began.
    begun = models.init_params(
        models.create_model(model.config), build.image_shape(model.config), Keys.from_seed(model.config.seed).init
    )
    assert np.all(np.asarray(state.params["augmentation"]["kernel"]) != np.asarray(begun["augmentation"]["kernel"]))
    zeros = Context(augmentation=np.zeros((3, AUGMENTATION), np.float32))
    np.testing.assert_array_equal(model.sample(3, seed=0), model.sample(3, seed=0, context=zeros))
    with pytest.raises(InputError, match="of another model: data.augmentation is 0.0, and was 0.2"):
        run_lib.train(config_of(**{"data.augmentation": 0.0}), tmp_path / "run")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"training.sde": "poisson"}, "data.augmentation is 0.2, with which each image has a target of its own; set"),
        ({"training.field_reference": "dataset"}, "data.augmentation is 0.2, with which each image has a target of"),
        ({"model.name": "ncsnv2"}, "data.augmentation is 0.2, but the network 'ncsnv2', with these options, is not"),
        ({"model.name": "ncsnpp", "model.conditional": False}, "but the network 'ncsnpp', with these options, is not"),
        ({"data.dataset": "heart"}, "data.augmentation is 0.2, but heart holds vectors, which are not transformed"),
        ({"data.augmentation": 1.5}, "data.augmentation is 1.5; give a probability, from 0 to 1"),
    ],
)
def test_what_cannot_be_augmented_is_refused(overrides, message, tmp_path):
    with pytest.raises(InputError, match=message):
        run_lib.train(config_of(**overrides), tmp_path / "none")
