"""The field explorer: its formulas are those of the library; `tests.in_browser` opens it."""

import json
import math
import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import quickjs
import scipy.integrate
import scipy.stats

from pfgm_jax import field

PAGE = Path("docs/explorer.html")


@pytest.fixture(scope="module")
def formulas():
    """Calls a function of the page's formulas."""
    engine = quickjs.Context()
    (script,) = re.findall(r'<script id="formulas">(.*?)</script>', PAGE.read_text(), re.DOTALL)
    engine.eval(script)
    number = lambda value: json.dumps(np.asarray(value).tolist())  # and of inf, as JavaScript, Infinity
    return lambda name, *arguments: np.array(
        json.loads(engine.eval(f"JSON.stringify(formulas.{name}({', '.join(map(number, arguments))}))"))
    )


def sets(dim):
    rng = np.random.default_rng(0)
    charges = rng.normal(size=(30, dim)).astype(np.float32)
    x = np.concatenate([rng.normal(size=(10, dim)), 30 * rng.normal(size=(5, dim)), charges[:3] + 1e-3])
    sigma = np.geomspace(1e-3, 40, len(x))
    return x.astype(np.float32), sigma.astype(np.float32), charges


@pytest.mark.parametrize("dim", [1, 2])
@pytest.mark.parametrize("D", [1, 8, 2048, math.inf])
def test_means_are_those_of_the_library(formulas, dim, D):
    x, sigma, charges = sets(dim)
    expected = field.posterior_mean(*map(jnp.asarray, (x, sigma, charges)), D=float(D))
    found = [formulas("mean", a, s, charges, D) for a, s in zip(x, sigma, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("dim", [1, 2])
def test_the_field_is_that_of_the_library(formulas, dim):
    x, z, charges = sets(dim)
    expected = field.poisson_field(*map(jnp.asarray, (x, z, charges)))
    found = [formulas("field", a, s, charges) for a, s in zip(x, z, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("D", [1, 8, math.inf])
def test_paths_solve_the_ode(formulas, D):
    charges = np.array([[-0.7], [0.5], [0.6]])
    path = formulas("path", [1.5], 3.0, 0.03, charges, D, 60)
    slope = lambda t, x: x - formulas("mean", x, math.exp(t), charges, D)
    solved = scipy.integrate.solve_ivp(slope, (math.log(3), math.log(0.03)), [1.5], rtol=1e-9, atol=1e-9)
    assert path.shape == (61, 2) and path[-1, 1] == pytest.approx(0.03)
    assert path[-1, 0] == pytest.approx(solved.y[0, -1], abs=2e-3)


def test_starts_on_the_hemisphere_are_uniform(formulas):
    rng = np.random.default_rng(0)
    starts = np.array([formulas("start", rng.normal(size=2), rng.chisquare(1), 3.0, 1) for _ in range(1000)])
    np.testing.assert_allclose(np.linalg.norm(starts, axis=1), 3)
    # Archimedes: heights over a sphere are uniform.
    assert (starts[:, 2] > 0).all() and scipy.stats.kstest(starts[:, 2] / 3, "uniform").pvalue > 0.01
    np.testing.assert_allclose(formulas("start", [1.0, -2.0], 0.0, 3.0, math.inf), [3, -6, 3])


def test_the_page_parses_and_needs_no_network():
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", PAGE.read_text(), re.DOTALL)
    for script in scripts:
        quickjs.Context().eval(f"new Function({json.dumps(script)})")
    assert len(scripts) == 2
    addresses = re.findall(r"""(?:src|href)=["']?([^"'\s>]*)""", PAGE.read_text())
    assert addresses == ["data:,"]
