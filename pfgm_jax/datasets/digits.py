"""scikit-learn's handwritten digits."""

import numpy as np

from pfgm_jax.datasets.source import Request
from pfgm_jax.datasets.split import Dataset, Split


def load(request: Request) -> Dataset:
    """Loads 1,797 grey images of 8 x 8 pixels and 17 levels; 360 of them are the test split."""
    del request
    import sklearn.datasets  # takes seconds, and most data sets do not need it

    vectors, labels = sklearn.datasets.load_digits(return_X_y=True)
    images = np.asarray(vectors, np.uint8).reshape(-1, 8, 8, 1)
    order = np.random.RandomState(0).permutation(len(images))
    train, test = (Split(images[part], np.asarray(labels)[part]) for part in (order[:1437], order[1437:]))
    return Dataset(train, test, levels=17)
