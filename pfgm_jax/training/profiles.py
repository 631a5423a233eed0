"""Averages of parameters whose length is chosen after training (Karras et al. 2024, arXiv:2312.02696, section 3).

A power-function average of the parameters θ(1) ... θ(t) has the weights of the profile

    p(τ) = (γ+1) τ^γ / t^(γ+1),        0 < τ <= t,

each integrated over its step. Its length is the standard deviation of the profile relative to t,
√(γ+1) / ((γ+2) √(γ+3)), so that it grows with the run. Each step updates it with the decay (1 - 1/t)^(γ+1). With two of
them in each of several checkpoints, an average of any other length is nearly a linear combination of these, with the
coefficients by which their profiles come nearest to its own.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PyTree

# Lengths of averages. The longest is nearly the plain mean over all steps, γ = 0, whose length is 1/√12.
SHORTEST, LONGEST = 0.001, 0.288


class Profile(NamedTuple):
    """The profile of an average: of the parameters of so many steps, with the exponent γ."""

    steps: int
    exponent: float


class ProfileState(NamedTuple):
    """The averages, and the number of steps that they are of."""

    count: Int[Array, ""]
    averages: tuple[PyTree, ...]


def exponent_of(length: float) -> float:
    """Computes γ of a relative length.

    Raises:
      ValueError: the length is not from `SHORTEST` to `LONGEST`.
    """
    if not SHORTEST <= length <= LONGEST:
        raise ValueError(f"the length is {length}; give a number from {SHORTEST} to {LONGEST}")
    # (γ+2)² (γ+3) length² = γ+1, whose largest root falls from infinity to 0 as the length grows.
    s = length**-2
    return float(np.roots([1.0, 7.0, 16.0 - s, 12.0 - s]).real.max())


def averaging(lengths: Sequence[float]) -> optax.GradientTransformation:
    """Creates the last part of an optimiser, which keeps averages of the parameters and changes no update.

    Args:
      lengths: of the averages, see `exponent_of`.
    """
    powers = [exponent_of(length) + 1 for length in lengths]

    def init(params: PyTree) -> ProfileState:
        return ProfileState(jnp.zeros((), jnp.int32), tuple(jax.tree.map(jnp.copy, params) for _ in powers))

    def update(updates: PyTree, state: Any, params: PyTree = None) -> tuple[PyTree, ProfileState]:
        count = state.count + 1
        new = optax.apply_updates(params, updates)

        def averaged(average: PyTree, power: float) -> PyTree:
            # 1 - (1 - 1/t)^(γ+1), all of the new parameters in the first step.
            share = -jnp.expm1(power * jnp.log1p(-1.0 / count.astype(jnp.float32)))
            return jax.tree.map(lambda a, p: a + share * (p - a), average, new)

        pairs = zip(state.averages, powers, strict=True)
        return updates, ProfileState(count, tuple(averaged(*pair) for pair in pairs))

    return optax.GradientTransformation(init, update)


def overlap(a: Profile, b: Profile) -> float:
    """Computes ∫ p_a p_b dτ."""
    first, second = sorted((a, b))
    product = (first.exponent + 1) * (second.exponent + 1) / (first.exponent + second.exponent + 1)
    return product * (first.steps / second.steps) ** second.exponent / second.steps


def coefficients(known: Sequence[Profile], wanted: Profile) -> tuple[Float[np.ndarray, " n"], float]:
    """Computes how much of each known average makes the one that is wanted, by least squares of the profiles.

    The coefficients add up to 1, as the weights of every average do, so that what is common to all parameters is kept.

    Returns:
      The coefficients, and how far the profile that they make is from the wanted one, relative to its size: the root of
      the integrals of squares.
    """
    scale = wanted.steps  # of numbers near 1
    gram = scale * np.array([[overlap(a, b) for b in known] for a in known])
    of_wanted = scale * np.array([overlap(a, wanted) for a in known])
    ones = np.ones((len(known), 1))
    system = np.block([[gram, ones], [ones.T, np.zeros((1, 1))]])  # with the multiplier of the constraint
    # Profiles of one length in near steps are much alike: combinations that hardly matter are left out.
    found = np.linalg.lstsq(system, np.append(of_wanted, 1.0), rcond=1e-12)[0][:-1]
    of_itself = scale * overlap(wanted, wanted)
    off = (found @ gram @ found - 2 * found @ of_wanted + of_itself) / of_itself
    return found, math.sqrt(max(off, 0.0))
