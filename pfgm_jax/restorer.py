"""What restores: the method, network and sampler of a config around what was measured of images, compiled."""

import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jaxtyping import Bool, Float, Num, PyTree

from pfgm_jax import build, config_files
from pfgm_jax import config as config_lib
from pfgm_jax.arguments import to_array
from pfgm_jax.context import Context
from pfgm_jax.errors import InputError, named_by, shown
from pfgm_jax.generator import Generator
from pfgm_jax.registry import OPERATORS, RULES
from pfgm_jax.restoration import measured, restored
from pfgm_jax.restoration.measured import MOST_IMAGES
from pfgm_jax.restoration.operators import Function, Operator
from pfgm_jax.restoration.operators.inpaint import Inpaint
from pfgm_jax.restoration.rules import Rule

# Of an image. Answer j of image i is sample number i + j * MOST_IMAGES, so that it depends on i, j and the seed alone.
MOST_ANSWERS = 2**11
# Standard deviation of what is rounded to integers.
ROUNDING = 12**-0.5
# Fields of `config.restore` that say what the mode restores.
OF_THE_MODE = {"images", "num_images", "whole", "samples"}


class Answers(NamedTuple):
    """Restored images: one answer for each of n images.

    Attributes:
      x: in network units.
      evaluations: of the network, for each.
      misfit: root mean square of A x - y of each, in units of the data.
    """

    x: Float[np.ndarray, "n H W C"]
    evaluations: Num[np.ndarray, " n"]
    misfit: Float[np.ndarray, " n"]


def create_operator(config: ml_collections.ConfigDict) -> Operator:
    """Creates the operator of a config whose fields are filled in.

    Raises:
      InputError: there is no such operator, or it does not suit the images.
    """
    kind = OPERATORS[config.restore.operator]
    if kind.of_images and build.holds_vectors(config):
        able = [name for name in OPERATORS if not OPERATORS[name].of_images]
        raise InputError(
            f"restore.operator is {config.restore.operator!r}, but the data are vectors; choose "
            f"{' or '.join(able)}, or give the library a linear function"
        )
    with named_by({"operator": "restore.operator"}):
        return build.from_config(kind, config, shape=build.image_shape(config))


def create_rule(config: ml_collections.ConfigDict) -> Rule:
    """Creates the rule of a config.

    Raises:
      InputError: there is no such rule, or a field is out of range.
    """
    return build.from_config(RULES[config.restore.rule], config)


def create_restorer(
    config: ml_collections.ConfigDict, operator: Any, sampler: str | None, rounded: bool, options: dict[str, Any]
) -> "Restorer":
    """Creates what restores with some options that differ from a config's.

    Args:
      config: whose fields are filled in.
      operator: its name, an operator, or a linear function; None for the config's.
      sampler: its name; None for the config's.
      rounded: see `Restorer`.
      options: fields of `restore`.

    Raises:
      InputError: an option is wrong, or does not suit the model.
    """
    config = config.copy_and_resolve_references()
    if isinstance(operator, str):
        options, operator = {**options, "operator": operator}, None
    config_files.override(config, {f"restore.{name}": value for name, value in options.items()})
    if unused := options.keys() & OF_THE_MODE:
        raise InputError(f"{min(unused)} is an option of --mode restore alone; leave it out")
    if sampler is not None:
        build.choose_sampler(config, sampler)
    config_lib.validate(config)
    if operator is not None and not isinstance(operator, Operator):
        if not callable(operator):
            raise InputError(f"operator is {shown(operator)}; choose one of {', '.join(OPERATORS)}, or give a function")
        function: Any = operator
        operator = Function(build.image_shape(config), function)
    return Restorer(config, operator, rounded)


