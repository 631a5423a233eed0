import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import default
from pfgm_jax.training.state import apply_gradients, create_optimizer, create_state


def _reference_steps(params, gradients, lr, warmup, clip, ema_rate, cosine, beta1=0.9, beta2=0.999, eps=1e-8):
    """Adam (Kingma & Ba 2015, algorithm 1) behind a limit on the norm, with warm-up and average, in float64."""
    p, ema, m, v = params.astype(np.float64), params.astype(np.float64), 0.0, 0.0
    for step, g in enumerate(gradients):
        g = g * min(1.0, clip / np.linalg.norm(g))
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        m_hat, v_hat = m / (1 - beta1 ** (step + 1)), v / (1 - beta2 ** (step + 1))
        rate = lr * min(step / warmup, 1) * (np.cos(np.pi * min(step / 25, 1) / 2) ** 2 if cosine else 1)
        p = p - rate * m_hat / (np.sqrt(v_hat) + eps)
        decay = min(ema_rate, (2 + step) / (11 + step))
        ema = decay * ema + (1 - decay) * p
    return p, ema


@pytest.mark.parametrize(("ema_rate", "schedule"), [(0.3, "constant"), (0.9999, "constant"), (0.3, "cosine")])
def test_steps_equal_the_formulas(ema_rate, schedule):
    rng = np.random.default_rng(0)
    params, gradients = rng.normal(size=40), rng.normal(size=(30, 40)) * 0.3
    optim = default.get_config().optim
    optim.lr, optim.warmup, optim.schedule = 0.01, 10, schedule
    optimizer = create_optimizer(optim, steps=25)
    state = create_state({"w": jnp.asarray(params, jnp.float32)}, optimizer)
    update = jax.jit(lambda s, g: apply_gradients(s, {"w": g}, optimizer, ema_rate))
    for g in gradients:
        state = update(state, jnp.asarray(g, jnp.float32))
    p, ema = _reference_steps(params, gradients, 0.01, 10, 1.0, ema_rate, schedule == "cosine")
    np.testing.assert_allclose(state.params["w"], p, rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(state.ema_params["w"], ema, rtol=2e-5, atol=1e-6)
    assert int(state.step) == 30


def test_first_step_moves_moments_only():
    optimizer = create_optimizer(default.get_config().optim)
    state = create_state({"w": jnp.ones(3)}, optimizer)
    after = apply_gradients(state, {"w": jnp.ones(3)}, optimizer, 0.999)
    np.testing.assert_array_equal(after.params["w"], 1.0)
    moments = jax.tree.leaves(jax.tree.map(lambda a: np.abs(a).max(), after.opt_state))
    assert sum(m > 0 for m in moments) >= 3
