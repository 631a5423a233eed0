"""What knows the answer: slow float64 NumPy, written from the formulas."""

import numpy as np


def exact_field(x, z, charges):
    """E of design: the weighted mean of (y - x, -z), by a loop in float64."""
    x, z, charges = (np.asarray(a, np.float64) for a in (x, z, charges))
    dim = x.shape[1]
    rows = []
    for point, height in zip(x, z, strict=True):
        squared = ((charges - point) ** 2).sum(1) + height**2
        if squared.min() == 0:
            weights = (squared == 0).astype(float)
        else:
            weights = np.exp(-(dim + 1) / 2 * np.log(squared / squared.min()))
        rows.append(np.append(weights / weights.sum() @ (charges - point), -height))
    return np.array(rows)


def row_errors(result, exact):
    """Relative error of each row, in the Euclidean norm."""
    exact = np.asarray(exact)
    norm = np.linalg.norm(exact, axis=1)
    return np.linalg.norm(np.asarray(result) - exact, axis=1) / np.where(norm > 0, norm, 1.0)


def image_like_charges(rng, count, dim):
    """Charges that lie near a low-dimensional set, as images do, in [-1, 1] or so."""
    basis = rng.normal(size=(20, dim))
    return (np.tanh(0.5 * rng.normal(size=(count, 20)) @ basis) + 0.3 * rng.normal(size=(count, dim))).astype(
        np.float32
    )
