"""Checkpoints of a run. This is the only file that imports orbax."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from pfgm_jax import seals, sharding
from pfgm_jax.errors import InputError, StorageError
from pfgm_jax.folders import Folder, is_local
from pfgm_jax.kept_steps import read_kept, write_kept
from pfgm_jax.sharding import Devices
from pfgm_jax.training.state import TrainState

log = logging.getLogger("pfgm_jax")

# Attempts at listing checkpoints while a run may be saving and deleting them.
LISTINGS = 5


class Checkpoints:
    """The checkpoints in a directory: the latest ones, to resume from, and those that are kept permanently.

    All processes of a run call every method, and process 0 writes everything but arrays. A checkpoint appears once it
    is complete. It has a checksum of every array and, once it is on disk, of every file, because neither file systems
    nor orbax notice when stored data have changed.

    Attributes:
      directory: folder of the checkpoints, with one folder per step.
      keep_last: number of latest checkpoints that are kept.
      keep_every: checkpoints of steps divisible by this are kept permanently.
      read_only: whether they are only read, possibly while a run is writing.
    """

    def __init__(self, directory: Folder, keep_last: int = 2, keep_every: int | None = None, read_only: bool = False):
        self.directory, self.read_only = directory.absolute() if is_local(directory) else directory, read_only
        self._keep_every = keep_every
        self._kept = set() if read_only else read_kept(self.directory, keep_last)
        if read_only:
            # A run may be writing there, so its temporary files must not be cleaned up.
            options = ocp.CheckpointManagerOptions(read_only=True, save_interval_steps=0, create=False)
        else:
            managers = ocp.checkpoint_managers
            policies = [managers.LatestN(keep_last), managers.CustomSteps(sorted(self._kept))]
            if keep_every:
                policies.append(managers.EveryNSteps(keep_every))
            options = ocp.CheckpointManagerOptions(
                preservation_policy=managers.AnyPreservationPolicy(policies), cleanup_tmp_directories=True
            )
        self._options = options
        self._manager = self._open()

    def _open(self) -> ocp.CheckpointManager:
        with _without_warnings():
            for _ in range(LISTINGS if self.read_only else 0):
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    return ocp.CheckpointManager(self.directory, options=self._options)
            return ocp.CheckpointManager(self.directory, options=self._options)

    def steps(self) -> list[int]:
        """Lists the steps of all checkpoints, ascending."""
        # A folder such as 007 is nothing that a run has saved.
        return sorted(step for step in self._manager.all_steps() if (self.directory / str(step)).is_dir())

    def save(self, state: TrainState, config: dict[str, Any]) -> None:
        """Saves a state under its step, in the background; returns once its arrays may be modified.

        Raises:
          StorageError: this checkpoint, or the previous one, cannot be written.
        """
        here = sharding.within_reach(state)
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state),
            config=ocp.args.JsonSave(config),
            sums=ocp.args.JsonSave(seals.array_sums(here) if sharding.is_first() else {}),
        )
        step = int(state.step)
        self._writing(self._seal)
        if self._keep_every and step % self._keep_every == 0:
            self._kept.add(step)
            if sharding.is_first():
                self._writing(lambda: write_kept(self.directory, self._kept))
        self._writing(lambda: self._manager.save(step, args=items, force=True))

    def restore(self, template: TrainState, step: int | None = None) -> TrainState | None:
        """Restores the state of a step, or the latest undamaged one, on each device; None if there is none.

        A damaged checkpoint is reported and, unless `read_only`, moved to a folder `damaged` beside the directory. The
        previous checkpoint is used instead.

        Args:
          template: a state, or its shapes, like the one to restore; placed as shapes with a sharding say, or whole.
          step: step to restore; None for the latest.

        Raises:
          InputError: there is no checkpoint of that step, it is damaged, or all are.
        """
        whole = Devices.all().whole
        placed = lambda a: (isinstance(a, jax.ShapeDtypeStruct) and a.sharding) or whole
        shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=placed(a)), template)

        items = ocp.args.Composite(state=ocp.args.StandardRestore(shapes))
        return self._latest_good(lambda candidate: self._manager.restore(candidate, args=items)["state"], step)[0]

    def restore_ema(self, step: int | None = None) -> tuple[PyTree, int]:
        """Restores the averaged parameters of a step, or the latest undamaged ones, on each device; and the step.

        It reads nothing else from the checkpoint, and needs no description of the network.

        Raises:
          InputError: there is no checkpoint, or none of that step.
        """
        whole = Devices.all().whole

        def read(candidate):
            path = self.directory / str(candidate) / "state"
            checkpointer = ocp.PyTreeCheckpointer()
            tree: Any = checkpointer.metadata(path).item_metadata
            stored = {name: tree.tree[name] for name in ("step", "ema_params")}
            restore_args = jax.tree.map(lambda _: ocp.ArrayRestoreArgs(sharding=whole), stored)
            args = ocp.args.PyTreeRestore(item=stored, restore_args=restore_args, partial_restore=True)
            restored = checkpointer.restore(path, args=args)
            return TrainState(restored["step"], None, restored["ema_params"], None)

        restored, found = self._latest_good(read, step)
        if restored is None:
            raise InputError(f"there is no checkpoint in {self.directory}; train first, with --mode train")
        return restored.ema_params, found

    def _latest_good(self, read: Callable[[int], TrainState], step: int | None) -> tuple[Any, int]:
        damaged: dict[int, str] = {}
        while (candidate := self._next(step, damaged)) is not None:
            content, damage = self._read(candidate, read)
            if not damage:
                # Only now that another one is good: if all were moved away, the run would start over.
                for bad, why in self._still_there(damaged).items():
                    where = self.directory / str(bad) if self.read_only else self._set_aside(bad)
                    log.warning("The checkpoint of step %d is damaged (%s) and not used; it is in %s", bad, why, where)
                return content, candidate
            damaged[candidate] = damage
        there = self._still_there(damaged)
        if step is not None:
            why = f"is damaged ({damaged[step]})" if step in there else "was deleted while it was read"
            raise InputError(f"the checkpoint of step {step} in {self.directory} {why}; choose another step")
        if there:
            raise InputError(
                f"all checkpoints in {self.directory} are damaged (steps {', '.join(map(str, sorted(there)))}); "
                "restore them from a copy, or choose another --workdir"
            )
        return None, 0

    def _next(self, step: int | None, tried: Mapping[int, str]) -> int | None:
        """Returns the step to try, the same in all processes; None if there is none left.

        Raises:
          InputError: there is no checkpoint of the step that was asked for.
        """
        for _ in range(LISTINGS if self.read_only else 1):
            if self.read_only:
                with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                    self._manager.reload()  # a run may have saved others, and deleted those that it had
            found = sharding.first_text(",".join(map(str, self.steps())) or "none")
            steps = [int(text) for text in found.split(",") if found != "none"]
            if step is not None and step not in (*steps, *tried):
                shown = found.replace(",", ", ")
                raise InputError(f"there is no checkpoint of step {step} in {self.directory}; it holds {shown}")
            left = [s for s in steps if s not in tried and step in (s, None)]
            if left:
                return max(left)
        return None

    def _still_there(self, damaged: Mapping[int, str]) -> dict[int, str]:
        """Leaves out what the run that is writing has deleted."""
        gone = lambda: [str(step) for step in damaged if not (self.directory / str(step)).exists()]
        found = sharding.first_text(",".join(gone()) or "none")
        return {step: why for step, why in damaged.items() if str(step) not in found.split(",")}

    def _read(self, step: int, read: Callable[[int], TrainState]) -> tuple[Any, str]:
        """Reads a checkpoint; returns its content and a description of its damage, the same in all processes, or "".

        Raises:
          InputError: its files are as they were saved, but do not match the state to restore, or cannot be read now.
        """
        seal = seals.verdict(self.directory, step) if sharding.is_first() else seals.Verdict(False, "")
        if damage := sharding.first_text(seal.damage):
            return None, damage
        content, failure = _attempted(lambda: read(step), step)
        if not failure:
            here, folder = sharding.within_reach(content), self.directory / str(step)
            found, failure = _attempted(lambda: _damaged_array(here, folder, step), step)
            damage = found or ""
        # It may have been deleted since.
        whole = failure and seal.whole and seals.verdict(self.directory, step).whole
        if sharding.first_text("whole" if whole else ""):
            raise InputError(
                f"the checkpoint of step {step} in {self.directory} is as it was saved, but cannot be restored; "
                "restore the fields of optim to their earlier values, or check memory and disks"
            )
        damage = failure or sharding.first_text(damage)
        if not damage and not seal.whole and not self.read_only and sharding.is_first():
            seals.remove(self.directory, step)  # what it may say is not true; another is written
        return content, damage

    def wait(self) -> None:
        """Waits until all saved checkpoints are on disk.

        Raises:
          StorageError: a checkpoint cannot be written.
        """
        self._writing(self._seal)

    def close(self) -> None:
        """Waits until all saved checkpoints are on disk, and frees resources.

        Raises:
          StorageError: a checkpoint cannot be written.
        """
        self.wait()
        self._manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _seal(self) -> None:
        """Writes the checksums of the files of all checkpoints on disk."""
        self._manager.wait_until_finished()
        # Object stores have checksums of their own.
        if not self.read_only and sharding.is_first() and is_local(self.directory):
            seals.write_missing(self.directory, self.steps())

    def _set_aside(self, step: int) -> Folder:
        aside, name = self.directory.parent / "damaged", f"{step}-{time.strftime('%Y%m%d-%H%M%S')}"

        def move() -> str:
            aside.mkdir(exist_ok=True)
            taken = sum(path.name.startswith(name) for path in aside.iterdir())
            folder = aside / (f"{name}-{taken + 1}" if taken else name)
            (self.directory / str(step)).rename(folder)
            seals.remove(self.directory, step)
            return folder.name

        folder = aside / sharding.first_text(sharding.on_first_process(move) or "")
        self._manager.close()
        self._manager = self._open()
        return folder

    def _writing(self, action) -> None:
        try:
            action()
        except Exception as error:  # orbax passes on any exception of its backends
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise StorageError(
                f"a checkpoint cannot be written to {self.directory} ({reason}); earlier checkpoints are intact: free "
                "space there, and run the same command again"
            ) from None


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Keeps orbax from warning of what is as it should be, such as that a folder is only read."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(max(level, logging.ERROR))
    try:
        yield
    finally:
        logger.setLevel(level)


def _attempted(read: Callable[[], Any], step: int) -> tuple[Any, str]:
    """Returns what is read, and why it could not be in some process, or ""; the latter is the same in all."""
    content, failure = None, ""
    try:
        with _without_warnings():
            content = read()
    except Exception:  # a damaged file can fail in any way
        log.debug("while reading the checkpoint of step %d", step, exc_info=True)
        failure = "its state cannot be read"
    return content, sharding.first_text(failure)


def _damaged_array(content: TrainState, folder: Folder, step: int) -> str:
    """Describes the arrays of a checkpoint, or of a part of it, that differ from their checksums; "" if none does."""
    if content.step is not None and int(content.step) != step:
        return f"it is of step {int(content.step)}"
    # Checkpoints of earlier versions have no checksums.
    if not (folder / "sums").is_dir():
        return ""
    saved = ocp.Checkpointer(ocp.JsonCheckpointHandler()).restore(folder / "sums")
    found = seals.array_sums(content)
    wrong = [name for name, value in found.items() if saved.get(name) != value]
    return f"{len(wrong)} of {len(found)} arrays are not as they were saved, {wrong[0]} first" if wrong else ""
