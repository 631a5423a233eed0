"""Points in the plane: trains on the four data sets as configs/plane.py says, and prints what `--mode eval` measures.

    python -m benchmarks.plane [--workdir runs/plane] [NAMES]

Prints of 10,000 samples the share that is farther from the training points than every held-out point, and the sliced
Wasserstein distance to held-out points, over that of as many training points.
"""

import argparse
from pathlib import Path

import run_lib
from configs import plane
from pfgm_jax.commands import command_line

NAMES = ("heart", "two_moons", "checkerboard", "eight_gaussians")


def main() -> None:
    """Trains and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(NAMES), metavar="NAMES", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--workdir", type=Path, default=Path("runs/plane"))
    arguments = parser.parse_args()
    command_line.set_up_logging()
    print(f"{'':18}{'outliers':>10}{'distance':>10}{'of data':>10}{'ratio':>8}{'evaluations':>13}")
    for name in arguments.names:
        config = plane.get_config()
        config.data.dataset = name
        run_lib.train(config, arguments.workdir / name)
        (found,) = run_lib.evaluate(config, arguments.workdir / name)
        distances = (found[f"sliced_wasserstein{of}"] for of in ("", "_of_data"))
        print(
            f"{name:18}{found['outliers']:10.4f}"
            + "".join(f"{distance:10.4f}" for distance in distances)
            + f"{found['sliced_wasserstein_ratio']:8.2f}{found['evaluations']:13.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
