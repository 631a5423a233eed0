"""The interface of networks for the rest of the code."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import flax.linen as nn

from pfgm_jax.ranges import Range


class Network(nn.Module):
    """A network; its attributes are fields of `config.model`.

    It creates the same parameters whatever its context holds: they are drawn without one.
    """

    # Attributes that may change when a run resumes, because they affect neither the parameters nor their meaning.
    adjustable: ClassVar[tuple[str, ...]] = ()
    # Attributes that are not fields of the config, but follow from it or are flax's.
    derived: ClassVar[tuple[str, ...]] = (
        "name",
        "parent",
        "out_channels",
        "centered",
        "dtype",
        "sigmas",
        "largest_label",
        "unit_points",
        "told_of_augmentation",
        "condition_channels",
    )
    # Ranges of attributes that this network alone has.
    ranges: ClassVar[Mapping[str, Range]] = {}
    # Whether the network accepts vectors [B, 1, 1, N].
    takes_vectors: ClassVar[bool] = False

    @classmethod
    def takes_augmentation(cls, model: Any) -> bool:
        """Says whether the network of a `config.model` can be shown how images were transformed."""
        del model
        return False

    @classmethod
    def takes_labels(cls, model: Any) -> bool:
        """Says whether the network of a `config.model` can be shown labels."""
        del model
        return "num_classes" in cls.attributes()

    @classmethod
    def takes_conditions(cls) -> bool:
        """Says whether the network can be shown images that condition its answer."""
        return any(field.name == "condition_channels" for field in dataclasses.fields(cls))

    @classmethod
    def attributes(cls) -> list[str]:
        """Lists the attributes that are fields of `config.model`, rather than derived from other fields."""
        return [field.name for field in dataclasses.fields(cls) if field.name not in cls.derived]

    @property
    def expects_labels(self) -> bool:
        """Whether `level` is the index of a noise level, if the network divides by noise levels."""
        return False

    def check_images(self, height: int, width: int) -> None:
        """Checks that the network, with its attributes, accepts images of this size.

        Raises:
          FieldError: it does not.
        """
