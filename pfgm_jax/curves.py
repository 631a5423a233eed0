"""Figures of an evaluation: quality against evaluations, norms along trajectories, paths between and around latents."""

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from pfgm_jax import evaluation, latents, ode, sharding, writers
from pfgm_jax.folders import Folder, write_whole
from pfgm_jax.pretrained import Pretrained
from pfgm_jax.state import Keys

# Evaluations of the network at which solvers with a fixed number of steps are compared.
EVALUATIONS = (5, 10, 20, 40, 100)
TOLERANCES = (1e-2, 1e-3, 1e-4, 1e-5)
TRAJECTORIES, HEIGHTS = 64, 40
PAIRS, SHARES = 8, 10
TEMPERATURES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0)


def make(model: Pretrained, compare: Any, folder: Folder) -> dict[str, str]:
    """Makes the figures that the fields of `eval` ask for, in a folder; their paths by their names.

    Args:
      model: whose they are.
      compare: for `nfe_curve`; None where that is not asked for.
      folder: receives them.

    Raises:
      SolveError: the ODE could not be solved.
    """
    options = model.config.eval
    sharding.first_does(lambda: folder.mkdir(parents=True, exist_ok=True))
    makers = {
        "nfe_curve": (options.enable_nfe_curve, lambda: nfe_curve(model, compare, folder)),
        "norm_curve": (options.enable_norm_curve, lambda: norm_curve(model, folder)),
        "interpolation": (options.enable_interpolate, lambda: interpolation(model, folder)),
        "rescaling": (options.enable_rescale, lambda: rescaling(model, folder)),
    }
    return {name: str(make_it()) for name, (wanted, make_it) in makers.items() if wanted}


def nfe_curve(model: Pretrained, compare: evaluation.Comparison, folder: Folder) -> Folder:
    """Metrics of `eval.num_samples` samples for each solver and number of evaluations, as JSON and a plot.

    The paper's figure of robustness to the step size (Xu et al. 2022, section 4.3).

    Args:
      model: whose samples.
      compare: see `evaluation.create_comparison`.
      folder: receives the files.

    Raises:
      SolveError: the ODE could not be solved.
    """
    curves: dict[str, list[dict[str, float]]] = {}
    for name in ode.SOLVERS:
        settings = [{"rtol": t, "atol": t} for t in TOLERANCES] if name in ode.ADAPTIVE else _steps(name)
        for setting in settings:
            config = model.config.copy_and_resolve_references()
            config.sampling.ode_solver = name
            config.sampling.update(setting)
            config.sampling.levels = ()
            of_setting = Pretrained(config, model.params, model.step)
            pieces = folder / "nfe" / f"{name}-{next(iter(setting.values()))}"
            rows = evaluation.draw_samples(of_setting, pieces, config.eval.num_samples)
            point = {**setting, "evaluations": float(rows["evaluations"].mean()), **compare(rows["samples"])}
            curves.setdefault(name, []).append(point)

    def write():
        write_whole(folder / "nfe.json", (json.dumps(curves, indent=1) + "\n").encode())
        _plot_quality(folder / "nfe.png", curves)

    sharding.first_does(write)
    return folder / "nfe.json"


def _steps(name: str) -> list[dict[str, int]]:
    """Steps of a solver whose evaluations are about `EVALUATIONS`."""
    steps = [(count + 1) // 2 if name == "improved_euler" else count for count in EVALUATIONS]
    return [{"N": n} for n in steps]


def norm_curve(model: Pretrained, folder: Folder) -> Folder:
    """Norms of samples on their way from the prior, with their quartiles, as JSON and a plot (section 4.3)."""
    times = jnp.linspace(model.method.t_prior, model.method.t_data, HEIGHTS)
    solver = dataclasses.replace(model.solver, levels=())  # which are those of a single solve

    @jax.jit
    def states(params, key):
        net = model.network(params)
        x = model.method.prior_sample(key, TRAJECTORIES)
        return ode.trajectory(lambda y, t: model.method.velocity(net, y, t), x, times, solver)

    path, end = states(model.params, Keys.of(model.config.seed).samples)
    ode.Solution(*(np.asarray(part) for part in end)).check()
    norms = np.linalg.norm(np.asarray(path).reshape(HEIGHTS, TRAJECTORIES, -1), axis=2)
    quartiles = np.quantile(norms, [0.25, 0.5, 0.75], axis=1)
    curve = {"z": np.exp(times).tolist(), **dict(zip(("lower", "median", "upper"), quartiles.tolist(), strict=True))}

    def write():
        write_whole(folder / "norms.json", (json.dumps(curve, indent=1) + "\n").encode())
        _plot_norms(folder / "norms.png", np.exp(np.asarray(times)), quartiles)

    sharding.first_does(write)
    return folder / "norms.json"


def interpolation(model: Pretrained, folder: Folder) -> Folder:
    """A grid of images: each row leads from one random latent to another."""
    ends = model.method.prior_sample(Keys.of(model.config.seed).samples, 2 * PAIRS)
    path = latents.interpolate(ends[:PAIRS], ends[PAIRS:], jnp.linspace(0.0, 1.0, SHARES))
    return _grid(model, np.asarray(path), folder / "interpolation.png")


def rescaling(model: Pretrained, folder: Folder) -> Folder:
    """A grid of images: in each row, a random latent with its norm multiplied by `TEMPERATURES`."""
    centres = model.method.prior_sample(Keys.of(model.config.seed).samples, PAIRS)
    return _grid(model, np.asarray(latents.rescale(centres, jnp.array(TEMPERATURES))), folder / "rescaling.png")


def _grid(model: Pretrained, path: np.ndarray, file: Folder) -> Folder:
    """Decodes latents [columns, rows, H, W, C] and draws them."""
    columns, rows = path.shape[:2]
    stored = model.decode(path.swapaxes(0, 1).reshape(-1, *model.shape))
    if model.scaling.levels:
        pixels = writers.to_pixels(stored, model.scaling.levels)
        sharding.first_does(lambda: writers.save_picture(file, writers.image_grid(pixels, columns=columns)))
        return file
    array = file.with_suffix(".npy")
    sharding.first_does(lambda: np.save(array, stored.reshape(rows, columns, -1)))
    return array


@contextlib.contextmanager
def _axes(path: Folder) -> Iterator[Any]:
    """Axes to draw on, with logarithmic scales; then saved as a picture."""
    from matplotlib.figure import Figure  # takes a second, which training is spared

    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.add_subplot(xscale="log", yscale="log")
    yield axes
    axes.legend()
    with path.open("wb") as file:
        figure.savefig(file, format="png", dpi=100)


def _plot_quality(path: Folder, curves: dict[str, list[dict[str, float]]]) -> None:
    with _axes(path) as axes:
        for name, points in curves.items():
            evaluations, distances = ([p[field] for p in points] for field in ("evaluations", "fid"))
            axes.plot(evaluations, distances, marker="o", markersize=4, label=name)
        axes.set(xlabel="evaluations of the network", ylabel="Fréchet distance")


def _plot_norms(path: Folder, z: Float[np.ndarray, " T"], quartiles: Float[np.ndarray, "3 T"]) -> None:
    lower, median, upper = quartiles
    with _axes(path) as axes:
        axes.fill_between(z, lower, upper, alpha=0.3, label="quartiles")
        axes.plot(z, median, label="median")
        axes.set(xlabel="z", ylabel="norm of the samples")
