import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp

from pfgm_jax.errors import SolveError
from pfgm_jax.registry import SAMPLERS
from pfgm_jax.samplers import OdeSolver, create_sampler, trajectory
from pfgm_jax.samplers.multistep import multistep_weights
from pfgm_jax.samplers.steps import FixedSteps
from tests.compiling import thorough_jit

SOLVERS = [name for name in SAMPLERS if issubclass(SAMPLERS[name], OdeSolver)]
FIXED = [name for name in SOLVERS if issubclass(SAMPLERS[name], FixedSteps)]


def solve(velocity, x, t0, t1, solver):
    """Solves an ODE whose velocity needs to know nothing of each sample."""
    return solver.solve(lambda x, t, _: velocity(x, t), x, t0, t1)


def solver_with(name, **options):
    """The solver of a name, with those of the options that it has."""
    return create_sampler(name, **{k: v for k, v in options.items() if k in SAMPLERS[name].__dataclass_fields__})


# dx/dt = -x + sin 3t has the solution below; t runs backwards, as when sampling.
T0, T1 = 2.0, -1.0


def _velocity(x, t):
    return -x + jnp.sin(3 * t)


def _exact(x0, t):
    particular = lambda t: (np.sin(3 * t) - 3 * np.cos(3 * t)) / 10
    return particular(t) + (x0 - particular(T0)) * np.exp(T0 - t)


X0 = np.array([[0.5], [-2.0]], np.float32)

jitted = jax.jit(solve, static_argnums=(0, 2, 3, 4))


def _end(solver):
    return jax.jit(lambda x: solve(_velocity, x, T0, T1, solver))(X0)


@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("improved_euler", 2)])
def test_fixed_step_solvers_converge_in_their_order(name, order):
    steps = np.array([40, 80, 160, 320])
    errors = [np.abs(np.asarray(_end(create_sampler(name, steps=int(n))).x) - _exact(X0, T1)).max() for n in steps]
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert abs(slope + order) < 0.15


# Data of the distribution N(0, 0.5²), seen in Gaussian noise of the level z: D = x 0.5² / (0.5² + z²).
TOP, BOTTOM = math.log(50.0), math.log(0.01)


def gaussian_velocity(x, t):
    return x - x * 0.25 / (0.25 + jnp.exp(2 * t))


def _gaussian_exact(x, t0, t1):
    return x * math.sqrt((0.25 + math.exp(2 * t1)) / (0.25 + math.exp(2 * t0)))


@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("improved_euler", 2), ("dpmpp_2m", 2), ("dpmpp_3m", 3)])
@pytest.mark.parametrize("schedule", ["log", "rho"])
@pytest.mark.parametrize(("t0", "t1"), [(TOP, BOTTOM), (BOTTOM, TOP)], ids=["to the data", "to the prior"])
def test_denoising_is_solved_in_the_order_of_the_solver(name, order, schedule, t0, t1):
    x = jnp.full((1, 1), 2 * math.exp(t0))
    exact = _gaussian_exact(x, t0, t1)
    steps = np.array([24, 48, 96])
    solve_in = lambda n: jitted(gaussian_velocity, x, t0, t1, create_sampler(name, steps=n, schedule=schedule)).x
    errors = [abs(float((solve_in(int(n)) / exact - 1)[0, 0])) for n in steps]
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    # Steps even in log z see this problem alike from both ends, by which the leading errors of odd orders cancel.
    assert slope < -order + 0.25, errors


def dpmpp_2m(denoise, x, z):
    """Algorithm 2 of Lu et al. 2022 in their variables, with alpha = 1, sigma = z; first order in the last step."""
    lam = -np.log(z)
    past = None
    for i in range(len(z) - 1):
        h = lam[i + 1] - lam[i]
        now = mean = denoise(x, z[i])
        if 0 < i < len(z) - 2:
            r = (lam[i] - lam[i - 1]) / h
            mean = (1 + 1 / (2 * r)) * now - past / (2 * r)
        x, past = z[i + 1] / z[i] * x - (np.exp(-h) - 1) * mean, now
    return x


def _ddim(denoise, x, z):
    """Section 4.1 of Song, Meng and Ermon 2021: the same data, less noise."""
    for now, after in itertools.pairwise(z):
        data = denoise(x, now)
        x = data + after * (x - data) / now
    return x


def _edm_heun(denoise, x, z):
    """Algorithm 1 of Karras et al. 2022, which has Euler's as its last step."""
    for i in range(len(z) - 1):
        slope, x0 = (x - denoise(x, z[i])) / z[i], x
        x = x0 + (z[i + 1] - z[i]) * slope
        if i < len(z) - 2:
            x = x0 + (z[i + 1] - z[i]) * (slope + (x - denoise(x, z[i + 1])) / z[i + 1]) / 2
    return x


