"""The sliced Wasserstein distance of vectors."""

import numpy as np
from jaxtyping import Float
from scipy import stats

DIRECTIONS, REPETITIONS = 100, 5


def sliced_wasserstein(
    a: Float[np.ndarray, "n N"], b: Float[np.ndarray, "m N"], directions: Float[np.ndarray, "N k"]
) -> float:
    """Computes the mean over directions of the 1-Wasserstein distance between projections (Bonneel et al. 2015).

    Args:
      a, b: two sets of vectors.
      directions: unit vectors.
    """
    pairs = zip((a @ directions).T, (b @ directions).T, strict=True)
    return float(np.mean([stats.wasserstein_distance(u, v) for u, v in pairs]))


def against_data(
    samples: Float[np.ndarray, "n N"], train: Float[np.ndarray, "m N"], test: Float[np.ndarray, "k N"], seed: int = 0
) -> dict[str, float]:
    """Compares the distance of samples from held-out data with that of training data; a `VectorMetric`.

    Sets of finite size have a distance also where they are of one distribution. All of these have the size of the
    smallest of the three, and distances are means over five sets.

    Returns:
      `sliced_wasserstein` of samples from held-out data; `sliced_wasserstein_of_data` of training data from these; and
      `sliced_wasserstein_ratio`, which is about 1 for samples that cannot be told from data.
    """
    rng = np.random.default_rng(seed)
    directions = rng.normal(size=(samples.shape[1], DIRECTIONS))
    directions /= np.linalg.norm(directions, axis=0)
    size = min(len(samples), len(train), len(test))
    some = lambda rows: rows[rng.choice(len(rows), size, replace=False)]
    distance = lambda rows: np.mean(
        [sliced_wasserstein(some(rows), some(test), directions) for _ in range(REPETITIONS)]
    )
    own, of_data = float(distance(samples)), float(distance(train))
    return {
        "sliced_wasserstein": own,
        "sliced_wasserstein_of_data": of_data,
        "sliced_wasserstein_ratio": own / of_data if of_data else float("inf"),
    }
