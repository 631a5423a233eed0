"""The figures of `benchmarks.compare`, of the first seed: the paper's figure 5, and how much each method bears.

The weak network of the paper's section 4.3 is NCSNv2, trained with the same steps.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import run_lib
from benchmarks.compare_plan import DIFFUSIONS, METHODS, ODE, Data, weak_config
from benchmarks.dimensions import curves_of
from pfgm_jax import charts, config_files, datasets
from pfgm_jax.trained_model import TrainedModel

DRAWN = {
    "steps": ("evaluations", "evaluations of the network (Heun)", "log"),
    "noise": ("alpha", "noise added after each step, in units of the noise level", "linear"),
    "quantization": ("bits", "bits of a weight", "linear"),
}
WEAK = ("PFGM", *DIFFUSIONS)


def test_images(model: TrainedModel, n: int) -> np.ndarray:
    """Returns the first n test images of a model's data, in stored form."""
    return datasets.load_dataset(model.config.data.dataset, directory=datasets.data_dir(model.config.data.dir)).test[:n]


def workdir_of(folder: Path, method: str, seed: int) -> Path:
    """Returns the folder of a run."""
    return folder / f"{method.replace('+', 'p')}-{seed}"


def _kept(path: Path, compute: Any) -> Any:
    if not path.exists():
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(compute(), indent=1))
        partial.replace(path)
    return json.loads(path.read_text())


def weak_network(folder: Path, data: Data, made: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Trains NCSNv2 by each method and compares samples of its ODE with the data."""
    found = {}
    for method in WEAK:
        config = weak_config(data, method, made["steps"], made["gpu"])
        config.eval.num_samples, config.eval.features = data.samples, "pixels"
        config.eval.enable_loss = config.eval.enable_bpd = False
        workdir = workdir_of(folder, f"weak-{method}", 0)
        run_lib.train(config, workdir)
        (report,) = run_lib.evaluate(config, workdir)
        found[method] = {name: report[name] for name in ("fid", "fid_test", "evaluations")}
    return found


def _norms(workdir: Path) -> dict[str, Any]:
    """Returns quartiles of norms on the way from the prior, by noise level."""
    config = config_files.read(workdir)
    config.update_from_flattened_dict(ODE.changes)
    config.eval.enable_sampling = config.eval.enable_loss = config.eval.enable_bpd = False
    config.eval.enable_norm_curve = True
    (report,) = run_lib.evaluate(config, workdir)
    return json.loads(Path(report["norm_curve"]).read_text())


def draw(folder: Path, name: str, data: Data, made: dict[str, Any], output: Path) -> None:
    """Computes what is not kept in the folder yet, draws it, and prints the numbers.

    Args:
      folder: of all runs of the data.
      name: of the data.
      data, made: see `compare_plan`.
      output: receives the pictures.
    """
    curves = {}
    for method in METHODS:
        workdir = workdir_of(folder, method, 0)
        curves[method] = _kept(workdir / "curves.json", lambda: curves_of(workdir))  # noqa: B023
    for kind, (field, label, scale) in DRAWN.items():
        of_kind = {method: found[kind] for method, found in curves.items()}
        charts.plot_quality(output / f"comparison_{name}_{kind}.png", of_kind, field, label, scale)
        print(f"\nFD against {label}:")
        print(f"{'':8}" + "".join(f"{point[field]:9.4g}" for point in of_kind["PFGM"]))
        for method, points in of_kind.items():
            print(f"{method:8}" + "".join(f"{point['fid']:9.4f}" for point in points))
    figure = Figure(figsize=(9, 4), layout="constrained")
    for panel, method in zip(figure.subplots(1, 2), ("VE", "PFGM"), strict=True):
        norms = _norms(workdir_of(folder, method, 0))
        (level, levels), *_ = norms.items()
        panel.fill_between(levels, norms["lower"], norms["upper"], alpha=0.3)
        panel.plot(levels, norms["median"])
        panel.set(xscale="log", yscale="log", xlabel=level, ylabel="norm of x, quartiles", title=method)
    with (output / f"comparison_{name}_norms.png").open("wb") as file:
        figure.savefig(file, format="png", dpi=100)
    weak = _kept(folder / "weak.json", lambda: weak_network(folder, data, made))
    print("\nNCSNv2, ODE by RK45:")
    for method, found in weak.items():
        print(f"{method:8}" + "".join(f"  {field} {value:.4f}" for field, value in found.items()))
