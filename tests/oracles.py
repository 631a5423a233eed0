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


def exact_mean(x, sigma, charges, D):
    """The mean of the charges with the weights (|x - y|² + σ²D)^(-(N+D)/2), less x, by a loop in float64."""
    x, sigma, charges = (np.asarray(a, np.float64) for a in (x, sigma, charges))
    rows = []
    for point, level in zip(x, sigma, strict=True):
        squared = ((charges - point) ** 2).sum(1)
        if np.isinf(D):
            logs = -(squared - squared.min()) / (2 * level**2)
        else:
            excess = (squared - squared.min()) / (squared.min() + D * level**2)
            logs = -(x.shape[1] + D) / 2 * np.log1p(excess)
        weights = np.exp(logs)
        rows.append(weights / weights.sum() @ (charges - point))
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
