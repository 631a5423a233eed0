"""Restoration: a method around a method, whose ODE leads to images of which something was measured.

By a rule, what was measured changes D, the mean of the data as seen from each point; velocities and scores follow from
it. So every method can restore, with every sampler that samples from it.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pfgm_jax.context import NO_CONTEXT, Context
from pfgm_jax.errors import FieldError
from pfgm_jax.methods.around import around, as_kind
from pfgm_jax.methods.base import Method, Network, Time, flatten, levels, per_row
from pfgm_jax.methods.denoising import SMALLEST_ALPHA
from pfgm_jax.methods.predictions import SIGMA_DATA
from pfgm_jax.restoration.operators.base import Images, Operator
from pfgm_jax.restoration.rules.base import Rule, Seen


def restored(
    method: Method, operator: Operator, rule: Rule, noise: Sequence[float] = (0.0,), start: float = 0.0
) -> Method:
    """Returns the method whose samples are restored images; it is of the method's own type.

    What was measured of each image is `known` in its context, and its mask, if it has one, `mask`.

    Args:
      method: of a trained network.
      operator: of what was measured.
      rule: by which it changes D.
      noise: standard deviation of the noise of what was measured, in network units; one, or one a channel.
      start: noise level where samples start, with the noise of that level about `operator.picture`; 0 for the rule's.

    Raises:
      FieldError: no sample can start there; the field is 'start'.
    """
    kind, low, high = type(method), method.t_data, method.t_prior
    begin = math.log(start) if start else low + rule.own_start * (high - low)
    if not low < begin <= high + 1e-6:
        cure = f"give a {method.level_name} above {math.exp(low):.4g} and at most {math.exp(high):.4g}, or 0"
        raise FieldError("start", start, cure)
    changed = _Changed(kind, operator, rule, np.array(noise, np.float32) ** 2)
    members: dict[str, Any] = {name: changed.function(name) for name in CHANGED if hasattr(kind, name)}
    # The measured part of what the ODE leads to has noise of the smallest level, unless it is denoised.
    members["denoises_samples"] = property(lambda self: True)
    if begin < high:
        members |= _started(kind, begin, operator)
    return around(method, "Restored", members)


def _started(kind: type[Method], begin: float, operator: Operator) -> dict[str, Any]:
    """Returns the members of a method around one of the type `kind` that starts at time `begin`."""

    def start(self, keys, context=NO_CONTEXT):
        """Draws images of what was measured, with noise."""
        return self.noisy(keys, operator.of(context).picture(jnp.asarray(context.known)), begin)

    def last_time(self):
        with jax.ensure_compile_time_eval():
            return float(self.time_of(jnp.exp(jnp.float32(begin))))

    of_path = {"last_time": property(last_time)} if hasattr(kind, "last_time") else {}
    return {"start": start, "t_prior": property(lambda self: begin), **of_path}


# What samplers ask a method for.
CHANGED = ("velocity", "denoise", "score", "score_of_noisy")


class _Changed:
    """What samplers ask a method for, changed by a rule."""

    def __init__(self, kind: type[Method], operator: Operator, rule: Rule, noise_variance: Float[np.ndarray, " c"]):
        self._kind, self._operator, self._rule, self._noise_variance = kind, operator, rule, noise_variance

    def function(self, name: str) -> Callable:
        """Returns the function of a name, as a member of a method around one of the type `kind`."""

        def found(
            method, net: Network, x: Float[Array, "b H W C"], t: Time, context: Context = NO_CONTEXT
        ) -> Float[Array, "b H W C"]:
            of = as_kind(method, self._kind)
            if name == "score_of_noisy":
                return self._score_of_noisy(of, net, x, t, context)
            answer, pull = jax.vjp(lambda x: getattr(of, name)(net, x, t, context), x)
            rho = levels(t, x)
            share, _ = of.coordinates(rho)
            share, squared = per_row(share, x), per_row(rho**2, x)
            if name == "denoise":
                return answer + self._change(of, answer, lambda g: pull(g)[0], x, rho, context)
            if name == "velocity":
                # D = x - v, and so for the derivatives.
                return answer - self._change(of, x - answer, lambda g: g - pull(g)[0], x, rho, context)
            # D = (x + ρ² s) / a.
            safe = jnp.maximum(share, SMALLEST_ALPHA)
            denoised = (x + squared * answer) / safe
            change = self._change(of, denoised, lambda g: (g + squared * pull(g)[0]) / safe, x, rho, context)
            return answer + share / squared * change

        found.__doc__ = f"Computes what `{self._kind.__name__}.{name}` does, given what was measured."
        return found

    def _score_of_noisy(
        self, of: Any, net: Network, x: Float[Array, "b H W C"], time: Time, context: Context
    ) -> Float[Array, "b H W C"]:
        """Changes the score of α x0 + σ ε, from which D = (x + σ² s) / α."""
        rho = of.rho_at(jnp.broadcast_to(time, x.shape[:1]))
        at = of.marginal(rho)
        alpha, squared = per_row(jnp.maximum(at.alpha, SMALLEST_ALPHA), x), per_row(at.sigma**2, x)
        score, pull = jax.vjp(lambda x: of.score_of_noisy(net, x, time, context), x)
        # States of the ODE are x, or x / α.
        inner = jnp.ones_like(alpha) if of.contraction else alpha
        to_data = lambda g: inner * (g + squared * pull(g)[0]) / alpha
        change = self._change(of, (x + squared * score) / alpha, to_data, x / inner, rho, context)
        return score + alpha / squared * change

    def _change(
        self,
        of: Method,
        denoised: Images,
        pull: Callable[[Images], Images],
        u: Images,
        rho: Float[Array, " b"],
        context: Context,
    ) -> Images:
        """Computes what the rule adds to D.

        Args:
          of: the method.
          denoised: D.
          pull: g -> Jᵀ g, J = ∂D / ∂u.
          u: states of the ODE.
          rho: their noise levels.
          context: has what was measured.
        """
        operator = self._operator.of(context)
        share, _ = of.coordinates(rho)
        # Where there is noise alone, as at the prior of flow matching, J is as small as a² / ρ².
        share = jnp.maximum(share, SMALLEST_ALPHA)
        variance = noise_variance(of, denoised, u / per_row(share, u), rho / share)
        of_data = variance * SIGMA_DATA**2 / (variance + SIGMA_DATA**2)
        residual = jnp.asarray(context.known) - operator.apply(denoised)
        noise = jnp.asarray(self._noise_variance).reshape(*[1] * (residual.ndim - 1), -1)
        share, variance, of_data = (per_row(number, u) for number in (share, variance, of_data))
        return self._rule.change(Seen(operator, residual, pull, share, variance, of_data, noise))


def noise_variance(method: Method, denoised: Images, x: Images, ratio: Float[Array, " b"]) -> Float[Array, " b"]:
    """Computes the variance of the noise that x = x0 + κ n seems to have: with it, D - x is that times the score.

    It is κ² for Gaussian noise, and (|x - D|² + D κ²) / (N + D) for noise of D additional dimensions, whose density
    falls off as (|x - x0|² + D κ²)^(-(N+D)/2), where |x - x0| is not far from its mean.
    """
    if math.isinf(method.kernel_dimensions):
        return ratio**2
    away = jnp.sum(flatten(x - denoised) ** 2, axis=1)
    return (away + method.kernel_dimensions * ratio**2) / (method.dim + method.kernel_dimensions)
