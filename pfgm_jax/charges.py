"""Whose field is the target: of the own example, of the batch, or of the whole data set; over all devices."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from pfgm_jax import field as field_lib
from pfgm_jax import partial_means, sharding
from pfgm_jax.context import Context, without_labels
from pfgm_jax.datasets import augmentation
from pfgm_jax.datasets.pipeline import Batch
from pfgm_jax.datasets.scaling import Scaling
from pfgm_jax.methods.base import Field, flatten
from pfgm_jax.partial_means import PartialMean
from pfgm_jax.sharding import ROWS, WHOLE, Devices, SharedRows

# `Scaling.augment` uses smaller numbers.
_TRANSFORMATION, _DROPPING = 2, 3


class Groups(NamedTuple):
    """A number of each point, and of each charge: a point counts the charges of its own number, or if negative all."""

    points: Int[Array, " b"]
    charges: Int[Array, " R"]


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
      condition_scaling: of the images that condition the network; None if it is shown none.
      label_dropout: share of the examples whose label the network is not shown.
      counted: which charges a point counts: 'all'; 'label', those of its example's label, or all where this is not
        shown; 'example', its own example alone, as no other has its condition.
    """

    reference: str
    small_batch_size: int
    chunk_size: int
    scaling: Scaling
    devices: Devices
    dimensions: float = 1
    augmentation: float = 0.0
    condition_scaling: Scaling | None = None
    label_dropout: float = 0.0
    counted: str = "all"

    def rows_needed(self, batch_size: int) -> int:
        """Returns how many examples of a batch a step needs: the rest of it need not be read."""
        of_all = self.reference == "batch" and self.counted != "example"
        return batch_size if of_all else self.small_batch_size

    def of_dataset(self, split) -> SharedRows | None:
        """Shares out the examples of a data set if they are the charges."""
        if self.reference != "dataset":
            return None
        return self.devices.share_out(split, split.groups if self.counted == "label" else None)

    def examples_and_field(
        self, key: jax.Array, batch: Batch, dataset: SharedRows | None
    ) -> tuple[Float[Array, "b H W C"], Context, Field | None]:
        """Prepares the examples of a step that are to be perturbed, shared out by rows, and the field of its charges.

        Args:
          key: the step's, for augmentation and for dropping labels.
          batch: stored examples.
          dataset: see `of_dataset`.

        Returns:
          The examples in network units; what is given of each; the field, None where the method needs none.
        """
        if self.reference == "batch":
            return self._of_batch(key, batch)
        index = self.devices.split(batch.index)
        data = self.scaling.augment(key, batch.stored, index)
        context, groups = self._given(key, batch, index)
        if self.augmentation:
            by = augmentation.draw(_keys(key, index, _TRANSFORMATION), self.augmentation)
            image = None if context.image is None else augmentation.transformed(jnp.asarray(context.image), by)
            data, context = augmentation.transformed(data, by), context._replace(augmentation=by.numbers, image=image)
        if dataset is None:
            return data, context, None
        options = self.chunk_size, self.devices, self.dimensions
        return data, context, dataset_field(self.scaling, key, dataset, *options, groups)

    def _of_batch(self, key: jax.Array, batch: Batch) -> tuple[Float[Array, "b H W C"], Context, Field]:
        devices = self.devices
        # As charges, examples are needed by all. They are mirrored where they are and gathered as they are stored, in a
        # quarter of the bytes; and as rows, since a TPU pads the last axes of images, of few channels, many times over.
        mirrored = self.scaling.flipped(key, jnp.asarray(batch.stored), devices.split(batch.index))
        gathered = devices.gather(flatten(devices.split(mirrored))).reshape(mirrored.shape)
        data = devices.replicate(self.scaling.dequantized(key, gathered, batch.index))
        first = lambda rows: devices.split(devices.replicate(rows[: self.small_batch_size]))
        shown = None if self.condition_scaling is None else batch.condition
        label, condition, group = devices.gather((batch.label, shown, batch.group if self.counted == "label" else None))
        index = first(batch.index)
        small = Batch(first(data), index, *jax.tree.map(first, (label, condition, group)))
        context, points = self._given(key, small, index)
        groups = None
        if points is not None:
            groups = Groups(points, jnp.asarray(batch.index if group is None else group))
        return first(data), context, batch_field(flatten(data), self.chunk_size, devices, self.dimensions, groups)

    def _given(self, key: jax.Array, batch: Batch, index: Int[Array, " b"]) -> tuple[Context, Int[Array, " b"] | None]:
        """Returns what the network is shown of each example, and the number of those whose charges count for it."""
        label, groups = batch.label, batch.group
        if label is not None and self.label_dropout:
            dropped = jax.vmap(lambda k: jax.random.bernoulli(k, self.label_dropout))(_keys(key, index, _DROPPING))
            label = without_labels(label, dropped)
            groups = None if groups is None else without_labels(groups, dropped)
        image = None
        if self.condition_scaling is not None and batch.condition is not None:
            image = self.scaling.flipped(key, self.condition_scaling.to_network(batch.condition), index)
        context = Context(label=None if label is None else jnp.asarray(label), image=image)
        if self.counted == "all":
            return context, None
        # Each on its own device: XLA would otherwise gather what they are made of.
        return context, self.devices.split(index if self.counted == "example" or groups is None else groups)


