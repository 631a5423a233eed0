"""Devices and processes. The only file that knows the mesh.

All devices of all processes form one line. Parameters, their average and the optimiser's moments are whole on each
device; batches, charges and samples are shared out among them by rows. What a step computes does not depend on how
many devices there are, but for the order in which sums are rounded.
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

# How many processes a cluster has started, by what it sets in their environments.
_PROCESS_COUNTS = ("JAX_NUM_PROCESSES", "SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
# A process that died is noticed after this time.
_HEARTBEAT_SECONDS = 30
_LONGEST_TEXT = 2000

T = TypeVar("T")


def start_processes(multihost: bool) -> None:
    """Connects the processes of a run, before anything else of JAX is called; does nothing where there is but one.

    On Cloud TPU pods, with SLURM, Open MPI and Kubernetes JAX finds out by itself who the others are. Elsewhere
    JAX_COORDINATOR_ADDRESS (host:port of process 0), JAX_NUM_PROCESSES and JAX_PROCESS_ID say so.

    Args:
      multihost: whether there are other processes even if the environment does not say so (as on a TPU pod).

    Raises:
      InputError: the others are not known, or do not answer.
    """
    environment = os.environ
    counts = [int(environment[name]) for name in _PROCESS_COUNTS if environment.get(name, "").isdigit()]
    several_tpu_hosts = "," in environment.get("TPU_WORKER_HOSTNAMES", "")
    if jax.distributed.is_initialized() or not (multihost or several_tpu_hosts or any(n > 1 for n in counts)):
        return
    try:
        count, number = (
            int(environment[name]) if name in environment else None for name in ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
        )
        jax.distributed.initialize(num_processes=count, process_id=number, heartbeat_timeout_seconds=_HEARTBEAT_SECONDS)
        if threading.current_thread() is threading.main_thread():
            # JAX has taken the signal for a service that is not used here.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"the processes of this run cannot be connected ({error}); where no cluster says who they are, set "
            "JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, or leave out --multihost"
        ) from None


def is_first() -> bool:
    """Whether this is the process that writes what one process writes."""
    return jax.process_index() == 0


def first_text(text: str) -> str:
    """The first text, in the order of the processes, that is not empty; the same in all of them.

    Every process calls it, and waits for the others.

    Args:
      text: what this process has to say.
    """
    if jax.process_count() == 1:
        return text
    padded = np.zeros(_LONGEST_TEXT, np.uint8)
    content = np.frombuffer(text.encode()[:_LONGEST_TEXT], np.uint8)
    padded[: len(content)] = content
    texts = [bytes(row).rstrip(b"\0").decode(errors="replace") for row in multihost_utils.process_allgather(padded)]
    return next(filter(None, texts), "")


def on_first_process(action: Callable[[], T]) -> T | None:
    """Runs an action in process 0, while the others wait for it.

    Returns:
      What it returns; None in the other processes.

    Raises:
      PfgmError: in the others, with the message of what it raised in process 0, where that is raised itself.
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
    """Rows of an array, each on one device; the rest of a device's part, if any, repeats its last.

    Attributes:
      rows: D parts of r rows.
      index: of each row in the array.
      count: how many rows of each part are not repeated.
    """

    rows: Num[Array, "Dr ..."]
    index: Int[Array, " Dr"]
    count: Int[Array, " D"]


