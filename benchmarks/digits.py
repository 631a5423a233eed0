"""A trained digits model: the Fréchet distance of its samples to the training digits, and where it encodes test digits.

    python -m benchmarks.digits --workdir runs/digits_mlp [--solver rk45] [--steps 12] [--sets 5]

Prints the distance of 1,000 training digits, then of several sets of 1,000 samples, and the mean of these. Black is
0 and white 1. Neither side is rounded to grey levels: the training digits are dequantized, as the network sees them.
Then it encodes the test digits, and prints the Kolmogorov-Smirnov distance of the latents' norms from the prior's law:
|x|^2 / z_max^2 is beta prime with parameters N/2 and 1/2.
"""

import argparse
from pathlib import Path

import jax
import numpy as np
import scipy.stats

import run_lib
from configs import default
from pfgm_jax import build, datasets, latents
from pfgm_jax import config as config_lib
from pfgm_jax.metrics import frechet_distance
from pfgm_jax.pretrained import Pretrained, load_params

SAMPLES = 1000


def pixel_distance(x: np.ndarray, scaling: datasets.Scaling) -> float:
    """The distance of samples [n, 8, 8, 1] in network units to the training digits."""
    train = datasets.load_dataset("digits").train[:]
    data = scaling.augment(jax.random.key(0), train, np.arange(len(train), dtype=np.int32))
    flat = lambda images: (np.asarray(images, np.float64).reshape(len(images), -1) + 1) / 2
    return frechet_distance(flat(x), flat(data))


def norms_of_latents(model: Pretrained, x: jax.Array) -> np.ndarray:
    """Norms [n] of the latents of images [n, 8, 8, 1] in network units."""
    encode = jax.jit(lambda x: latents.encode(model.method, model.network(model.params), x, model.solver))
    return np.linalg.norm(np.asarray(encode(x).check().x).reshape(len(x), -1), axis=1)


def main():
    """Draws and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--solver", default="rk45")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--sets", type=int, default=5)
    arguments = parser.parse_args()
    config = config_lib.read(arguments.workdir, default.get_config())
    config.sampling.ode_solver, config.sampling.N = arguments.solver, arguments.steps
    config.sampling.batch_size = SAMPLES
    model = Pretrained(config, *load_params(arguments.workdir))
    step = model.step
    x, evaluations = run_lib.draw(model, SAMPLES * arguments.sets)
    scaling = build.create_scaling(config)
    distances = [pixel_distance(part, scaling) for part in np.array_split(x, arguments.sets)]
    print(f"step {step}, {arguments.solver}, {evaluations.mean():.1f} evaluations (at most {evaluations.max()})")
    train = datasets.load_dataset("digits").train[:]
    again = train[np.random.default_rng(0).integers(0, len(train), SAMPLES)]
    again = scaling.augment(jax.random.key(1), again, np.arange(SAMPLES, dtype=np.int32))
    print(f"fd of {SAMPLES} training digits drawn with replacement: {pixel_distance(np.asarray(again), scaling):.4f}")
    print("fd: " + " ".join(f"{d:.4f}" for d in distances) + f", mean {np.mean(distances):.4f}")
    test = datasets.load_dataset("digits").test[:]
    test = scaling.augment(jax.random.key(2), test, np.arange(len(test), dtype=np.int32))
    encoded = norms_of_latents(model, test)
    prior = scipy.stats.betaprime(np.prod(model.shape) / 2, 0.5)
    ks = scipy.stats.kstest((encoded / config.sampling.z_max) ** 2, prior.cdf)
    print(f"norms of {len(encoded)} encoded test digits: KS distance from the prior {ks.statistic:.3f}")


if __name__ == "__main__":
    main()
