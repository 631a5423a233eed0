"""Makes figures of an evaluation: quality against evaluations, norms along trajectories, paths through latents."""

import logging
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from pfgm_jax import build, charts, evaluation, given, latents, pictures, sharding
from pfgm_jax import config as config_lib
from pfgm_jax.errors import InputError
from pfgm_jax.folders import Folder
from pfgm_jax.keys import Keys, sample_keys
from pfgm_jax.registry import SAMPLERS
from pfgm_jax.robustness import noise_curve, quality, quantization_curve
from pfgm_jax.samplers.base import Solution, trajectory
from pfgm_jax.trained_model import TrainedModel

log = logging.getLogger("pfgm_jax")

# Numbers of network evaluations at which solvers with a fixed number of steps are compared.
EVALUATIONS = (5, 10, 20, 40, 100)
TOLERANCES = (1e-2, 1e-3, 1e-4, 1e-5)
TRAJECTORIES, HEIGHTS = 64, 40
PAIRS, SHARES = 8, 10
TEMPERATURES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0)


def make(workdir: Folder, model: TrainedModel, compare: Any, folder: Folder) -> dict[str, str]:
    """Makes the figures that the fields of `eval` enable, and returns their paths by name.

    Args:
      workdir: of the run.
      model: a trained model.
      compare: see `nfe_curve`; None if no curve of quality is enabled.
      folder: folder for the figures.

    Raises:
      SolveError: the ODE could not be solved.
    """
    options = model.config.eval
    makers = {
        "nfe_curve": (options.enable_nfe_curve, lambda: nfe_curve(workdir, model, compare, folder)),
        "noise_curve": (options.enable_noise_curve, lambda: noise_curve(workdir, model, compare, folder)),
        "quantization_curve": (
            options.enable_quantization_curve,
            lambda: quantization_curve(workdir, model, compare, folder),
        ),
        "norm_curve": (options.enable_norm_curve, lambda: norm_curve(model, folder)),
        "interpolation": (options.enable_interpolate, lambda: interpolation(model, folder)),
        "rescaling": (options.enable_rescale, lambda: rescaling(model, folder)),
    }
    return {name: str(make_it()) for name, (wanted, make_it) in makers.items() if wanted}


def nfe_curve(workdir: Folder, model: TrainedModel, compare: evaluation.Comparison, folder: Folder) -> Folder:
    """Measures the quality of `eval.num_samples` samples for each sampler and number of evaluations: JSON and a plot.

    This is the paper's figure of robustness to the step size (Xu et al. 2022, section 4.3).

    Args:
      workdir: of the run; its eval/samples/ keeps the samples.
      model: a trained model.
      compare: see `evaluation.create_comparison`.
      folder: folder for the files.

    Raises:
      SolveError: the ODE could not be solved.
    """
    curves: dict[str, list[dict[str, float]]] = {}
    for name in build.samplers_of(model.method):
        for setting in SAMPLERS[name].settings(EVALUATIONS, TOLERANCES):
            config = model.config.copy_and_resolve_references()
            build.choose_sampler(config, name)
            config.sampling.update(setting)
            build.forget_levels(config)
            config.sampling.levels = ()
            try:
                config_lib.validate(config)
            except InputError as error:  # as of steps that are too few
                log.info("Not measured: %s with %s, since %s", name, setting, error)
                continue
            of_setting = model.with_config(config)
            curves.setdefault(name, []).append({**setting, **quality(workdir, of_setting, compare)})

    draw = lambda path: charts.plot_quality(path, curves, "evaluations", "evaluations of the network")
    return charts.write(folder / "nfe", curves, draw)


def norm_curve(model: TrainedModel, folder: Folder) -> Folder:
    """Measures quartiles of the norms of samples on their way from the prior: JSON and a plot (section 4.3)."""
    method = model.method
    times = jnp.linspace(method.t_prior, method.t_data, HEIGHTS)

    @jax.jit
    def states(params, key, context):
        net = model.generator.network(params)
        x = method.prior_sample(sample_keys(key, TRAJECTORIES))
        velocity = lambda x, t, context: method.velocity(net, x, t, context)
        return trajectory(velocity, x, times, model.solver, context)

    context = given.of_samples(model.config, model.config.seed, 0, TRAJECTORIES, model.examples)
    path, end = states(model.params, Keys.from_seed(model.config.seed).samples, context)
    Solution(*(np.asarray(part) for part in end)).check()
    norms = np.linalg.norm(np.asarray(path).reshape(HEIGHTS, TRAJECTORIES, -1), axis=2)
    quartiles = np.quantile(norms, [0.25, 0.5, 0.75], axis=1)
    curve = {
        method.level_name: np.exp(times).tolist(),
        **dict(zip(("lower", "median", "upper"), quartiles.tolist(), strict=True)),
    }

    draw = lambda path: _plot_norms(path, method.level_name, np.exp(np.asarray(times)), quartiles)
    return charts.write(folder / "norms", curve, draw)


def interpolation(model: TrainedModel, folder: Folder) -> Folder:
    """Draws a grid of images in which each row leads from one random latent to another."""
    ends = _random_latents(model, 2 * PAIRS)
    path = latents.interpolate(ends[:PAIRS], ends[PAIRS:], jnp.linspace(0.0, 1.0, SHARES))
    return _grid(model, np.asarray(path), folder / "interpolation.png")


def rescaling(model: TrainedModel, folder: Folder) -> Folder:
    """Draws a grid of images in which each row has a random latent with its norm multiplied by `TEMPERATURES`."""
    centres = _random_latents(model, PAIRS)
    return _grid(model, np.asarray(latents.rescale(centres, jnp.array(TEMPERATURES))), folder / "rescaling.png")


def _random_latents(model: TrainedModel, n: int) -> Float[jax.Array, "n H W C"]:
    return model.method.prior_sample(sample_keys(Keys.from_seed(model.config.seed).samples, n))


def _grid(model: TrainedModel, path: np.ndarray, file: Folder) -> Folder:
    """Decodes latents [columns, rows, H, W, C] and draws them."""
    columns, rows = path.shape[:2]
    of_row = given.of_samples(model.config, model.config.seed, 0, rows, model.examples)
    context = jax.tree.map(lambda given: np.repeat(given, columns, axis=0), of_row)
    stored = model.decode(path.swapaxes(0, 1).reshape(-1, *model.shape), context)
    if not build.holds_vectors(model.config):
        pixels = pictures.to_pixels(stored, build.window(model.config))
        sharding.on_first_process(lambda: pictures.save_picture(file, pictures.image_grid(pixels, columns=columns)))
        return file
    array = file.with_suffix(".npy")
    sharding.on_first_process(lambda: np.save(array, stored.reshape(rows, columns, -1)))
    return array


def _plot_norms(path: Folder, level_name: str, z: Float[np.ndarray, " T"], quartiles: Float[np.ndarray, "3 T"]) -> None:
    lower, median, upper = quartiles
    with charts.axes(path) as axes:
        axes.fill_between(z, lower, upper, alpha=0.3, label="quartiles")
        axes.plot(z, median, label="median")
        axes.set(xlabel=level_name, ylabel="norm of the samples")
