"""scikit-learn's handwritten digits."""

import importlib.util
from pathlib import Path

import numpy as np

from pfgm_jax.datasets.source import Request
from pfgm_jax.datasets.split import Dataset, Split


def load(request: Request) -> Dataset:
    """Loads 1,797 grey images of 8 x 8 pixels and 17 levels; 360 of them are the test split."""
    del request
    # From the package's file, as importing scikit-learn takes seconds.
    package = importlib.util.find_spec("sklearn")
    assert package is not None and package.origin is not None
    rows = np.loadtxt(Path(package.origin).parent / "datasets/data/digits.csv.gz", np.uint8, delimiter=",")
    images, labels = rows[:, :64].reshape(-1, 8, 8, 1), rows[:, 64].astype(np.int64)
    order = np.random.RandomState(0).permutation(len(images))
    train, test = (Split(images[part], labels[part]) for part in (order[:1437], order[1437:]))
    return Dataset(train, test, levels=17)