@pytest.mark.parametrize(
    ("name", "published"), [("euler", _ddim), ("dpmpp_2m", dpmpp_2m), ("improved_euler", _edm_heun)]
)
def test_solvers_are_those_of_their_papers(name, published):
    n = 9
    # Equation 5 of Karras et al. 2022.
    high, low = math.exp(TOP) ** (1 / 7), math.exp(BOTTOM) ** (1 / 7)
    z = (high + np.arange(n + 1) / n * (low - high)) ** 7
    x = np.array([[70.0, -30.0]])
    theirs = published(lambda x, z: x * 0.25 / (0.25 + z**2) + np.tanh(x), x, z)
    velocity = lambda x, t: gaussian_velocity(x, t) - jnp.tanh(x)
    ours = jitted(velocity, jnp.asarray(x, jnp.float32), TOP, BOTTOM, create_sampler(name, steps=n, schedule="rho")).x
    np.testing.assert_allclose(ours, theirs, rtol=2e-5)


@pytest.mark.parametrize("scale", [1.0, 0.01])  # few steps, and many short ones
def test_steps_of_the_third_order_integrate_parabolas_exactly(scale):
    times = scale * np.array([3.0, 2.1, 1.7, 0.6, 0.1, -0.6, -2.0])
    denoised = lambda t: 0.4 - 0.7 * t + 0.3 * t**2
    weights = np.asarray(multistep_weights(jnp.asarray(times, jnp.float32), 3))
    for i in range(2, 4):
        t, h = times[i], times[i + 1] - times[i]
        # What the exact step takes away beyond that of a D that stays as it is.
        integral, _ = quad(lambda u, t=t, h=h: np.exp(h - u) * (denoised(t + u) - denoised(t)), 0, h)
        ours = weights[i] @ (denoised(times[[i - 1, i - 2]]) - denoised(t))
        np.testing.assert_allclose(ours, -integral, rtol=1e-5)
    # Of the steps at both ends, the first and the last are Euler's, and their neighbours know of no parabola.
    assert (weights[[0, -1]] == 0).all()
    assert (weights[[1, -2], 1] == 0).all()


@pytest.mark.parametrize("name", ["dpmpp_2m", "dpmpp_3m"])
def test_one_or_two_steps_are_eulers(name):
    x = jnp.array([[70.0, -30.0]])
    end = thorough_jit(lambda solver: solve(gaussian_velocity, x, TOP, BOTTOM, solver).x, static_argnums=0)
    for steps in (1, 2):
        ends = [end(create_sampler(n, steps=steps, rho=3.0, schedule="rho")) for n in (name, "euler")]
        np.testing.assert_allclose(*ends, rtol=1e-6)


CENTRES = np.array([[1.0, 0.2], [-0.4, 0.9], [-0.8, -0.7]])


def _mixture_velocity(xp, x, t):
    """Equal parts of N(c, 0.1²) about each centre c; in NumPy or JAX."""
    variance = 0.01 + xp.exp(2 * t)
    offset = x[:, None] - CENTRES.astype(x.dtype)[None]
    weights = xp.exp(-((offset**2).sum(-1) - (offset**2).sum(-1).min(1, keepdims=True)) / (2 * variance))
    weights = weights / weights.sum(1, keepdims=True)
    return xp.exp(2 * t) / variance * (weights[:, :, None] * offset).sum(1)


@pytest.mark.parametrize(("name", "tolerance"), [("improved_euler", 5e-4), ("dpmpp_2m", 2e-3), ("dpmpp_3m", 2e-4)])
def test_samples_of_a_mixture_agree_with_scipy(name, tolerance):
    x0 = np.random.default_rng(0).normal(size=(8, 2)) * 20
    theirs = solve_ivp(
        lambda t, x: _mixture_velocity(np, x.reshape(-1, 2), t).ravel(), (math.log(20), math.log(1e-3)), x0.ravel(),
        method="DOP853", rtol=1e-10, atol=1e-12,
    )  # fmt: skip
    ours = jitted(
        lambda x, t: _mixture_velocity(jnp, x, t), jnp.asarray(x0, jnp.float32), math.log(20), math.log(1e-3),
        create_sampler(name, steps=400, schedule="rho"),
    ).check()  # fmt: skip
    np.testing.assert_allclose(ours.x, theirs.y[:, -1].reshape(-1, 2), atol=tolerance)


@pytest.mark.parametrize("name", FIXED)
def test_the_velocity_is_compiled_once(name):
    velocity = lambda x, t: x - jnp.tanh(x)
    text = str(
        jax.make_jaxpr(lambda x: solve(velocity, x, TOP, BOTTOM, create_sampler(name, steps=30)))(jnp.ones((2, 3)))
    )
    assert text.count("tanh") == 1
    assert text.count("scan[") == 1


@pytest.mark.parametrize("name", ["rk45", "tsit5"])
@pytest.mark.parametrize("shared_step", [False, True])
def test_adaptive_solvers_keep_their_tolerance(name, shared_step):
    for tolerance in (1e-3, 1e-5):
        solution = _end(create_sampler(name, rtol=tolerance, atol=tolerance, shared_step=shared_step)).check()
        error = np.abs(np.asarray(solution.x) - _exact(X0, T1)) / (1 + np.abs(_exact(X0, T1)))
        assert error.max() < 30 * tolerance


