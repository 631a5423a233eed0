"""Devices and processes. This is the only file that knows the mesh.

All devices of all processes form one line. Parameters are replicated on each device; batches, charges and samples are
sharded by rows. The average of the parameters and the optimiser's moments are replicated or, on many devices, spread.
The result of a step does not depend on the number of devices, except for the order in which sums are rounded.
"""

import dataclasses
import functools
import itertools
import os
import signal
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, Num, PyTree

from pfgm_jax.errors import InputError, PfgmError

AXIS = "data"
ROWS, WHOLE = PartitionSpec(AXIS), PartitionSpec()

# Environment variables in which clusters set the number of processes.
_PROCESS_COUNTS = ("JAX_NUM_PROCESSES", "SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
# Time after which the death of a process is noticed.
_HEARTBEAT_SECONDS = 30
_LONGEST_TEXT = 2000
# Of a part of an array that is spread; the communication of smaller parts takes longer than their work.
FEWEST_NUMBERS = 128

T = TypeVar("T")


def start_processes(multihost: bool) -> None:
    """Connects the processes of a run, before any other call to JAX; does nothing if there is only one.

    JAX finds the other processes itself on Cloud TPU pods and with SLURM, Open MPI and Kubernetes. Elsewhere, set
    JAX_COORDINATOR_ADDRESS (host:port of process 0), JAX_NUM_PROCESSES and JAX_PROCESS_ID.

    Args:
      multihost: whether there are other processes even if the environment does not say so (as on a TPU pod).

    Raises:
      InputError: the other processes are unknown or do not answer.
    """
    environment = os.environ
    counts = [int(environment[name]) for name in _PROCESS_COUNTS if environment.get(name, "").isdigit()]
    several_tpu_hosts = "," in environment.get("TPU_WORKER_HOSTNAMES", "")
    if jax.distributed.is_initialized() or not (multihost or several_tpu_hosts or any(n > 1 for n in counts)):
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        count, number = (
            int(environment[name]) if name in environment else None for name in ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
        )
        jax.distributed.initialize(num_processes=count, process_id=number, heartbeat_timeout_seconds=_HEARTBEAT_SECONDS)
        if threading.current_thread() is threading.main_thread():
            # JAX has installed a handler for a service that is not used here.
            signal.signal(signal.SIGTERM, handler)
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"the processes of this run cannot be connected ({error}); where no cluster says who they are, set "
            "JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, or leave out --multihost"
        ) from None


def is_first() -> bool:
    """Returns whether this is process 0, which does what only one process may do."""
    return jax.process_index() == 0


def first_text(text: str) -> str:
    """Returns the first text that is not empty, in the order of the processes; the same in all of them.

    Every process must call it, and waits for the others.

    Args:
      text: text of this process.
    """
    if jax.process_count() == 1:
        return text
    padded = np.zeros(_LONGEST_TEXT, np.uint8)
    content = np.frombuffer(text.encode()[:_LONGEST_TEXT], np.uint8)
    padded[: len(content)] = content
    texts = [bytes(row).rstrip(b"\0").decode(errors="replace") for row in multihost_utils.process_allgather(padded)]
    return next(filter(None, texts), "")


def on_first_process(action: Callable[[], T]) -> T | None:
    """Runs an action in process 0 while the others wait for it.

    Returns:
      The result of the action; None in the other processes.

    Raises:
      PfgmError: in the other processes, if the action raised an exception in process 0, with its message. Process 0
        raises the exception itself.
    """
    result, error = None, None
    if is_first():
        try:
            result = action()
        except Exception as raised:
            error = raised
    message = first_text(f"in process 0: {error or type(error).__name__}" if error is not None else "")
    if error is not None:
        raise error
    if message:
        raise PfgmError(message)
    return result


