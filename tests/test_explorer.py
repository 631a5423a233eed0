"""The field explorer: its formulas are those of the library, and its page works in a browser where there is one."""

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
from tests.browser import CHROMIUM, title_after

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


TRY = """<script>
const seen = {};
const look = name => {
  const inked = id => {
    const data = $(id).getContext("2d").getImageData(0, 0, 800, 600).data;
    return data.reduce((n, v, i) => n + (i % 4 === 3 && v > 0), 0);
  };
  seen[name] = { title: $("title").textContent, left: inked("left"), right: inked("right"), told: $("told").textContent,
    gap: Number(($("told").textContent.match(/is ([0-9.]+)/) || [0, NaN])[1]), charges: charges.length };
};
const set = (id, value, event) => { $(id).value = value; $(id).dispatchEvent(new Event(event)); };
look("heart");
set("dimensions", 7, "input"); look("128"); set("dimensions", 12, "input"); look("infinite");
for (const shape of ["two moons", "text", "two on a line", "line, by hand"]) {
  set("shape", shape, "change");
  look(shape);
}
const box = $("left").getBoundingClientRect();
$("left").setPointerCapture = () => {};
for (const kind of ["pointerdown", "pointerup"]) $("left").dispatchEvent(new PointerEvent(kind,
  { clientX: box.left + box.width * 0.7, clientY: box.top + box.height * 0.9, pointerId: 1 }));
look("clicked"); seen.clicked.at = charges;
$("flow").click();
setTimeout(() => { look("flowing"); document.title = JSON.stringify({ seen, problems,
  width: document.documentElement.scrollWidth }); }, 1500);
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
@pytest.mark.parametrize("width", [1200, 500])
def test_the_page_works_in_a_browser(width, tmp_path):
    found = title_after(PAGE.read_text(), TRY, width, tmp_path)
    seen = found["seen"]
    assert found["problems"] == [] and found["width"] <= width
    assert [seen[name]["title"] for name in ("heart", "128", "infinite")] == [
        "PFGM (D = 1)",
        "PFGM++ (D = 128)",
        "PFGM++ (D = ∞)",
    ]
    for name in ("heart", "128", "infinite", "two moons", "text", "two on a line"):
        # All paths end at charges.
        assert seen[name]["gap"] < 0.1 and min(seen[name]["left"], seen[name]["right"]) > 5000, name
    # With D = ∞ both pictures are those of the diffusion.
    assert seen["infinite"]["left"] == seen["infinite"]["right"] != seen["128"]["left"]
    assert seen["line, by hand"]["charges"] == 0 and seen["clicked"]["charges"] == 1
    assert seen["clicked"]["at"][0][0] == pytest.approx((0.7 - 0.5) * 9, abs=0.05)


def test_the_page_needs_no_network():
    addresses = re.findall(r"""(?:src|href)=["']?([^"'\s>]*)""", PAGE.read_text())
    assert addresses == ["data:,"]
