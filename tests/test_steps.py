"""How the steps of solvers that do not choose them divide the way."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from pfgm_jax.samplers import create_sampler
from tests.test_samplers import BOTTOM, TOP, dpmpp_2m, gaussian_velocity, jitted, solve

LEVELS = (20.0, 3.0, 0.5, 0.04)


@pytest.mark.parametrize(
    ("solver", "is_even"),
    [
        (create_sampler("euler", steps=12, schedule="log"), np.log),
        (create_sampler("euler", steps=12, schedule="rho"), lambda z: z ** (1 / 7)),
        (create_sampler("euler", steps=12, schedule="rho", rho=2.0), np.sqrt),
        (create_sampler("euler", steps=12, schedule="rho", rho=0.1), lambda z: z**10),
        # Of their own.
        (create_sampler("euler", steps=12), np.log),
        (create_sampler("improved_euler", steps=12), np.log),
        (create_sampler("dpmpp_2m", steps=12), lambda z: z ** (1 / 7)),
        (create_sampler("dpmpp_3m", steps=12), lambda z: z ** (1 / 7)),
        (create_sampler("dpmpp_2m", levels=LEVELS), None),
    ],
)
def test_step_times(solver, is_even):
    times = np.asarray(solver.step_times(TOP, BOTTOM), np.float64)
    assert len(times) == (13 if is_even else 6)
    assert times[0] == np.float32(TOP)
    assert times[-1] == np.float32(BOTTOM)
    assert (np.diff(times) < 0).all()
    if is_even:
        evenly = is_even(np.exp(times))
        np.testing.assert_allclose(np.diff(evenly), (evenly[-1] - evenly[0]) / 12, rtol=1e-4)
    else:
        np.testing.assert_allclose(np.exp(times[1:-1]), LEVELS, rtol=1e-6)
    np.testing.assert_allclose(solver.step_times(BOTTOM, TOP), times[::-1], rtol=1e-5, atol=1e-6)


def test_given_levels_are_stepped_through():
    x = jnp.array([[70.0, -30.0]])
    given = jitted(gaussian_velocity, x, TOP, BOTTOM, create_sampler("dpmpp_2m", levels=LEVELS))
    z = np.array([math.exp(TOP), *LEVELS, math.exp(BOTTOM)])
    by_hand = dpmpp_2m(lambda x, z: x * 0.25 / (0.25 + z**2), np.asarray(x, np.float64), z)
    np.testing.assert_allclose(given.x, by_hand, rtol=1e-5)
    assert given.evaluations.tolist() == [5]


def test_levels_must_lie_inside():
    x = jnp.ones((1, 1))
    with pytest.raises(ValueError, match=r"levels is \(60.0, 1.0\); the ODE is solved between 50 and 0.01"):
        solve(gaussian_velocity, x, TOP, BOTTOM, create_sampler("euler", levels=(60.0, 1.0)))