class SharedRows(NamedTuple):
    """The rows of an array, sharded over devices; parts are padded to equal length by repeating their last row.

    Attributes:
      rows: D parts of r rows.
      index: index of each row in the array.
      group: number of each row, see `Devices.share_out`; None for none.
      count: number of rows of each part without padding.
    """

    rows: Num[Array, "Dr ..."]
    index: Int[Array, " Dr"]
    count: Int[Array, " D"]
    group: Int[Array, " Dr"] | None = None


@dataclasses.dataclass(frozen=True)
class Devices:
    """All devices of all processes, in one line."""

    mesh: jax.sharding.Mesh

    @classmethod
    def all(cls) -> "Devices":
        """Returns all devices that JAX knows."""
        # Ordered by process, as `place` requires. A mesh that follows the topology of a TPU pod would not be.
        order = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
        return cls(jax.sharding.Mesh(np.array(order), (AXIS,), axis_types=(AxisType.Auto,)))

    @classmethod
    def of_this_process(cls) -> "Devices":
        """Returns the devices of this process, for work that one process does while the others wait."""
        return cls(jax.sharding.Mesh(np.array(jax.local_devices()), (AXIS,)))

    @property
    def count(self) -> int:
        """Returns the number of devices."""
        return self.mesh.size

    @property
    def local_count(self) -> int:
        """Returns the number of devices of this process."""
        return len(self.mesh.local_devices)

    @property
    def whole(self) -> NamedSharding:
        """Returns the sharding that replicates arrays on each device."""
        return NamedSharding(self.mesh, WHOLE)

    @property
    def rows(self) -> NamedSharding:
        """Returns the sharding that splits arrays by rows."""
        return NamedSharding(self.mesh, ROWS)

    def spread(self, shapes: PyTree) -> PyTree:
        """Returns shardings that split each array along its longest axis that divides evenly among the devices.

        Arrays that have no such axis, or of which a device would hold fewer than `FEWEST_NUMBERS`, are replicated.
        """

        def of(array: Any) -> NamedSharding:
            even = [i for i, length in enumerate(array.shape) if length % self.count == 0]
            if not even or array.size < FEWEST_NUMBERS * self.count:
                return self.whole
            axis = max(even, key=lambda i: array.shape[i])
            return NamedSharding(self.mesh, PartitionSpec(*[None] * axis, AXIS))

        return jax.tree.map(of, shapes)

    def specs(self, shapes: PyTree, spread: bool) -> PyTree:
        """Returns how arrays are split, for `on_each`: as `spread` says, or not at all."""
        return jax.tree.map(lambda sharding: sharding.spec if spread else WHOLE, self.spread(shapes))

    # Outside of jit

    def gathered(self, tree: PyTree) -> PyTree:
        """Replicates arrays on every device, however they are sharded. All processes must call it."""
        spread = any(not array.is_fully_replicated for array in jax.tree.leaves(tree))
        return _gather(self.whole)(tree) if spread else tree

    def place(self, rows: PyTree) -> PyTree:
        """Shards rows by device; each process passes its own rows, in the order of the processes."""
        return jax.tree.map(lambda a: jax.make_array_from_process_local_data(self.rows, a), rows)

    def round_up(self, rows: int) -> int:
        """Rounds a number of rows up to a multiple of the number of devices."""
        return -(-rows // self.count) * self.count

    def place_whole(self, tree: PyTree) -> PyTree:
        """Replicates arrays that are the same in all processes on every device."""
        return jax.tree.map(lambda a: jax.make_array_from_process_local_data(self.whole, np.asarray(a)), tree)

    def share_out(self, array: Any, groups: Int[np.ndarray, " n"] | None = None) -> SharedRows:
        """Shards the rows of an array; each process reads only the rows of its devices.

        Args:
          array: an object with a shape, indexed by row numbers; it needs at least one row per device.
          groups: a number for each row.
        """
        shape = array.shape
        bounds = np.arange(self.count + 1) * shape[0] // self.count
        count = np.diff(bounds)
        most = int(count.max())
        index = np.concatenate(
            [np.minimum(np.arange(most) + start, stop - 1) for start, stop in itertools.pairwise(bounds)]
        )
        read = lambda of_device: array[index[of_device[0]]]
        place = lambda numbers: jax.make_array_from_callback(
            numbers.shape, self.rows, lambda i: numbers[i].astype(np.int32)
        )
        return SharedRows(
            jax.make_array_from_callback((self.count * most, *shape[1:]), self.rows, read),
            place(index),
            place(count),
            None if groups is None else place(groups[index]),
        )

    # Within jit

    def gather(self, tree: PyTree) -> PyTree:
        """Gathers arrays that are sharded by rows on each device."""
        # An explicit collective: a sharding constraint would let XLA choose what to gather, and when.
        together = lambda tree: jax.tree.map(lambda a: jax.lax.all_gather(a, AXIS, tiled=True), tree)
        return self.on_each(together, (ROWS,), WHOLE)(tree)

    def replicate(self, tree: PyTree) -> PyTree:
        """Computes the tree on every device."""
        return jax.lax.with_sharding_constraint(tree, self.whole)

    def split(self, tree: PyTree) -> PyTree:
        """Computes each row on its own device."""
        return jax.lax.with_sharding_constraint(tree, self.rows)

    def on_each(self, function: Callable, arguments: Sequence[PartitionSpec], result: PyTree) -> Callable:
        """Returns a function that each device runs on its part.

        Args:
          function: function of the parts; it may use `sum_over_devices`, `sum_in_parts` and `exchange`.
          arguments: for each argument, ROWS if each device gets its rows, or WHOLE.
          result: ROWS or WHOLE for all results, or for each result; for those of `sum_in_parts` the specs it took.
        """
        # Without the check, gradients of replicated arrays are those of a device's own part, and the function sums
        # them. With it, they would already be summed, once for each microbatch.
        return jax.shard_map(function, mesh=self.mesh, in_specs=tuple(arguments), out_specs=result, check_vma=False)


@functools.cache
def _gather(whole: NamedSharding) -> Callable:
    return jax.jit(lambda tree: tree, out_shardings=whole)


def within_reach(tree: PyTree) -> PyTree:
    """Copies arrays that are spread over several processes to this machine, and leaves others; all must call it."""
    spread = lambda a: isinstance(a, jax.Array) and not (a.is_fully_addressable or a.is_fully_replicated)
    return jax.tree.map(lambda a: multihost_utils.process_allgather(a, tiled=True) if spread(a) else a, tree)


def sum_over_devices(tree: PyTree) -> PyTree:
    """Sums the parts of all devices in one reduction, inside `Devices.on_each`."""
    return jax.lax.psum(tree, AXIS)


def sum_in_parts(tree: PyTree, specs: PyTree) -> PyTree:
    """Sums the arrays of all devices, each of which gets its part of the sum, inside `Devices.on_each`.

    Args:
      tree: arrays of the whole shape.
      specs: how the sums are split, see `Devices.specs`; those of WHOLE are summed in one reduction.
    """
    leaves, structure = jax.tree.flatten(tree)
    of_leaf = jax.tree.leaves(specs)
    whole = iter(sum_over_devices([leaf for leaf, spec in zip(leaves, of_leaf, strict=True) if spec == WHOLE]))
    part = lambda leaf, spec: jax.lax.psum_scatter(leaf, AXIS, scatter_dimension=len(spec) - 1, tiled=True)
    sums = [next(whole) if spec == WHOLE else part(leaf, spec) for leaf, spec in zip(leaves, of_leaf, strict=True)]
    return jax.tree.unflatten(structure, sums)


def exchange(rows: Float[Array, "b d"]) -> Float[Array, "D c d"]:
    """Sends each device the results of all devices for its own c = b/D rows, inside `Devices.on_each`."""
    return jax.lax.all_to_all(rows.reshape(jax.lax.axis_size(AXIS), -1, rows.shape[-1]), AXIS, 0, 0)
