"""Quality against evaluations, for every solver, of a trained digits model: docs/solvers.md and docs/solvers.png.

    python main.py --mode train --config configs/digits_mlp.py
    python -m benchmarks.solvers --workdir runs/digits_mlp [--sets 5] [--output docs]

All solvers start from the same draws of the prior. Measured are the Fréchet distance in pixel space between sets of
1,000 samples and the training digits (see `benchmarks.digits`), and the distance of the samples from those that the
same draws lead to when the ODE is solved to a tolerance of 1e-6. SciPy's RK45, which the authors' release calls, solves
the same ODE in float64. Last come bits per dimension of 60 test digits: how far off they are at a tolerance, and how
much two solves differ whose roundings do, since they work on 60 images at a time and on 7.
"""

import argparse
import dataclasses
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import matplotlib
import numpy as np
import scipy.integrate
from matplotlib.figure import Figure

import pfgm_jax
from benchmarks.digits import SAMPLES, pixel_distance
from pfgm_jax import datasets
from pfgm_jax.keys import sample_keys
from pfgm_jax.latents import decode
from pfgm_jax.samplers import OdeSolver, create_sampler

BUDGETS = (5, 10, 20, 40, 100)
EXACT = create_sampler("rk45", rtol=1e-6, atol=1e-6, max_steps=5000)
TOLERANCES = (1e-4, 1e-2, 1e-3, 1e-5)  # the first is that of the paper


