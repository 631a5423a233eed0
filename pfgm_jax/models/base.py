"""What the rest of the code may ask of a network."""

import dataclasses
from typing import ClassVar

import flax.linen as nn


class Network(nn.Module):
    """A network; its attributes are fields of `config.model`."""

    # Attributes with which a run can go on when they change: they alter neither the parameters nor their meaning.
    adjustable: ClassVar[tuple[str, ...]] = ()
    # Whether it takes vectors [B, 1, 1, N].
    takes_vectors: ClassVar[bool] = False

    @classmethod
    def attributes(cls) -> list[str]:
        """Lists the attributes that are fields of `config.model`: those that nothing else decides."""
        derived = ("name", "parent", "out_channels", "centered", "dtype", "sigmas")
        return [field.name for field in dataclasses.fields(cls) if field.name not in derived]

    @property
    def expects_labels(self) -> bool:
        """Whether the level that it is shown counts the noise levels, where it divides by them."""
        return False

    def check_images(self, height: int, width: int) -> None:
        """Checks the size of images, and attributes against it.

        Raises:
          FieldError: it does not take them.
        """
