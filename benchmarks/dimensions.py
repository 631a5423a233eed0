"""PFGM++ with several numbers D of additional dimensions, PFGM and VE, on digits with the same network and steps.

    python -m benchmarks.dimensions [--folder runs/dimensions] [--pictures docs] [--dimensions 1 8 64 512 inf]

Trains each (configs/digits_pfgmpp.py, digits_mlp.py, digits_ve.py) and evaluates it: a table of the Fréchet distance of
5,000 samples to the training digits in pixel space, bits per dimension of the test digits, and evaluations. Then draws
three curves of the distance of 2,000 samples: against noise that is added in each of 17 steps of Heun's method, against
the bits of a weight, and against the number of these steps. What a folder holds already is not computed again.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import run_lib
from pfgm_jax import build, charts, config_files, evaluation, robustness
from pfgm_jax.commands import command_line
from pfgm_jax.loading import load_with
from pfgm_jax.trained_model import TrainedModel

STEPS = (4, 6, 8, 12, 17, 30, 50)
STEPS_OF_CURVES, SAMPLES_OF_CURVES = 17, 2000


def configs_of(dimensions: list[float]) -> dict[str, Any]:
    """Configs by the name that they have in the table."""
    found = {}
    for D in dimensions:
        config = config_files.load_experiment("digits_pfgmpp")
        config.pfgmpp.D = D
        found[f"D = {D:g}"] = config
    found["PFGM"] = config_files.load_experiment("digits_mlp")
    found["VE"] = config_files.load_experiment("digits_ve")
    for config in found.values():
        config.training.snapshot_sampling = False
    return found


def curves_of(workdir: Path) -> dict[str, list[dict[str, float]]]:
    """The three curves of a trained model."""
    with_heun = config_files.read(workdir)
    build.choose_sampler(with_heun, "heun")
    with_heun.sampling.N, with_heun.eval.num_samples = STEPS_OF_CURVES, SAMPLES_OF_CURVES
    model = load_with(with_heun, workdir)
    compare = evaluation.create_comparison(with_heun, build.load_dataset(with_heun))

    def of_steps(steps: int) -> TrainedModel:
        other = with_heun.copy_and_resolve_references()
        other.sampling.N = steps
        return TrainedModel(other, model.params, model.step)

    return {
        "noise": robustness.noise_points(workdir, model, compare, robustness.ALPHAS),
        "quantization": robustness.quantization_points(workdir, model, compare, robustness.BITS),
        "steps": [{"steps": n, **robustness.quality(workdir, of_steps(n), compare)} for n in STEPS],
    }


def main() -> None:
    """Trains, evaluates, prints and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/dimensions"))
    parser.add_argument("--pictures", type=Path, default=Path("docs"))
    parser.add_argument("--dimensions", type=float, nargs="+", default=[1, 8, 64, 512, float("inf")])
    arguments = parser.parse_args()
    command_line.set_up_logging()
    rows, curves = [], {}
    for name, config in configs_of(arguments.dimensions).items():
        workdir = arguments.folder / name.replace(" = ", "")
        run_lib.train(config, workdir)
        (report,) = run_lib.evaluate(config, workdir)
        curves[name] = curves_of(workdir)
        rows.append((name, report))
        (workdir / "curves.json").write_text(json.dumps(curves[name], indent=1))
    print(f"{'':10}{'FD':>9}{'evaluations':>13}{'bits/dim':>10}{'std. error':>12}{'unsolved':>10}")
    for name, r in rows:
        bits = f"{r['bits_per_dim']:10.3f}{r['bits_per_dim_standard_error']:12.3f}{r['bits_per_dim_unsolved']:10}"
        print(f"{name:10}{r['fid']:9.4f}{r['evaluations']:13.1f}{bits}")
    with charts.axes(arguments.pictures / "pfgmpp_table.png", "linear") as axes:
        for field, label in (("fid", "Fréchet distance"), ("bits_per_dim", "bits per dimension of test digits")):
            axes.plot([name for name, _ in rows], [r[field] for _, r in rows], "o", label=label)
    drawn = {
        "noise": ("alpha", "noise added after each step, in units of the noise level", "linear"),
        "quantization": ("bits", "bits of a weight", "linear"),
        "steps": ("evaluations", "evaluations of the network (Heun)", "log"),
    }
    for kind, (field, label, scale) in drawn.items():
        of_kind = {name: curve[kind] for name, curve in curves.items()}
        charts.plot_quality(arguments.pictures / f"pfgmpp_{kind}.png", of_kind, field, label, scale)
        print(f"\nFD against {label}:")
        print(f"{'':10}" + "".join(f"{point[field]:9.4g}" for point in next(iter(of_kind.values()))))
        for name, points in of_kind.items():
            print(f"{name:10}" + "".join(f"{point['fid']:9.4f}" for point in points))


if __name__ == "__main__":
    main()