def within(budget: int, solver: Any) -> OdeSolver:
    """A solver with the most steps that need no more than `budget` evaluations."""
    return dataclasses.replace(solver, steps=-(-budget // solver.evaluations_per_step))


FIXED = {
    "Euler (DDIM), log": create_sampler("euler", schedule="log"),
    "Euler (DDIM), rho 7": create_sampler("euler", schedule="rho"),
    "improved Euler, log": create_sampler("improved_euler", schedule="log"),
    "improved Euler, rho 7 (EDM)": create_sampler("improved_euler", schedule="rho"),
    "DPM-Solver++ 2M, log": create_sampler("dpmpp_2m", schedule="log"),
    "DPM-Solver++ 2M, rho 7": create_sampler("dpmpp_2m", schedule="rho"),
    "DPM-Solver++ 3M, log": create_sampler("dpmpp_3m", schedule="log"),
    "DPM-Solver++ 3M, rho 7": create_sampler("dpmpp_3m", schedule="rho"),
}
ADAPTIVE = {
    "RK45": [create_sampler("rk45", rtol=t, atol=t) for t in TOLERANCES],
    "RK45, shared step": [create_sampler("rk45", rtol=t, atol=t, shared_step=True) for t in TOLERANCES],
    "Tsit5": [create_sampler("tsit5", rtol=t, atol=t) for t in TOLERANCES],
}


@dataclasses.dataclass
class Point:
    """What one solver made of all sets.

    Attributes:
      evaluations: per sample, their mean.
      most: of any sample; those that are done wait for it.
      seconds: of a set, once it is compiled.
      fd: Fréchet distance of each set.
      error: root mean square distance of a pixel from the exact solution's, black being 0 and white 1.
    """

    evaluations: float
    most: int
    seconds: float
    fd: np.ndarray
    error: float


ON_STEPS = """Every sample chooses its own steps, unless the step is shared: then one error, that of the whole batch,
decides for all. With steps of their own, samples that have finished wait for the last of the batch ("most" below),
which is what the time between the two kinds of step differs by. They are the default all the same: sample k is then
the same whatever is drawn beside it. Who is in a hurry is better served by a multistep solver.

"""

SCIPY = "RK45 of SciPy, shared step"
ON_TOLERANCE = """
## What a tolerance promises

A tolerance bounds the error of one step, relative to the state, as the solver estimates it. It does not bound the error
of the result (above). Rounding decides what step is taken where the
estimate is near the bound, and a trained network amplifies rounding where its field is rough. So two solves of the same
image that round differently, since they run in batches of another size or on another number of devices, differ by more
than rounding. Bits per dimension of 60 test digits:

"""


class Measurement:
    """The sets of one model."""

    def __init__(self, workdir: Path, sets: int):
        model = pfgm_jax.load(workdir)
        self.step, self.method, self.scaling, self.sets = model.step, model.method, model.scaling, sets
        self._net = model.net
        draw = jax.jit(lambda key: self.method.prior_sample(sample_keys(key, SAMPLES)))
        self._start = [draw(key) for key in jax.random.split(jax.random.key(0), sets)]
        self._exact = self._solve(EXACT)[0]

    def _solve(self, solver: OdeSolver) -> tuple[list[np.ndarray], np.ndarray, float]:
        integrate = jax.jit(lambda x: decode(self.method, self._net, x, solver))
        solutions, seconds = [integrate(self._start[0]).check()], []
        for x in self._start:
            start = time.perf_counter()
            solutions.append(integrate(x).check())
            seconds.append(time.perf_counter() - start)
        solutions = solutions[1:]
        evaluations = np.concatenate([s.evaluations for s in solutions])
        return [np.asarray(s.x) for s in solutions], evaluations, float(np.median(seconds))

    def measure(self, solver: OdeSolver) -> Point:
        """Solves all sets."""
        return self._point(*self._solve(solver))

    def measure_scipy(self, tolerance: float) -> Point:
        """Solves all sets by SciPy, in float64 but for the network."""
        velocity = jax.jit(lambda x, t: self.method.velocity(self._net, x, t))
        solutions, evaluations, seconds = [], [], []
        for x in self._start:
            drift = lambda t, y, shape=x.shape: np.ravel(velocity(np.float32(y.reshape(shape)), np.float32(t))).astype(
                np.float64
            )
            start = time.perf_counter()
            interval, y = (self.method.t_prior, self.method.t_data), np.ravel(x).astype(np.float64)
            found = scipy.integrate.solve_ivp(drift, interval, y, rtol=tolerance, atol=tolerance)
            seconds.append(time.perf_counter() - start)
            solutions.append(np.float32(found.y[:, -1].reshape(x.shape)))
            evaluations.append(found.nfev)
        return self._point(solutions, np.array(evaluations), float(np.median(seconds)))

    def _point(self, x: list[np.ndarray], evaluations: np.ndarray, seconds: float) -> Point:
        fd = np.array([pixel_distance(part, self.scaling) for part in x])
        squares = [np.mean((a - b) ** 2) / 4 for a, b in zip(x, self._exact, strict=True)]
        error = float(np.sqrt(np.mean(squares)))
        return Point(float(evaluations.mean()), int(evaluations.max()), seconds, fd, error)


def _number(value: float) -> str:
    return f"{value:.3f}" if value < 100 else "> 100"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def report(points: dict[str, list[Point]], reference: Point, step: int) -> str:
    """The tables, in Markdown."""
    head = ["solver, schedule", *map(str, BUDGETS)]
    rule = _row(["---"] * len(head))
    text = (
        "# Solvers with few evaluations\n\n"
        "`python -m benchmarks.solvers --workdir runs/digits_mlp` printed this, of the model that "
        f"`configs/digits_mlp.py` trains (step {step}).\n{platform.machine()}, JAX {jax.__version__}; means of "
        f"{len(reference.fd)} sets of {SAMPLES} samples, all solvers from the same draws of the prior.\n\n"
        "## Fréchet distance to the training digits\n\n"
        f"In pixel space, relative to that of RK45 at a tolerance of 1e-4, which is {reference.fd.mean():.4f} "
        f"(standard deviation of a set {reference.fd.std(ddof=1) if len(reference.fd) > 1 else 0:.4f}) at "
        f"{reference.evaluations:.0f} evaluations. Columns: the most evaluations allowed.\n\n"
    )
    text += _row(head) + rule
    for name in FIXED:
        text += _row([name, *(_number(p.fd.mean() / reference.fd.mean()) for p in points[name])])
    text += (
        "\n## Distance from the exact solution\n\n"
        "Root mean square over pixels, in per cent of the range from black to white.\n\n"
    )
    text += _row(head) + rule
    for name in FIXED:
        text += _row([name, *(_number(100 * p.error) for p in points[name])])
    text += "\n## Adaptive solvers\n\n" + ON_STEPS
    quality = ["Fréchet distance, relative", "distance from the exact solution"]
    text += _row(["solver, tolerance", "evaluations", "most", "time, relative", *quality])
    text += _row(["---"] * 6)
    for name in (*ADAPTIVE, SCIPY):
        for tolerance, p in sorted(zip(TOLERANCES, points[name], strict=True), key=lambda pair: -pair[0]):
            relative = p.fd.mean() / reference.fd.mean()
            cost = (f"{p.evaluations:.1f}", str(p.most), f"{p.seconds / reference.seconds:.2f}")
            text += _row((f"{name}, {tolerance:g}", *cost, _number(relative), _number(100 * p.error)))
    return text + "\n![curves](solvers.png)\n"


def report_on_bits(workdir: Path) -> str:
    """The table of bits per dimension, in Markdown."""
    images = datasets.load_dataset("digits").test[:60]

    def bits(tolerance, batch_size):
        options = {"sampling.rtol": tolerance, "sampling.atol": tolerance, "eval.batch_size": batch_size}
        return np.asarray(pfgm_jax.load(workdir, **options).bits_per_dim(images, seed=0), np.float64)

    exact = bits(1e-6, 60)
    text = _row(["tolerance", "error of an image, at most", "of the mean", "batches of 60 and of 7 differ by, at most"])
    text += _row(["---"] * 4)
    for tolerance in sorted(TOLERANCES, reverse=True):
        by_60, by_7 = bits(tolerance, 60), bits(tolerance, 7)
        numbers = np.abs(by_60 - exact).max(), abs(np.mean(by_60 - exact)), np.abs(by_60 - by_7).max()
        text += _row([f"{tolerance:g}", *(f"{number:.1e}" for number in numbers)])
    return ON_TOLERANCE + text


def plot(points: dict[str, list[Point]], path: Path) -> None:
    """Both quantities against evaluations."""
    figure = Figure(figsize=(13, 5), layout="constrained")
    axes = figure.subplots(1, 2)
    colours = [matplotlib.colormaps["tab10"](i) for i in range(10)]
    for number, (name, curve) in enumerate(points.items()):
        curve = sorted(curve, key=lambda p: p.evaluations)
        adaptive = name in ADAPTIVE or name == SCIPY
        style = {
            "marker": "s" if adaptive else "o",
            "linestyle": ":" if adaptive else "--" if name.endswith("log") else "-",
            "color": colours[4 + [*ADAPTIVE, SCIPY].index(name) if adaptive else number // 2],
            "label": name,
            "markersize": 4,
        }
        evaluations = [p.evaluations for p in curve]
        axes[0].plot(evaluations, [p.fd.mean() for p in curve], **style)
        axes[1].plot(evaluations, [p.error for p in curve], **style)
    axes[0].set(ylabel="Fréchet distance in pixel space", ylim=(0.02, 1.0))
    axes[1].set(ylabel="RMS distance from the exact solution", ylim=(3e-5, 0.5))
    for axis in axes:
        axis.set(xscale="log", yscale="log", xlabel="evaluations of the network")
        axis.grid(alpha=0.3)
    axes[1].legend(fontsize=8)
    figure.savefig(path, dpi=100)


def main() -> None:
    """Measures, and writes both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--sets", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("docs"))
    arguments = parser.parse_args()
    measurement = Measurement(arguments.workdir, arguments.sets)
    points = {name: [measurement.measure(within(b, solver)) for b in BUDGETS] for name, solver in FIXED.items()}
    points |= {name: [measurement.measure(s) for s in solvers] for name, solvers in ADAPTIVE.items()}
    points[SCIPY] = [measurement.measure_scipy(tolerance) for tolerance in TOLERANCES]
    text = report(points, points["RK45"][0], measurement.step) + report_on_bits(arguments.workdir)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "solvers.md").write_text(text)
    plot(points, arguments.output / "solvers.png")
    print(text)


if __name__ == "__main__":
    main()
