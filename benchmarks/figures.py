"""The pictures of docs/theory.md, made with the exact field of the charges, without a network, in a minute.

    python -m benchmarks.figures [--folder docs] [--only arrows rise collapse trajectories] [--workdir runs/digits]

With --workdir the trajectories are those of a trained model of images; otherwise they follow the field of the training
digits themselves, and so end at these. Prints what the pictures show in numbers.
"""

import argparse
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

import pfgm_jax
from pfgm_jax import datasets, plots
from pfgm_jax.commands import command_line
from pfgm_jax.context import NO_CONTEXT
from pfgm_jax.datasets import mean_norm
from pfgm_jax.field import normalize_field, poisson_field
from pfgm_jax.keys import sample_keys
from pfgm_jax.methods import Method, Network, Poisson
from pfgm_jax.methods.hyper_parameters import hyper_parameters
from pfgm_jax.samplers import create_sampler, trajectory

SOLVER = create_sampler("improved_euler", steps=4)  # between each two heights
HEART_RADIUS, RISING, STAGES = 4.0, 1000, 22
DISK_RADIUS, DISK_LINES = 5.0, 60
ROWS, COLUMNS, MOMENTS = 6, 10, 40


def exact_network(charges: jax.Array, gamma: float = 5.0) -> Network:
    """What a network would answer that has learned the field of the charges [R, H, W, C] without error."""
    flat = charges.reshape(len(charges), -1)

    def net(x, z, context=NO_CONTEXT):
        v = normalize_field(poisson_field(x.reshape(len(x), -1), z, flat), gamma)
        v_x, v_z = v[:, :-1].reshape(x.shape), v[:, -1, None, None, None]
        return jnp.concatenate([v_x, jnp.broadcast_to(v_z, (*x.shape[:-1], 1))], axis=-1)

    return net


def follow(method: Method, net: Network, x: jax.Array, heights: np.ndarray) -> np.ndarray:
    """Positions [T, b, H, W, C] at the given heights of the trajectories that start at x, at the first of them."""
    velocity = lambda x, t, _: method.velocity(net, x, t)
    times = jnp.log(jnp.asarray(heights, jnp.float32))
    states, end = jax.jit(lambda x: trajectory(velocity, x, times, SOLVER))(x)
    end.check()
    return np.asarray(states)


def plane_method(z_min: float) -> Poisson:
    """PFGM of points in the plane with an exact network, whose z part needs no substitute."""
    return Poisson(shape=(1, 1, 2), z_min=z_min, z_max=40.0, upper_norm=1e6, z_exp=0.0)


def heart() -> jax.Array:
    """The heart's training points in network units, [n, 1, 1, 2]."""
    points = datasets.load_dataset("heart").train[:]
    shift, scale = datasets.vector_scaling(points)
    return datasets.Scaling(levels=0, shift=shift, scale=scale).to_network(points)


def grid(x: tuple[float, float], y: tuple[float, float], n: int) -> np.ndarray:
    """Points [n², 2] of a grid."""
    axes = np.meshgrid(np.linspace(*x, n), np.linspace(*y, n))
    return np.stack(axes, axis=-1).reshape(-1, 2).astype(np.float32)


def arrows(folder: Path) -> None:
    """The field above data on a line, and near and far above the heart."""
    rng = np.random.default_rng(0)
    on_line = jnp.asarray(np.concatenate([rng.normal(m, 0.08, 100) for m in (-0.9, 0.2, 0.8)])[:, None], jnp.float32)
    points = grid((-2, 2), (0.01, 4), 19)
    towards = jax.jit(poisson_field)(points[:, :1], points[:, 1], on_line)
    method = Poisson(shape=(1, 1, 1), z_max=4.0, z_exp=0.0)
    heights = np.geomspace(method.z_min, method.z_max, 60)
    lines = follow(method, exact_network(on_line[:, None, None]), on_line[::10, None, None], heights)[..., 0, 0, :]
    lines = np.concatenate([lines, np.broadcast_to(heights[:, None, None], lines.shape)], axis=2)
    charges = np.c_[np.asarray(on_line), np.zeros(len(on_line))]
    # The field points away from positive charges; `poisson_field` is its negative.
    planes = [plots.Plane("Data on a line", ("x", "z"), points, -np.asarray(towards), charges, lines)]

    charges = np.asarray(heart())[:1000, 0, 0]
    points = grid((-1.2, 1.2), (-1.2, 1.2), 19)
    none = np.zeros((2, 0, 2), np.float32)
    for z in (0.02, 4.0):
        towards = jax.jit(poisson_field)(points, np.full(len(points), z, np.float32), charges)
        vectors = -np.asarray(towards)[:, :2]
        planes.append(plots.Plane(f"Above a heart, z = {z}", ("x", "y"), points, vectors, charges, none))
    plots.field_arrows(folder / "arrows.png", planes)


