"""`make demo`: the whole path in minutes: train on digits and sample, train on a heart and draw its field.

    python -m benchmarks.demo

Prints, one a line at the end: the seconds it took; evaluations of the network per digit; the Fréchet distances in pixel
space of 1,000 sampled digits to the training digits and to the test digits; by how much they repeat training digits, 0
for new ones and 1 for copies, and the share of them that is nearer to a training digit than the median test digit; of
10,000 points of the heart, the share that is farther from the training points than every held-out point, and their
sliced Wasserstein distance to held-out points over that of training points; and where the pictures are.
"""

import shutil
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import pfgm_jax
import run_lib
from benchmarks.digits import SAMPLES, copying_of_digits, draw, pixel_distance
from configs import digits_small, heart
from pfgm_jax import datasets, metrics, pictures, plots
from pfgm_jax.commands import command_line
from pfgm_jax.samplers import create_sampler, trajectory

FIELD_LINES, DRAWN = 150, 2000
HEMISPHERE = 3.0  # radius of the one that is drawn; the heart's is about 1


def digits_demo(workdir: Path) -> tuple[dict[str, str], Path]:
    """Trains on digits and samples; returns what is measured of the samples, and the picture."""
    run_lib.train(digits_small.get_config(), workdir)
    model = pfgm_jax.load(workdir, **{"sampling.ode_solver": "improved_euler", "sampling.N": 12})
    x, evaluations = draw(model, SAMPLES)

    scaling = model.scaling
    picture = workdir / "digits.png"
    pixels = pictures.to_pixels(np.asarray(scaling.to_stored(x[:100])), (0, scaling.levels - 1))
    pictures.to_picture(pictures.image_grid(pixels)).save(picture)
    repeated = copying_of_digits(x, scaling)
    measured = {
        "nfe": f"{evaluations.mean():g}",
        "fd": f"{pixel_distance(x, scaling):.4f}",
        "fd_test": f"{pixel_distance(x, scaling, 'test'):.4f}",
        "memorized": f"{repeated.memorized:.3f}",
        "nearer_than_test": f"{repeated.nearer:.3f}",
    }
    return measured, picture


def heart_demo(workdir: Path) -> tuple[dict[str, float], Path]:
    """Trains on the heart; returns what `--mode eval` measures, and the picture of field lines and samples."""
    config = heart.get_config()
    run_lib.train(config, workdir)
    samples = np.load(run_lib.sample(config, workdir) / "samples.npz")["samples"]

    model = pfgm_jax.load(workdir)
    method, net = model.method, model.net
    dataset = datasets.load_dataset("heart")
    measured = metrics.evaluate_vectors(samples, dataset.train[:], dataset.test[:])
    scaled = model.scaling.to_network(dataset.train[:])
    times = jnp.linspace(method.t_data, np.log(HEMISPHERE), 60)

    @jax.jit
    def lines_from(points):
        velocity = lambda x, t, _: method.velocity(net, x, t)
        return trajectory(velocity, points, times, create_sampler("improved_euler", steps=4))

    lines, end = lines_from(scaled[:FIELD_LINES])
    end.check()
    picture = workdir / "field.png"
    plots.field_lines_and_samples(
        picture,
        lines=np.asarray(lines)[:, :, 0, 0],
        heights=np.exp(np.asarray(times)),
        data=np.asarray(scaled)[:, 0, 0],
        samples=np.asarray(model.scaling.to_network(samples[:DRAWN]))[:, 0, 0],
        radius=HEMISPHERE,
    )
    return measured, picture


def main():
    """Runs both and prints what was measured."""
    workdir = Path("runs/demo")
    command_line.set_up_logging()
    start = time.perf_counter()
    shutil.rmtree(workdir, ignore_errors=True)
    digits_found, grid = digits_demo(workdir / "digits")
    heart_found, field = heart_demo(workdir / "heart")
    for name, value in (
        ("seconds", f"{time.perf_counter() - start:.0f}"),
        *digits_found.items(),
        ("outliers", f"{heart_found['outliers']:.4f}"),
        ("sliced Wasserstein ratio", f"{heart_found['sliced_wasserstein_ratio']:.2f}"),
        ("picture", grid),
        ("field", field),
    ):
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
