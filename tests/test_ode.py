import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from pfgm_jax.errors import SolveError
from pfgm_jax.ode import SOLVERS, Solver, solve, trajectory

# dx/dt = -x + sin 3t has the solution below; t runs backwards, as when sampling.
T0, T1 = 2.0, -1.0


def _velocity(x, t):
    return -x + jnp.sin(3 * t)


def _exact(x0, t):
    particular = lambda t: (np.sin(3 * t) - 3 * np.cos(3 * t)) / 10
    return particular(t) + (x0 - particular(T0)) * np.exp(T0 - t)


X0 = np.array([[0.5], [-2.0]], np.float32)


def _end(solver):
    return jax.jit(lambda x: solve(_velocity, x, T0, T1, solver))(X0)


@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("improved_euler", 2)])
def test_fixed_step_solvers_converge_in_their_order(name, order):
    steps = np.array([40, 80, 160, 320])
    errors = [np.abs(np.asarray(_end(Solver(name, steps=int(n))).x) - _exact(X0, T1)).max() for n in steps]
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert abs(slope + order) < 0.15


@pytest.mark.parametrize("name", ["rk45", "tsit5"])
@pytest.mark.parametrize("shared_step", [False, True])
def test_adaptive_solvers_keep_their_tolerance(name, shared_step):
    for tolerance in (1e-3, 1e-5):
        solution = _end(Solver(name, rtol=tolerance, atol=tolerance, shared_step=shared_step)).check()
        error = np.abs(np.asarray(solution.x) - _exact(X0, T1)) / (1 + np.abs(_exact(X0, T1)))
        assert error.max() < 30 * tolerance


@pytest.mark.parametrize("tolerance", [1e-3, 1e-5])
def test_rk45_agrees_with_scipy_in_result_and_cost(tolerance):
    ours = _end(Solver("rk45", rtol=tolerance, atol=tolerance, shared_step=True)).check()
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

    solver = Solver(name, steps=7, shared_step=True)
    solution = jax.jit(lambda x: solve(velocity, x, T0, T1, solver))(X0)
    jax.effects_barrier()
    assert int(solution.evaluations[0]) == len(calls)


def test_improved_euler_takes_two_evaluations_a_step_and_one_at_the_end():
    assert _end(Solver("improved_euler", steps=20)).evaluations.tolist() == [39, 39]
    assert _end(Solver("improved_euler", steps=1)).evaluations.tolist() == [1, 1]


@pytest.mark.parametrize("name", ["euler", "improved_euler"])
def test_fixed_steps_are_exact_where_trajectories_are_straight_in_the_noise_level(name):
    # One charge at y: dx/ds = x - y, of which x(z) = y + (x_max - y) z / z_max is the solution.
    y, x_max = 0.3, 50.0
    solver = Solver(name, steps=5)
    end = solve(lambda x, s: x - y, jnp.full((1, 1), x_max), math.log(40), math.log(1e-3), solver)
    np.testing.assert_allclose(end.x, y + (x_max - y) * 1e-3 / 40, rtol=1e-5)


def test_a_sample_does_not_depend_on_those_beside_it():
    solver = Solver("rk45", rtol=1e-3, atol=1e-3)
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
    solution = solve(velocity, jnp.array([[1.0], [-1.0]]), 1.0, 0.0, Solver(name, max_steps=50))
    assert solution.ok.tolist() == [True, False]
    with pytest.raises(SolveError, match=r"failed for 1 of 2 samples \(the first is number 1, .*sampling\.rtol"):
        solution.check()


def test_running_out_of_steps_is_a_failure():
    with pytest.raises(SolveError, match="failed for 2 of 2 samples"):
        _end(Solver("rk45", max_steps=2)).check()


@pytest.mark.parametrize("name", ["rk45", "euler"])
def test_trajectory_passes_through_the_solution(name):
    times = jnp.linspace(T0, T1, 5)
    states, end = trajectory(_velocity, jnp.asarray(X0), times, Solver(name, rtol=1e-5, atol=1e-5, steps=400))
    for t, state in zip(times, states, strict=True):
        np.testing.assert_allclose(state, _exact(X0, float(t)), rtol=0.02, atol=1e-3)
    np.testing.assert_array_equal(states[-1], end.check().x)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "rk4"}, "ode_solver is 'rk4'; choose one of"),
        ({"rtol": -1.0}, "rtol is -1.0"),
        ({"steps": 0}, "steps"),
    ],
)
def test_refuses(fields, message):
    with pytest.raises(ValueError, match=message):
        Solver(**fields)