def rise(folder: Path) -> None:
    """The heart's charges on their way to the hemisphere."""
    charges, method = heart()[:1000], plane_method(z_min=1e-5)
    heights = np.geomspace(method.z_min, method.z_max, 100)
    # The field lines that leave a charge cross a plane near above it with the density of the prior for that height.
    near = dataclasses.replace(method, z_min=0.5 * method.z_min, z_max=method.z_min).prior_sample(
        sample_keys(jax.random.key(0), RISING)
    )
    lines = follow(method, exact_network(charges), charges[:RISING] + near, heights)[:, :, 0, 0]
    stages = plots.rise(lines[:, ::2], heights, HEART_RADIUS, STAGES)
    plots.rise_gif(folder / "rise.gif", stages, HEART_RADIUS)
    for radius in (2.0, HEART_RADIUS, 10.0, 40.0):
        # On the uniform hemisphere in three dimensions heights are uniform (Archimedes).
        on_sphere = plots.rise(lines, heights, radius, stages=2)[-1]
        test = stats.kstest(on_sphere[:, 2] / radius, stats.uniform.cdf)
        print(f"rise: at radius {radius:g} the heights have KS distance {test.statistic:.3f} from uniform")


def collapse(folder: Path) -> None:
    """A uniform disk of radius 1, without and with the additional dimension."""
    n = 2000
    index = np.arange(n) + 0.5
    radius, angle = np.sqrt(index / n), np.pi * (1 + 5**0.5) * index  # Vogel's sunflower covers the disk evenly
    disk = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).astype(np.float32)

    # By Gauss's law the field in the plane is x / |x|² outside of the disk and x inside it: dr/dt = -1/r, then -r.
    times = np.linspace(0.0, 20.0, 200)
    outside = DISK_RADIUS**2 - 2 * times
    distance = np.where(outside > 1, np.sqrt(np.maximum(outside, 1)), np.exp(np.minimum(0.5 * (outside - 1), 0)))
    around = np.linspace(0, 2 * np.pi, DISK_LINES, endpoint=False)
    flat = distance[:, None, None] * np.stack([np.cos(around), np.sin(around)], axis=1)

    method = plane_method(z_min=1e-3)
    net = exact_network(jnp.asarray(disk[:, None, None]))
    x = method.prior_sample(sample_keys(jax.random.key(0), 400))
    heights = np.geomspace(method.z_max, method.z_min, 80)
    lines = follow(method, net, x, heights)[::-1, :, 0, 0]
    ends = lines[0]
    plots.with_and_without_z(
        folder / "collapse.png", flat, lines[:, :DISK_LINES], heights[::-1], disk, ends, DISK_RADIUS
    )
    # In the uniform disk squared distances from the centre are uniform.
    test = stats.kstest((ends**2).sum(1), stats.uniform.cdf)
    print(f"collapse: without z all {DISK_LINES} trajectories end within {distance[-1]:.0e} of the centre")
    print(
        f"collapse: with z {len(ends)} ends have KS distance {test.statistic:.3f} from uniform (p = {test.pvalue:.2f})"
    )


def exact_digits() -> tuple[Method, Network, Callable]:
    """PFGM of the training digits with their exact field, and the map from network units to [0, 1]."""
    dataset = datasets.load_dataset("digits")
    scaling = datasets.Scaling(levels=dataset.levels)
    charges = scaling.to_network(dataset.train[:])
    numbers = hyper_parameters(mean_norm(scaling, dataset.train), dataset.train[:1].size)
    method = Poisson(shape=dataset.shape, z_max=numbers.z_max, upper_norm=numbers.upper_norm, z_exp=0.0)
    return method, exact_network(charges), lambda x: (x + 1) / 2


def trained(workdir: Path) -> tuple[Method, Network, Callable]:
    """Method and network of a run, and the map from network units to [0, 1]."""
    model = pfgm_jax.load(str(workdir))
    low, high = model.scaling.low, model.scaling.high
    return model.method, model.net, lambda x: (x - low) / (high - low)


def trajectories(folder: Path, workdir: Path | None) -> None:
    """Images on their way from the prior."""
    method, net, to_share = trained(workdir) if workdir else exact_digits()
    heights = np.geomspace(np.exp(method.t_prior), np.exp(method.t_data), MOMENTS)
    states = follow(method, net, method.prior_sample(sample_keys(jax.random.key(1), 16)), heights)
    norms = np.linalg.norm(states.reshape(*states.shape[:2], -1), axis=2)
    # Far from the data only directions can be shown: points longer than the images are brought to their length.
    shown = states * np.minimum(1.0, norms[-1] / norms)[..., None, None, None]
    pixels = np.round(255 * np.clip(to_share(shown), 0, 1)).astype(np.uint8)
    plots.trajectory_gif(folder / "trajectories.gif", pixels)
    # Below a height of 0.05 or so nothing can be seen to happen.
    columns = np.append(np.linspace(0, 0.6 * MOMENTS, COLUMNS - 1).round().astype(int), MOMENTS - 1)
    plots.trajectory_grid(folder / "trajectories.png", pixels[columns, :ROWS], heights[columns])
    print(
        f"trajectories: norms from {norms[0].mean():.0f} at z = {heights[0]:.3g} to {norms[-1].mean():.2f} at the end"
    )


def main():
    """Makes the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("docs"))
    names = ("arrows", "rise", "collapse", "trajectories")
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--workdir", type=Path)
    arguments = parser.parse_args()
    command_line.set_up_logging()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    makers = {"arrows": arrows, "rise": rise, "collapse": collapse}
    makers["trajectories"] = lambda folder: trajectories(folder, arguments.workdir)
    for name in arguments.only:
        start = time.perf_counter()
        makers[name](arguments.folder)
        print(f"{name}: {time.perf_counter() - start:.0f} seconds")


if __name__ == "__main__":
    main()
