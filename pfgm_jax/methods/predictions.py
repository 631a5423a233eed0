"""What a network may predict of noisy examples, and how one prediction, weighting or schedule becomes another.

A noisy example is x = α x0 + σ ε. Every prediction F is linear in the data x0 and the noise ε,

    F = p x0 + q ε,

with numbers p and q of the noise level. With x it makes two equations for x0 and ε, so that any prediction gives any
other. Diffusion models and flow matching are in this sense the same.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

# Standard deviation of the data that the prediction 'edm' is made for: images in [-1, 1], vectors as they are scaled.
SIGMA_DATA = 0.5
# γ of the weighting min_snr (Hang et al. 2023, arXiv:2303.09556).
LARGEST_SNR = 5.0

PREDICTIONS = ("noise", "score", "x0", "v", "flow", "edm")
WEIGHTINGS = ("simple", "x0", "snr", "min_snr", "flow", "edm")

Rows = Float[Array, "..."]


class Marginal(NamedTuple):
    """The numbers α and σ of noisy examples x = α x0 + σ ε."""

    alpha: Rows
    sigma: Rows


def coefficients(prediction: str, at: Marginal) -> tuple[Rows, Rows]:
    """Computes p and q of a prediction F = p x0 + q ε.

    - noise: ε (Ho et al. 2020). score: ∇ log p(x), -ε/σ (Song et al. 2021). x0: the data.
    - v: α ε - σ x0 (Salimans & Ho 2022, arXiv:2202.00512).
    - flow: ε - x0, the velocity of straight paths (Lipman et al. 2023, arXiv:2210.02747).
    - edm: what is left of the data after a skip connection, scaled to variance 1 (Karras et al. 2022, table 1).

    Args:
      prediction: one of `PREDICTIONS`.
      at: the noise levels.
    """
    alpha, sigma = at
    one, zero = jnp.ones_like(sigma), jnp.zeros_like(sigma)
    if prediction == "edm":
        total = _total(at)
        return sigma / (SIGMA_DATA * total), -SIGMA_DATA * alpha / total
    return {
        "noise": (zero, one),
        "score": (zero, -one / sigma),
        "x0": (one, zero),
        "v": (-sigma, alpha),
        "flow": (-one, one),
    }[prediction]


def _total(at: Marginal) -> Rows:
    """Computes the standard deviation of noisy data."""
    return jnp.sqrt(at.sigma**2 + (SIGMA_DATA * at.alpha) ** 2)


def input_scale(prediction: str, at: Marginal) -> Rows:
    """Computes what x is multiplied by before the network is shown it: 1, or with 'edm' what makes its variance 1."""
    return 1 / _total(at) if prediction == "edm" else jnp.ones_like(at.sigma)


def _determinant(prediction: str, at: Marginal) -> tuple[Rows, Rows, Rows]:
    p, q = coefficients(prediction, at)
    if prediction == "v":  # the two squares add up to it, without a difference
        return p, q, at.alpha**2 + at.sigma**2
    return p, q, at.alpha * q - at.sigma * p


def _rows(values: Rows, x: Float[Array, "b *shape"]) -> Float[Array, "b *ones"]:
    return values.reshape(-1, *[1] * (x.ndim - 1))


def to_data(
    prediction: str, F: Float[Array, "b *shape"], x: Float[Array, "b *shape"], at: Marginal
) -> Float[Array, "b *shape"]:
    """Computes the data x0 that a prediction F at x implies."""
    _, q, det = _determinant(prediction, at)
    return _rows(q / det, x) * x - _rows(at.sigma / det, x) * F


def to_noise(
    prediction: str, F: Float[Array, "b *shape"], x: Float[Array, "b *shape"], at: Marginal
) -> Float[Array, "b *shape"]:
    """Computes the noise ε that a prediction F at x implies."""
    p, _, det = _determinant(prediction, at)
    if prediction in ("noise", "score"):
        return _rows(1 / coefficients(prediction, at)[1], x) * F  # also where α is 0
    return _rows(at.alpha / det, x) * F - _rows(p / det, x) * x


def to_score(
    prediction: str, F: Float[Array, "b *shape"], x: Float[Array, "b *shape"], at: Marginal
) -> Float[Array, "b *shape"]:
    """Computes the score ∇ log p(x) that a prediction F at x implies."""
    return F if prediction == "score" else -to_noise(prediction, F, x, at) / _rows(at.sigma, x)


def answer(
    prediction: str, data: Float[Array, "b *shape"], noise: Float[Array, "b *shape"], at: Marginal
) -> Float[Array, "b *shape"]:
    """Computes the prediction F of known data and noise."""
    p, q = coefficients(prediction, at)
    return _rows(p, data) * data + _rows(q, data) * noise


def convert(
    F: Float[Array, "b *shape"], x: Float[Array, "b *shape"], at: Marginal, source: str, target: str
) -> Float[Array, "b *shape"]:
    """Converts what a network predicts at x into another prediction.

    Args:
      F: what it predicts.
      x: noisy examples, α x0 + σ ε.
      at: α and σ.
      source, target: of `PREDICTIONS`.
    """
    if source == target:
        return F
    if target == "score":
        return to_score(source, F, x, at)
    return answer(target, to_data(source, F, x, at), to_noise(source, F, x, at), at)


def weight(weighting: str, prediction: str, at: Marginal) -> Rows:
    """Computes the weight of the squared error of a prediction under which the loss is that of a weighting.

    - simple: squared error of the noise (Ho et al. 2020); it is SNR = α²/σ² times that of the data.
    - x0: squared error of the data.
    - snr: max(SNR, 1) times that (Salimans & Ho 2022, 'truncated SNR').
    - min_snr: min(SNR, 5) times that (Hang et al. 2023).
    - flow: squared error of ε - x0.
    - edm: squared error of what 'edm' predicts (Karras et al. 2022).

    Args:
      weighting: one of `WEIGHTINGS`.
      prediction: of the network.
      at: the noise levels.
    """
    _, _, det = _determinant(prediction, at)
    alpha, sigma = at
    # How fast the data and the noise change with the prediction.
    of_data = (sigma / det) ** 2
    of_noise = 1 / coefficients(prediction, at)[1] ** 2 if prediction in ("noise", "score") else (alpha / det) ** 2
    return {
        "simple": of_noise,
        "x0": of_data,
        "snr": jnp.maximum(of_data, of_noise),
        "min_snr": jnp.minimum(LARGEST_SNR * of_data, of_noise),
        "flow": ((alpha + sigma) / det) ** 2,
        "edm": (_total(at) / (SIGMA_DATA * sigma)) ** 2 * of_data,
    }[weighting]