def _keys(key: jax.Array, index: Int[Array, " b"], purpose: int) -> jax.Array:
    """Derives the key of each example for one purpose."""
    return jax.vmap(lambda i: jax.random.fold_in(jax.random.fold_in(key, i), purpose))(index)


def batch_field(
    charges: Float[Array, "R N"], chunk_size: int, devices: Devices, dimensions: float, groups: Groups | None = None
) -> Field:
    """Returns a function that computes the mean of a batch as seen from points; each device does so for its own points.

    Memory of a device: 4·R·N bytes of charges, and for its b points 8·b·chunk_size of distances and weights.

    Args:
      charges: whole on each device.
      chunk_size: how many are read at a time.
      devices: that share the work.
      dimensions: D of the kernel.
      groups: of the points, and of the charges; None if all charges count.
    """

    def at_own_points(x, sigma, points, charges, of_charges):
        options = {"chunk_size": chunk_size, "labels": points, "charge_labels": of_charges}
        return field_lib.mean_of_charges(x, sigma, charges, D=dimensions, **options)

    shared = devices.on_each(at_own_points, (ROWS, ROWS, ROWS, WHOLE, WHOLE), ROWS)
    points, of_charges = groups or (None, None)
    return lambda x, sigma: shared(x, sigma, points, charges, of_charges)


def dataset_field(
    scaling: Scaling,
    key: jax.Array,
    charges: SharedRows,
    chunk_size: int,
    devices: Devices,
    dimensions: float,
    groups: Int[Array, " b"] | None = None,
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
      groups: of the points; charges of the same count, of `charges.group` or else of their index. None if all count.
    """

    def part(x, sigma, own_x, groups, key, charges):
        def decode(stored, row):
            return flatten(scaling.augment(key, stored, charges.index[row]))

        of_charges = charges.index if charges.group is None else charges.group
        options = {"D": dimensions, "chunk_size": chunk_size, "decode": decode}
        options |= {"count": charges.count[0], "labels": groups, "charge_labels": of_charges}
        of_own_charges = partial_means.partial_mean(x, sigma, charges.rows, **options)
        if devices.count == 1:
            return partial_means.total_mean(x, of_own_charges)
        parts = [_unpack(p) for p in sharding.exchange(_pack(of_own_charges))]
        merge = functools.partial(partial_means.merge_means, x=own_x, D=dimensions)
        return partial_means.total_mean(own_x, functools.reduce(merge, parts))

    shared: Callable = devices.on_each(part, (WHOLE, WHOLE, ROWS, WHOLE, WHOLE, ROWS), ROWS)
    return lambda x, sigma: shared(x, sigma, x, groups, key, charges)


def _pack(partial: PartialMean) -> Float[Array, "b 2N+3"]:
    scalars = jnp.stack([partial.order, partial.spread, partial.weight], axis=1)
    return jnp.concatenate([partial.nearest, partial.moment, scalars], axis=1)


def _unpack(packed: Float[Array, "b 2N+3"]) -> PartialMean:
    nearest, moment = jnp.split(packed[:, :-3], 2, axis=1)
    return PartialMean(nearest, packed[:, -3], packed[:, -2], packed[:, -1], moment)
