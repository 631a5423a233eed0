"""The Inception score."""

import numpy as np
from jaxtyping import Num

from pfgm_jax.errors import InputError
from pfgm_jax.metrics.features import Features
from pfgm_jax.metrics.metric import MetricOptions
from pfgm_jax.metrics.statistics import Statistics


def inception_score(logits: Num[np.ndarray, "n c"], splits: int = 10, seed: int = 2020) -> tuple[float, float]:
    """Computes exp E_x KL(p(y|x) | p(y)) in float64 (Salimans et al. 2016, section 4) over splits of a set.

    Args:
      logits: logits of the classes, one row per example; `unbiased_logits` for results comparable to other programs'.
      splits: number of splits; consecutive examples, after a shuffle that is the same as torch-fidelity's.
      seed: seed of the shuffle.

    Returns:
      Mean and standard deviation over splits.

    Raises:
      InputError: there are fewer examples than splits.
    """
    count = len(logits)
    if not 1 <= splits <= count:
        raise InputError(f"the Inception score of {count} examples cannot be computed over {splits} splits; give fewer")
    from scipy.special import log_softmax, logsumexp  # takes half a second, and training does not need it

    log_p = log_softmax(logits[np.random.RandomState(seed).permutation(count)].astype(np.float64), axis=1)
    scores = []
    for part in (log_p[i * count // splits : (i + 1) * count // splits] for i in range(splits)):
        log_mean = logsumexp(part, axis=0) - np.log(len(part))
        scores.append(np.exp((np.exp(part) * (part - log_mean)).sum(axis=1).mean()))
    return float(np.mean(scores)), float(np.std(scores))


def score(samples: Features, reference: Statistics, options: MetricOptions) -> dict[str, float]:
    """Computes `inception_score` and its standard deviation over splits `inception_score_std`; a `Metric`."""
    del reference
    logits = samples.unbiased_logits
    if logits is None:
        return {}
    mean, std = inception_score(logits, min(options.splits, len(logits)), options.seed)
    return {"inception_score": mean, "inception_score_std": std}
