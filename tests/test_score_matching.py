"""Score matching without targets: slices in expectation, and the minimum, beside closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pfgm_jax.methods import predictions, score_matching
from pfgm_jax.methods.vesde import VESDE
from pfgm_jax.models.mlp import MLP

DIM, ROWS, DRAWS = 5, 8, 4000


@pytest.fixture(scope="module")
def setup():
    model = MLP(out_channels=DIM, nf=16, num_res_blocks=1)
    x = jax.random.normal(jax.random.key(0), (ROWS, 1, 1, DIM))
    params = model.init(jax.random.key(1), x, jnp.ones(ROWS))["params"]
    # Away from where the network begins, which is near 0.
    params = jax.tree.map(lambda a: a + 0.2 * jax.random.normal(jax.random.key(a.size), a.shape), params)
    level = jnp.linspace(0.3, 2.0, ROWS)
    score = lambda params: lambda x: model.apply({"params": params}, x, level)
    return x, params, score


@pytest.mark.parametrize("objective", ["sliced", "sliced_vr"])
def test_slices_equal_the_trace_in_expectation_and_so_do_their_gradients(setup, objective):
    x, params, score = setup
    mean = lambda objective: lambda params, v: jnp.mean(score_matching.loss(objective, score(params), x, v))
    flat = lambda tree: jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)])
    exact, exact_gradient = jax.jit(jax.value_and_grad(mean("trace")))(params, x)
    directions = jax.random.rademacher(jax.random.key(2), (DRAWS, *x.shape), jnp.float32)
    of_draw = jax.jit(lambda v: jax.value_and_grad(mean(objective))(params, v))
    found, gradients = jax.lax.map(lambda v: (lambda r: (r[0], flat(r[1])))(of_draw(v)), directions)
    error = np.std(found) / np.sqrt(DRAWS)
    assert error > 0 and abs(np.mean(found) - exact) < 3 * error
    # Of many numbers some are beyond three standard errors by chance: one in 370.
    errors = np.std(gradients, axis=0) / np.sqrt(DRAWS)
    away = np.abs(np.mean(gradients, axis=0) - flat(exact_gradient)) / np.maximum(errors, 1e-5)
    assert (away > 3).mean() < 0.01 and away.max() < 5.5


def test_the_trace_is_that_of_the_jacobian(setup):
    x, params, score = setup
    one = lambda x, i: score(params)(jnp.broadcast_to(x, (ROWS, 1, 1, DIM)))[i].ravel()
    found = score_matching.loss("trace", score(params), x, x)
    jacobian_of = jax.jit(lambda x, i: jax.jacobian(lambda flat: one(flat.reshape(1, 1, 1, DIM), i))(x.ravel()))
    for i in range(ROWS):
        jacobian = jacobian_of(x[i], i)
        value = one(x[i][None], i)
        np.testing.assert_allclose(found[i], 0.5 * value @ value + jnp.trace(jacobian), rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize("objective", ["sliced", "sliced_vr", "trace"])
def test_a_method_weighs_it_by_the_noise(objective):
    """Of the score of N(0, s²), s² = 1 + σ²: ½ |x|²/s⁴ - N/s², times σ²."""
    method = VESDE((1, 1, DIM), objective=objective, sigma_max=5.0)
    pair = method.training_pair(jax.random.key(0), jax.random.normal(jax.random.key(1), (64, 1, 1, DIM)))
    s2 = 1 + pair.level**2
    net = lambda x, level, context=None: -x / s2[:, None, None, None]
    found = method.losses(net, pair)
    flat = pair.x.reshape(64, DIM)
    along = (flat * pair.target).sum(1) ** 2 if objective == "sliced" else (flat**2).sum(1)
    np.testing.assert_allclose(found, pair.level**2 * (0.5 * along / s2**2 - DIM / s2), rtol=1e-4, atol=1e-5)
    at = method.marginal(pair.noise_level)
    assert predictions.to_score("score", flat, flat, at) is flat
