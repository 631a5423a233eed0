"""Whose field is the target: of the own example, of the batch, or of the whole data set; over all devices."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pfgm_jax import field as field_lib
from pfgm_jax import sharding
from pfgm_jax.context import Context
from pfgm_jax.datasets import augmentation
from pfgm_jax.datasets.pipeline import Batch
from pfgm_jax.datasets.scaling import Scaling
from pfgm_jax.field import PartialMean
from pfgm_jax.methods.base import Field, flatten
from pfgm_jax.sharding import ROWS, WHOLE, Devices, SharedRows

# `Scaling.augment` uses smaller numbers.
_TRANSFORMATION = 2


class Charges(NamedTuple):
    """How the charges of a training step are found.

    Attributes:
      reference: 'example', 'batch' or 'dataset', as `training.field_reference`. 'example' leaves the target to the
        method, which then needs no others; 'batch' is all examples of the batch; 'dataset' all of the data set.
      small_batch_size: how many of a batch's examples, the first of them, are perturbed.
      chunk_size: charges read at a time.
      scaling: of the data.
      devices: that share the work.
      dimensions: D of the kernel, see `field.posterior_mean`.
      augmentation: probability of each geometric transformation of the own examples; see `datasets.augmentation`.
    """

    reference: str
    small_batch_size: int
    chunk_size: int
    scaling: Scaling
    devices: Devices
    dimensions: float = 1
    augmentation: float = 0.0

    def rows_needed(self, batch_size: int) -> int:
        """Returns how many examples of a batch a step needs: the rest of it need not be read."""
        return batch_size if self.reference == "batch" else self.small_batch_size

    def of_dataset(self, split) -> SharedRows | None:
        """Shares out the examples of a data set if they are the charges."""
        return self.devices.share_out(split) if self.reference == "dataset" else None

    def examples_and_field(
        self, key: jax.Array, batch: Batch, dataset: SharedRows | None
    ) -> tuple[Float[Array, "b H W C"], Context, Field | None]:
        """Prepares the examples of a step that are to be perturbed, shared out by rows, and the field of its charges.

        Args:
          key: the step's, for augmentation.
          batch: stored examples.
          dataset: see `of_dataset`.

        Returns:
          The examples in network units; what is given of each; the field, None where the method needs none.
        """
        scaling, devices = self.scaling, self.devices
        if self.reference == "batch":
            # As charges, examples are needed by all; they are gathered as they are stored, in a quarter of the bytes.
            data = devices.replicate(scaling.augment(key, devices.gather(batch.stored), batch.index))
            field = batch_field(flatten(data), self.chunk_size, devices, self.dimensions)
            first = lambda rows: devices.split(devices.replicate(rows[: self.small_batch_size]))
            label = None if batch.label is None else first(devices.gather(batch.label))
            return first(data), Context(label=label), field
        index = devices.split(batch.index)
        data = scaling.augment(key, batch.stored, index)
        context = Context(label=None if batch.label is None else jnp.asarray(batch.label))
        if self.augmentation:
            keys = jax.vmap(jax.random.fold_in, (None, 0))(key, index)
            by = augmentation.draw(jax.vmap(lambda k: jax.random.fold_in(k, _TRANSFORMATION))(keys), self.augmentation)
            data, context = augmentation.transformed(data, by), context._replace(augmentation=by.numbers)
        options = self.chunk_size, devices, self.dimensions
        field = None if dataset is None else dataset_field(scaling, key, dataset, *options)
        return data, context, field


def batch_field(charges: Float[Array, "R N"], chunk_size: int, devices: Devices, dimensions: float) -> Field:
    """Returns a function that computes the mean of a batch as seen from points; each device does so for its own points.

    Memory of a device: 4·R·N bytes of charges, and for its b points 8·b·chunk_size of distances and weights.

    Args:
      charges: whole on each device.
      chunk_size: how many are read at a time.
      devices: that share the work.
      dimensions: D of the kernel.
    """
    at_own_points = functools.partial(field_lib.mean_of_charges, D=dimensions, chunk_size=chunk_size)
    shared = devices.on_each(at_own_points, (ROWS, ROWS, WHOLE), ROWS)
    return lambda x, sigma: shared(x, sigma, charges)


def dataset_field(
    scaling: Scaling, key: jax.Array, charges: SharedRows, chunk_size: int, devices: Devices, dimensions: float
) -> Field:
    """Returns a function that computes the mean of a whole data set, augmented as the batches of a step are.

    Each device computes, at all points, what its own share of the charges makes there; they then exchange these parts.
    Memory of a device: R·N/D bytes of charges as they are stored, 4·chunk_size·N of those read, and for all b points
    8·b·(chunk_size + N).

    Args:
      scaling: of the data.
      key: the step's, from which the batch was augmented too, so that its points are among the charges.
      charges: all stored examples.
      chunk_size: how many are augmented and read at a time.
      devices: that share the work.
      dimensions: D of the kernel.
    """

    def part(x, sigma, own_x, key, charges):
        def decode(stored, row):
            return flatten(scaling.augment(key, stored, charges.index[row]))

        options = {"D": dimensions, "chunk_size": chunk_size, "decode": decode}
        of_own_charges = field_lib.partial_mean(x, sigma, charges.rows, count=charges.count[0], **options)
        if devices.count == 1:
            return field_lib.total_mean(x, of_own_charges)
        parts = [_unpack(p) for p in sharding.exchange(_pack(of_own_charges))]
        merge = functools.partial(field_lib.merge_means, x=own_x, D=dimensions)
        return field_lib.total_mean(own_x, functools.reduce(merge, parts))

    shared: Callable = devices.on_each(part, (WHOLE, WHOLE, ROWS, WHOLE, ROWS), ROWS)
    return lambda x, sigma: shared(x, sigma, x, key, charges)


def _pack(partial: PartialMean) -> Float[Array, "b 2N+3"]:
    scalars = jnp.stack([partial.order, partial.spread, partial.weight], axis=1)
    return jnp.concatenate([partial.nearest, partial.moment, scalars], axis=1)


def _unpack(packed: Float[Array, "b 2N+3"]) -> PartialMean:
    nearest, moment = jnp.split(packed[:, :-3], 2, axis=1)
    return PartialMean(nearest, packed[:, -3], packed[:, -2], packed[:, -1], moment)
