"""A trained digits model: the Fréchet distance of its samples to the training digits, and its latents of digits.

    python -m benchmarks.digits --workdir runs/digits_mlp [--solver rk45] [--steps 12] [--sets 5] [--z_min 0.01]

Prints the distance of 1,000 training digits, then of several sets of 1,000 samples, and the mean of these; then the
distance of one set to the test digits, and how much it repeats training digits (`metrics.held_out`). Black is 0 and
white 1. Neither side is rounded to grey levels: the training digits are dequantized, as the network sees them.
Then it encodes the test digits from the height `z_min`, and prints the Kolmogorov-Smirnov distance of the latents'
norms from the prior's law before it is clipped (|x|^2 / z_max^2 is beta prime with parameters N/2 and 1/2), and how far
from the digits the latents lead back, by the solver's tolerance.
"""

import argparse
from pathlib import Path

import jax
import numpy as np
import scipy.stats

import pfgm_jax
from pfgm_jax import datasets, latents
from pfgm_jax.metrics import copying, frechet_distance
from pfgm_jax.metrics.held_out import Copying
from pfgm_jax.progress import progress_bar
from pfgm_jax.samplers import create_sampler
from pfgm_jax.trained_model import TrainedModel

SAMPLES = 1000
TOLERANCES = (1e-2, 1e-3, 1e-4, 1e-5)


def draw(model: TrainedModel, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws n samples in network units, with a progress bar; returns them and the evaluations of each."""
    batches = []
    with progress_bar(n, "sample") as bar:
        for batch in model.draw(n, model.config.seed):
            batches.append(batch.check(bar.n))
            bar.update(len(batch.x))
    return np.concatenate([b.x for b in batches]), np.concatenate([b.evaluations for b in batches])


def _flat(x: np.ndarray) -> np.ndarray:
    """Images in network units as rows of pixels, black being 0 and white 1."""
    return (np.asarray(x, np.float64).reshape(len(x), -1) + 1) / 2


def _digits(split: str, scaling: datasets.Scaling) -> np.ndarray:
    """The digits of a split as the network sees them, as rows of pixels."""
    images = getattr(datasets.load_dataset("digits"), split)[:]
    index = np.arange(len(images), dtype=np.int32)
    return _flat(np.asarray(scaling.augment(jax.random.key(0), images, index)))


def pixel_distance(x: np.ndarray, scaling: datasets.Scaling, split: str = "train") -> float:
    """The distance of samples [n, 8, 8, 1] in network units to the digits of a split."""
    return frechet_distance(_flat(x), _digits(split, scaling))


def copying_of_digits(x: np.ndarray, scaling: datasets.Scaling) -> Copying:
    """How much nearer to training digits samples [n, 8, 8, 1] in network units are than test digits."""
    return copying(_flat(x), _digits("train", scaling), _digits("test", scaling))


def report_on_latents(model: TrainedModel) -> None:
    """Prints what is said above of latents."""
    net, dataset = model.net, datasets.load_dataset("digits")
    images = dataset.test[:]
    x = model.scaling.augment(jax.random.key(2), images, np.arange(len(images), dtype=np.int32))
    found = jax.jit(lambda x: latents.encode(model.method, net, x, model.solver))(x)
    squared = np.sum(np.square(np.asarray(found.x, np.float64)), axis=(1, 2, 3))[np.asarray(found.ok)]
    prior = scipy.stats.betaprime(np.prod(model.shape) / 2, 0.5, scale=model.config.sampling.z_max**2)
    limit = model.config.sampling.upper_norm**2
    print(
        f"norms of {len(squared)} of {len(x)} encoded test digits: KS distance from the prior "
        f"{scipy.stats.kstest(squared, prior.cdf).statistic:.3f}; {np.mean(squared > limit):.3f} beyond upper_norm, "
        f"of the prior {prior.sf(limit):.3f}"
    )
    print("there and back, by RK45: how far off the worst pixel of an image is, black being 0 and white 1")
    print("tolerance evaluations  median  of 9 in 10 below   at most  unsolved")
    for tolerance in TOLERANCES:
        solver = create_sampler("rk45", rtol=tolerance, atol=tolerance)
        there = jax.jit(lambda x: latents.encode(model.method, net, x, solver))(x)  # noqa: B023
        back = jax.jit(lambda z: latents.decode(model.method, net, z, solver))(there.x)  # noqa: B023
        evaluations = np.mean(there.evaluations + back.evaluations)
        error = np.max(np.abs(back.x - x), axis=(1, 2, 3)) / 2
        ok = np.asarray(there.ok & back.ok)
        at = np.quantile(error[ok], (0.5, 0.9, 1.0))
        print(f"{tolerance:9g} {evaluations:11.0f} {at[0]:7.1e} {at[1]:17.1e} {at[2]:9.1e} {np.sum(~ok):9}", flush=True)


def main():
    """Draws and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--solver", default="rk45")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--sets", type=int, default=5)
    parser.add_argument("--z_min", type=float, default=0.01)
    arguments = parser.parse_args()
    options = {"sampling.ode_solver": arguments.solver, "sampling.N": arguments.steps, "sampling.batch_size": SAMPLES}
    model = pfgm_jax.load(arguments.workdir, **options)
    step, scaling = model.step, model.scaling
    x, evaluations = draw(model, SAMPLES * arguments.sets)
    distances = [pixel_distance(part, scaling) for part in np.array_split(x, arguments.sets)]
    print(f"step {step}, {arguments.solver}, {evaluations.mean():.1f} evaluations (at most {evaluations.max()})")
    train = datasets.load_dataset("digits").train[:]
    again = train[np.random.default_rng(0).integers(0, len(train), SAMPLES)]
    again = scaling.augment(jax.random.key(1), again, np.arange(SAMPLES, dtype=np.int32))
    print(f"fd of {SAMPLES} training digits drawn with replacement: {pixel_distance(np.asarray(again), scaling):.4f}")
    print("fd: " + " ".join(f"{d:.4f}" for d in distances) + f", mean {np.mean(distances):.4f}")
    found, to_test = copying_of_digits(x[:SAMPLES], scaling), pixel_distance(x[:SAMPLES], scaling, "test")
    print(
        f"of the first: fd to the test digits {to_test:.4f}, memorized {found.memorized:.3f}, nearer {found.nearer:.3f}"
    )
    report_on_latents(pfgm_jax.load(arguments.workdir, **options, **{"sampling.z_min": arguments.z_min}))


if __name__ == "__main__":
    main()
