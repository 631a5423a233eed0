"""Samplers, which lead from the prior to the data by an ODE or with noise."""

import dataclasses
from typing import Any

from pfgm_jax.errors import FieldError
from pfgm_jax.registry import SAMPLERS
from pfgm_jax.samplers.base import OdeSolver, Sampler, Solution, Velocity, solve_ode, trajectory

__all__ = ["OdeSolver", "Sampler", "Solution", "Velocity", "create_sampler", "solve_ode", "trajectory"]


def create_sampler(name: str, **options: Any) -> Any:
    """Creates the sampler with a given name.

    Args:
      name: one of `registry.SAMPLERS`.
      **options: attributes of the sampler; see its class.

    Raises:
      InputError: there is no such sampler, it has no such attribute, or an attribute is out of range.
    """
    kind = SAMPLERS[name]
    known = [field.name for field in dataclasses.fields(kind)]
    for option in options:
        if option not in known:
            raise FieldError(option, options[option], f"{name} has only {', '.join(known) or 'no options'}")
    return kind(**options)
