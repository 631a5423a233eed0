"""`make demo`: the whole path in minutes: train on digits and sample, train on a heart and draw its field.

    python -m benchmarks.demo [--workdir runs/demo]

Prints, one a line at the end: the seconds it took, evaluations of the network per digit, the Fréchet distance in pixel
space between 1,000 sampled digits and the training digits, and where the pictures are.
"""

import argparse
import shutil
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import main as command_line
import run_lib
from configs import digits, heart
from pfgm_jax import config as config_lib
from pfgm_jax import datasets, ode, plots
from pfgm_jax.metrics import frechet_distance

SAMPLES = 1000
FIELD_LINES = 150
HEMISPHERE = 6.0  # radius of the one that is drawn, in units of the heart's standard deviation times two


def digits_demo(workdir: Path) -> tuple[float, float, Path]:
    """Trains on digits and samples; returns evaluations per sample, the Fréchet distance and the picture."""
    config = digits.get_config()
    run_lib.train(config, workdir)
    config.sampling.num_samples = SAMPLES
    config.sampling.batch_size = 250
    config.sampling.ode_solver, config.sampling.N = "improved_euler", 12
    folder = run_lib.sample(config, workdir)
    content = np.load(folder / "samples.npz")
    dataset = datasets.load_dataset("digits")
    flat = lambda images: images.reshape(len(images), -1) / (dataset.levels - 1)
    distance = frechet_distance(flat(content["samples"]), flat(dataset.train))
    return float(content["evaluations"].mean()), distance, folder / "grid.png"


def heart_demo(workdir: Path) -> Path:
    """Trains on the heart; returns the picture of the learned field lines and of samples beside the data."""
    config = heart.get_config()
    run_lib.train(config, workdir)
    samples = np.load(run_lib.sample(config, workdir) / "samples.npz")["samples"]

    saved = config_lib.read(workdir)
    params, _ = run_lib.load_params(saved, workdir)
    model, method = config_lib.create_model(saved), config_lib.create_method(saved)
    data = datasets.load_dataset("heart").train
    scaled = config_lib.create_scaling(saved).encode(data)
    times = jnp.linspace(method.t_data, np.log(HEMISPHERE), 60)

    @jax.jit
    def lines_from(points):
        net = lambda x, z: model.apply({"params": params}, x, z)
        velocity = lambda x, t: method.velocity(net, x, t)
        return ode.trajectory(velocity, points, times, ode.Solver("improved_euler", steps=4))

    lines, end = lines_from(scaled[:FIELD_LINES])
    end.check()
    picture = workdir / "field.png"
    plots.field_lines_and_samples(
        picture,
        lines=np.asarray(lines)[:, :, 0, 0],
        heights=np.exp(np.asarray(times)),
        data=np.asarray(scaled)[:, 0, 0],
        samples=np.asarray(config_lib.create_scaling(saved).encode(samples))[:, 0, 0],
        radius=HEMISPHERE,
    )
    return picture


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=Path, default=Path("runs/demo"))
    workdir = parser.parse_args().workdir
    command_line.set_up_logging()
    start = time.perf_counter()
    for name in ("digits", "heart"):
        shutil.rmtree(workdir / name, ignore_errors=True)
    nfe, distance, grid = digits_demo(workdir / "digits")
    field = heart_demo(workdir / "heart")
    for name, value in (
        ("seconds", f"{time.perf_counter() - start:.0f}"),
        ("nfe", f"{nfe:g}"),
        ("fd", f"{distance:.4f}"),
        ("picture", grid),
        ("field", field),
    ):
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
