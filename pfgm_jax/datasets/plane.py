"""Synthetic data sets of points in the plane."""

from collections.abc import Callable

import numpy as np

from pfgm_jax.datasets.source import Request, Source
from pfgm_jax.datasets.split import Dataset, Split

# Sizes and seed of the sets; the seed is fixed, so the points never change.
PLANE_TRAIN, PLANE_TEST, PLANE_SEED = 20_000, 2_000, 0


def _heart(rng: np.random.Generator, n: int) -> np.ndarray:
    t = rng.uniform(0, 2 * np.pi, n)
    outline = np.stack(
        [16 * np.sin(t) ** 3, 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)], axis=1
    )
    return outline / 16 + rng.normal(0, 0.02, (n, 2))


def _two_moons(rng: np.random.Generator, n: int) -> np.ndarray:
    import sklearn.datasets

    return np.asarray(sklearn.datasets.make_moons(n, noise=0.05, random_state=int(rng.integers(2**31)))[0])


def _checkerboard(rng: np.random.Generator, n: int) -> np.ndarray:
    column, row = rng.integers(0, 4, n), rng.integers(0, 2, n)
    corner = np.stack([column, 2 * row + column % 2], axis=1)
    return (corner + rng.uniform(0, 1, (n, 2))) / 2 - 1


def _eight_gaussians(rng: np.random.Generator, n: int) -> np.ndarray:
    angle = rng.integers(0, 8, n) * np.pi / 4
    return np.stack([np.cos(angle), np.sin(angle)], axis=1) + rng.normal(0, 0.05, (n, 2))


def _source(draw: Callable[[np.random.Generator, int], np.ndarray]) -> Source:
    def load(request: Request) -> Dataset:
        del request
        points = draw(np.random.default_rng(PLANE_SEED), PLANE_TRAIN + PLANE_TEST).astype(np.float32)[:, None, None]
        return Dataset(Split(points[:PLANE_TRAIN]), Split(points[PLANE_TRAIN:]), levels=0)

    return load


heart = _source(_heart)
two_moons = _source(_two_moons)
checkerboard = _source(_checkerboard)
eight_gaussians = _source(_eight_gaussians)
