"""Noise levels of a few steps that are chosen for a model, beside those of the usual schedule.

    python main.py --mode train --config configs/digits_mlp.py
    python -m benchmarks.schedules --workdir runs/digits_mlp [--sets 5] [--steps 5,6,7,8,9,10]

Prints, for DPM-Solver++ of second order, the Fréchet distance in pixel space between sets of 1,000 samples and the
training digits, relative to that of RK45 at a tolerance of 1e-4, and how far samples are from the exact solutions.
"""

import argparse
import time
from pathlib import Path

import pfgm_jax
from benchmarks.solvers import ADAPTIVE, Measurement
from pfgm_jax.calibration import Calibration
from pfgm_jax.samplers import create_sampler

SOLVER = "dpmpp_2m"


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--sets", type=int, default=5)
    parser.add_argument("--steps", default="5,6,7,8,9,10")
    arguments = parser.parse_args()
    measurement = Measurement(arguments.workdir, arguments.sets)
    reference = measurement.measure(ADAPTIVE["RK45"][0]).fd.mean()
    calibrate = Calibration(pfgm_jax.load(arguments.workdir), SOLVER)
    print(
        f"Fréchet distance of RK45: {reference:.4f}; the others' relative to it. Error: of a pixel, per cent of white."
    )
    print(f"{'steps':>5}  {'rho 7':>6}  {'error':>6}  {'chosen':>6}  {'error':>6}  {'seconds to choose':>17}")
    for steps in map(int, arguments.steps.split(",")):
        start = time.perf_counter()
        levels = calibrate(steps).levels
        seconds = time.perf_counter() - start
        usual, chosen = (
            measurement.measure(create_sampler(SOLVER, **options))
            for options in ({"steps": steps}, {"steps": steps, "levels": levels})
        )
        numbers = (usual.fd.mean() / reference, 100 * usual.error, chosen.fd.mean() / reference, 100 * chosen.error)
        print(f"{steps:5}  " + "  ".join(f"{number:6.3f}" for number in numbers) + f"  {seconds:17.0f}", flush=True)


if __name__ == "__main__":
    main()