class Restorer:
    """Restores images, `sampling.batch_size` at a time, on all devices.

    What was measured of images is in units of the data, as they are.

    Attributes:
      operator: of what was measured.
      generator: of the restoring method.
    """

    def __init__(self, config: ml_collections.ConfigDict, operator: Operator | None = None, rounded: bool = False):
        """Creates what a config says.

        Args:
          config: whose fields are filled in.
          operator: in place of the config's.
          rounded: whether what was measured was rounded to integers, which is noise unless it is a part of the images.

        Raises:
          InputError: operator, rule, noise or start do not suit the model.
        """
        config = config.copy_and_resolve_references()
        build.forget_levels(config)  # which were chosen for another ODE
        self.operator = operator or create_operator(config)
        self._zero, self._unit = build.create_scaling(config).units
        self._check_operator(config)
        # That of rounding comes to that of the measurement.
        self.noise = math.hypot(config.restore.noise, ROUNDING if rounded and not self.operator.keeps_values else 0)
        method = build.create_guided_method(config)
        of_channels = tuple((self.noise / self._unit).tolist())
        with named_by({"start": "restore.start"}):
            made = restored(method, self.operator, create_rule(config), of_channels, config.restore.start)
        sampler = build.create_sampler(config)
        with named_by(sampler.fields):
            sampler.check_levels(made.t_prior, made.t_data)
        self.generator = Generator(config, made)

    def _check_operator(self, config: ml_collections.ConfigDict) -> None:
        """Checks that the operator is of the model's images, and of their units."""
        if self.operator.shape != build.image_shape(config):
            raise InputError(
                f"operator is of images of {self.operator.shape}, but the model's are {build.image_shape(config)}; "
                "give one of that shape"
            )
        if self.operator.mixes_channels:
            if np.ptp(self._unit):
                raise InputError(
                    f"operator is {type(self.operator).__name__}, which makes one value of several channels, but those "
                    "of the data have scales of their own; give data.scale as one number in training"
                )
            self._unit = self._unit[:1]

    # Units

    def to_network(self, y: Num[np.ndarray, "n *measured"], mask: Bool[np.ndarray, "n H W 1"] | None) -> np.ndarray:
        """Converts what was measured from units of the data to network units; what is missing becomes 0."""
        y = (np.asarray(y, np.float32) - self._of_zero(mask)) / self._unit
        return y if mask is None else np.where(mask, y, 0).astype(np.float32)

    def to_data(self, y: Float[np.ndarray, "n *measured"], mask: Bool[np.ndarray, "n H W 1"] | None) -> np.ndarray:
        """Converts what was measured to units of the data; the inverse of `to_network`."""
        y = y * self._unit + self._of_zero(mask)
        return y if mask is None else np.where(mask, y, 0).astype(np.float32)

    def _of_zero(self, mask: Bool[np.ndarray, "n H W 1"] | None) -> np.ndarray:
        """Computes what would be measured of images that are 0 in network units."""
        zero = jnp.broadcast_to(jnp.asarray(self._zero), (1, *self.operator.shape))
        if mask is not None:
            return np.asarray(zero)
        return np.asarray(self.operator.apply(zero))

    def check(
        self, y: Any, mask: Any, what: str = "the damaged images"
    ) -> tuple[Num[np.ndarray, "n *measured"], Bool[np.ndarray, "n H W 1"] | None]:
        """Returns what was measured of images, and their masks, as arrays; see `restoration.measured.check`."""
        return measured.check(self.operator, self.generator.scaling, to_array(what, y), mask, what)

    # Damage

    def masks(self, seed: int, first: int, n: int) -> Bool[np.ndarray, "n H W 1"] | None:
        """Returns the masks of images number `first` to `first + n`; None if the operator has none."""
        return self.operator.draw_masks(seed, first, n) if isinstance(self.operator, Inpaint) else None

    def damage(
        self, x: Float[np.ndarray, "n H W C"], mask: Bool[np.ndarray, "n H W 1"] | None, seed: int, first: int
    ) -> Float[np.ndarray, "n *measured"]:
        """Computes what would be measured of images, with noise.

        Args:
          x: whole images, in network units.
          mask: of each, or None.
          seed: with the number of an image, decides its noise.
          first: number of the first.
        """
        y = np.asarray(self._apply(jnp.asarray(x), mask))
        draw = lambda k: np.random.default_rng([seed, k, 2]).normal(size=y.shape[1:]).astype(np.float32)
        noise = np.stack([draw(k) for k in range(first, first + len(y))])
        return self.to_data(y + self.noise / self._unit * noise, mask).astype(np.float32)

    def _apply(self, x: Any, mask: Any) -> Any:
        return self.operator.of(Context(mask=mask)).apply(x)

    def pictures(
        self, y: Float[np.ndarray, "n *measured"], mask: Bool[np.ndarray, "n H W 1"] | None
    ) -> Float[np.ndarray, "n H W C"]:
        """Returns images, in network units, that show what was measured."""
        operator = self.operator.of(Context(mask=mask))
        return np.asarray(operator.picture(jnp.asarray(self.to_network(y, mask), jnp.float32)))

    # Answers

    def restore(
        self,
        params: PyTree,
        y: Num[np.ndarray, "n *measured"],
        mask: Bool[np.ndarray, "n H W 1"] | None,
        context: Context,
        *,
        seed: int = 0,
        first: int = 0,
        answer: int = 0,
    ) -> Iterator[tuple[int, Answers]]:
        """Restores images in batches, each with the number of its first image.

        Args:
          params: of the network.
          y: what was measured of images, in units of the data.
          mask: where each is known, or None.
          context: what else is given of each.
          seed: with the numbers of image and answer, decides an answer.
          first: number of the first image.
          answer: number of the answer.

        Raises:
          SolveError: the ODE could not be solved.
        """
        known = self.to_network(y, mask).astype(np.float32)
        context = context._replace(known=known, mask=mask)
        start = first + answer * MOST_IMAGES
        done = 0
        for found in self.generator.draw(params, len(y), seed, start, context):
            rows = slice(done, done + len(found.x))
            found.check(first + done)
            x = np.asarray(found.x)
            of = None if mask is None else mask[rows]
            away = (np.asarray(self._measured(jnp.asarray(x), of)) - known[rows]) * self._unit
            squares = (away.astype(np.float64) ** 2).reshape(len(x), -1).sum(axis=1)
            values = np.broadcast_to(True if of is None else of, away.shape).reshape(len(x), -1).sum(axis=1)
            yield done, Answers(x, np.asarray(found.evaluations), np.sqrt(squares / np.maximum(values, 1)))
            done += len(x)

    @functools.cached_property
    def _measured(self) -> Any:
        return jax.jit(self._apply)