@pytest.mark.parametrize("tolerance", [1e-3, 1e-5])
def test_rk45_agrees_with_scipy_in_result_and_cost(tolerance):
    ours = _end(create_sampler("rk45", rtol=tolerance, atol=tolerance, shared_step=True)).check()
    theirs = solve_ivp(
        lambda t, x: -x + np.sin(3 * t), (T0, T1), X0[:, 0], method="RK45", rtol=tolerance, atol=tolerance
    )
    np.testing.assert_allclose(np.asarray(ours.x)[:, 0], theirs.y[:, -1], rtol=100 * tolerance)
    assert 0.6 < int(ours.evaluations[0]) / theirs.nfev < 1.6


@pytest.mark.parametrize("name", SOLVERS)
def test_evaluations_are_counted(name):
    calls = []

    def velocity(x, t):
        jax.debug.callback(lambda: calls.append(1))
        return _velocity(x, t)

    solver = solver_with(name, steps=7, shared_step=True)
    solution = jax.jit(lambda x: solve(velocity, x, T0, T1, solver))(X0)
    jax.effects_barrier()
    assert int(solution.evaluations[0]) == len(calls)


def test_improved_euler_takes_two_evaluations_a_step_and_one_at_the_end():
    assert _end(create_sampler("improved_euler", steps=20)).evaluations.tolist() == [39, 39]
    assert _end(create_sampler("improved_euler", steps=1)).evaluations.tolist() == [1, 1]


# The slope at the end divides the rounding of x by the noise level there, which counts in one step of heun's alone.
@pytest.mark.parametrize(("name", "steps"), [(n, s) for n in FIXED for s in (1, 5) if (n, s) != ("heun", 1)])
def test_fixed_steps_are_exact_where_trajectories_are_straight_in_the_noise_level(name, steps):
    # One charge at y: dx/ds = x - y, of which x(z) = y + (x_max - y) z / z_max is the solution.
    y, x_max = 0.3, 50.0
    solver = create_sampler(name, steps=steps)
    end = jitted(lambda x, s: x - y, jnp.full((1, 1), x_max), math.log(40), math.log(1e-3), solver)
    np.testing.assert_allclose(end.x, y + (x_max - y) * 1e-3 / 40, atol=2e-7 * x_max)


def test_a_sample_does_not_depend_on_those_beside_it():
    solver = create_sampler("rk45", rtol=1e-3, atol=1e-3)
    velocity = lambda x, t: jnp.sin(x * 3) - x
    x = jnp.linspace(-3, 3, 8)[:, None]
    solve_all = jax.jit(lambda x: solve(velocity, x, 0.0, 5.0, solver))
    together, alone = solve_all(x), solve_all(x[3:4])
    np.testing.assert_allclose(together.x[3:4], alone.x, rtol=1e-6)
    assert together.evaluations[3] == alone.evaluations[0]
    assert len(set(together.evaluations.tolist())) > 1


@pytest.mark.parametrize("name", SOLVERS)
def test_failure_is_reported_for_the_sample_that_failed(name):
    velocity = lambda x, t: jnp.where(x < 0, jnp.nan, -x)
    solution = solve(velocity, jnp.array([[1.0], [-1.0]]), 1.0, 0.0, solver_with(name, max_steps=50))
    assert solution.ok.tolist() == [True, False]
    with pytest.raises(SolveError, match=r"failed for 1 of 2 samples \(the first is number 1, .*sampling\.rtol"):
        solution.check()


def test_running_out_of_steps_is_a_failure():
    with pytest.raises(SolveError, match="failed for 2 of 2 samples"):
        _end(create_sampler("rk45", max_steps=2)).check()


@pytest.mark.parametrize("name", ["rk45", "euler"])
def test_trajectory_passes_through_the_solution(name):
    times = jnp.linspace(T0, T1, 5)
    solver = solver_with(name, rtol=1e-5, atol=1e-5, steps=400)
    states, end = trajectory(lambda x, t, _: _velocity(x, t), jnp.asarray(X0), times, solver)
    for t, state in zip(times, states, strict=True):
        np.testing.assert_allclose(state, _exact(X0, float(t)), rtol=0.02, atol=1e-3)
    np.testing.assert_array_equal(states[-1], end.check().x)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "rk4"}, "sampling.ode_solver is 'rk4'; choose one of"),
        ({"name": "rk45", "rtol": -1.0}, "rtol is -1.0; give a number above 0"),
        ({"name": "rk45", "steps": 3}, "steps is 3; rk45 has only rtol, atol, max_steps, shared_step"),
        ({"steps": 0}, "steps is 0; give a number of at least 1"),
        ({"schedule": "linear"}, "schedule is 'linear'; choose one of log, rho, calibrated, or '' for the sampler's"),
        ({"rho": 0.0}, "rho is 0.0; give a number above 0"),
        ({"rho": math.inf}, "rho is inf; give a number above 0"),
        ({"levels": (1.0, 2.0)}, r"levels is \(1.0, 2.0\); give positive numbers, each below the one before"),
        ({"levels": (1.0, 0.0)}, "give positive numbers"),
    ],
)
def test_refuses(fields, message):
    with pytest.raises(ValueError, match=message):
        create_sampler(**{"name": "euler", **fields})
