"""How much a trained model bears: noise in every step of sampling, and weights of few bits (Xu et al. 2023, section 5).

The third of that section, larger steps, is `curves.nfe_curve`.
"""

from collections.abc import Sequence
from typing import Any

from pfgm_jax import build, charts, evaluation, results
from pfgm_jax import config as config_lib
from pfgm_jax.folders import Folder
from pfgm_jax.quantization import quantized
from pfgm_jax.trained_model import TrainedModel

ALPHAS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3)
BITS = (4, 5, 6, 7, 8, 9)


def noise_points(
    workdir: Folder, model: TrainedModel, compare: evaluation.Comparison, alphas: Sequence[float]
) -> list[dict[str, Any]]:
    """Measures the quality of samples with α of noise in each step, for each α."""
    return [{"alpha": a, **quality(workdir, disturbed(model, a), compare)} for a in alphas]


def quantization_points(
    workdir: Folder, model: TrainedModel, compare: evaluation.Comparison, bits: Sequence[int]
) -> list[dict[str, Any]]:
    """Measures the quality of samples with weights of so many bits, for each number."""
    of_bits = lambda n: TrainedModel(model.config, quantized(model.params, n), model.step, model.examples)
    return [{"bits": n, **quality(workdir, of_bits(n), compare)} for n in bits]


def noise_curve(workdir: Folder, model: TrainedModel, compare: evaluation.Comparison, folder: Folder) -> Folder:
    """Measures the quality of `eval.num_samples` samples with noise in each of `sampling.N` steps: JSON and a plot.

    Args:
      workdir: of the run; its eval/samples/ keeps the samples.
      model: a trained model.
      compare: see `evaluation.create_comparison`.
      folder: folder for the files.

    Raises:
      SolveError: the ODE could not be solved.
    """
    curve = noise_points(workdir, model, compare, ALPHAS)
    label = "noise added after each step, in units of the noise level"
    draw = lambda path: charts.plot_quality(path, {"heun": curve}, "alpha", label, "linear")
    return charts.write(folder / "noise", curve, draw)


def quantization_curve(workdir: Folder, model: TrainedModel, compare: evaluation.Comparison, folder: Folder) -> Folder:
    """Measures the quality of samples with weights of few bits: JSON and a plot; see `noise_curve`."""
    curve = quantization_points(workdir, model, compare, BITS)
    name = build.sampler_name(model.config)
    draw = lambda path: charts.plot_quality(path, {name: curve}, "bits", "bits of a weight", "linear")
    return charts.write(folder / "quantization", curve, draw)


def disturbed(model: TrainedModel, alpha: float) -> TrainedModel:
    """Returns the model with α of noise in every step of its sampler."""
    config = model.config.copy_and_resolve_references()
    build.choose_sampler(config, "disturbed_heun")
    config.sampling.alpha, config.sampling.levels, config.sampling.schedule = alpha, (), ""
    config_lib.validate(config)
    return model.with_config(config)


def quality(workdir: Folder, model: TrainedModel, compare: evaluation.Comparison) -> dict[str, Any]:
    """Draws `eval.num_samples` samples, which eval/samples/ of the workdir keeps, and compares them with the data."""
    drawn = results.samples_folder(workdir, model, model.config.eval.num_samples, "eval/samples")
    return evaluation.quality_of_samples(model, compare, drawn)