@dataclasses.dataclass(frozen=True)
class Devices:
    """All devices of all processes, in one line."""

    mesh: jax.sharding.Mesh

    @classmethod
    def all(cls) -> "Devices":
        """Those that JAX knows."""
        # By processes, which `place` counts on; a mesh that follows the wires of a TPU pod would not be.
        order = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
        return cls(jax.sharding.Mesh(np.array(order), (AXIS,), axis_types=(AxisType.Auto,)))

    @classmethod
    def of_this_process(cls) -> "Devices":
        """Those of this process alone, for what one process does while others wait."""
        return cls(jax.sharding.Mesh(np.array(jax.local_devices()), (AXIS,)))

    @property
    def count(self) -> int:
        """How many there are."""
        return self.mesh.size

    @property
    def whole(self) -> NamedSharding:
        """The sharding of what is whole on each device."""
        return NamedSharding(self.mesh, WHOLE)

    @property
    def rows(self) -> NamedSharding:
        """The sharding of what is shared out by rows."""
        return NamedSharding(self.mesh, ROWS)

    # Outside of jit

    def place(self, rows: PyTree) -> PyTree:
        """Shares out rows, of which each process passes its own: those of the first process come first."""
        return jax.tree.map(lambda a: jax.make_array_from_process_local_data(self.rows, a), rows)

    def round_up(self, rows: int) -> int:
        """The least number of rows, at least so many, that can be shared out evenly."""
        return -(-rows // self.count) * self.count

    def place_whole(self, tree: PyTree) -> PyTree:
        """Brings what is the same in all processes to every device."""
        return jax.tree.map(lambda a: jax.make_array_from_process_local_data(self.whole, np.asarray(a)), tree)

    def share_out(self, array: Any) -> SharedRows:
        """Shares out the rows of an array, from which each process reads those of its devices only.

        Args:
          array: has a shape, and is indexed with the numbers of rows; at least as many rows as there are devices.
        """
        shape = array.shape
        bounds = np.arange(self.count + 1) * shape[0] // self.count
        count = np.diff(bounds)
        most = int(count.max())
        index = np.concatenate(
            [np.minimum(np.arange(most) + start, stop - 1) for start, stop in itertools.pairwise(bounds)]
        )
        read = lambda of_device: array[index[of_device[0]]]
        return SharedRows(
            jax.make_array_from_callback((self.count * most, *shape[1:]), self.rows, read),
            jax.make_array_from_callback(index.shape, self.rows, lambda i: index[i].astype(np.int32)),
            jax.make_array_from_callback(count.shape, self.rows, lambda i: count[i].astype(np.int32)),
        )

    # Within jit

    def gather(self, tree: PyTree) -> PyTree:
        """Makes what is shared out by rows whole on each device."""
        # Said as it is: a constraint on the sharding would leave XLA the choice of what to gather, and when.
        together = lambda tree: jax.tree.map(lambda a: jax.lax.all_gather(a, AXIS, tiled=True), tree)
        return self.on_each(together, (ROWS,), WHOLE)(tree)

    def replicate(self, tree: PyTree) -> PyTree:
        """Computes the tree on every device."""
        return jax.lax.with_sharding_constraint(tree, self.whole)

    def split(self, tree: PyTree) -> PyTree:
        """Computes each row on the device that it belongs to."""
        return jax.lax.with_sharding_constraint(tree, self.rows)

    def on_each(self, function: Callable, arguments: Sequence[PartitionSpec], result: PartitionSpec) -> Callable:
        """A function that each device runs on its part.

        Args:
          function: of the parts; it may use `sum_over_devices` and `exchange`.
          arguments: for each of its arguments ROWS, where a device gets its rows, or WHOLE.
          result: ROWS or WHOLE, of all that it returns.
        """
        # Without the check, gradients of what is whole are those of a device's own part, to be summed by the function;
        # with it they would be summed already, once for each microbatch.
        return jax.shard_map(function, mesh=self.mesh, in_specs=tuple(arguments), out_specs=result, check_vma=False)


def sum_over_devices(tree: PyTree) -> PyTree:
    """In `Devices.on_each`: the sum of the parts, by one reduction."""
    return jax.lax.psum(tree, AXIS)


def exchange(rows: Float[Array, "b d"]) -> Float[Array, "D c d"]:
    """In `Devices.on_each`: from a device's results for all rows, to all devices' results for its own c = b/D rows."""
    return jax.lax.all_to_all(rows.reshape(jax.lax.axis_size(AXIS), -1, rows.shape[-1]), AXIS, 0, 0)


class SharedRequest:
    """A request that any process may receive, and that all answer at the same step.

    It travels with the sums of the training step. All look at what came of it the same number of steps later, when it
    is long known, so that nobody waits.
    """

    LAG = 4

    def __init__(self, devices: Devices):
        self._devices = devices
        self._answers: list[Array] = []
        self._flag = functools.lru_cache(self._place_flag)

    def flag(self, asked: bool) -> Float[Array, " D"]:
        """What this process has to say, as an argument of the step."""
        return self._flag(asked)

    def answer(self, total: Float[Array, ""], asked: bool) -> bool:
        """Whether all processes are to stop after the step that returned `total`, the sum of the flags."""
        if jax.process_count() == 1:
            return asked
        self._answers.append(total)
        return len(self._answers) > self.LAG and bool(self._answers.pop(0) > 0)

    def _place_flag(self, asked: bool) -> Array:
        return self._devices.place(np.full(len(self._devices.mesh.local_devices), float(asked), np.float32))
