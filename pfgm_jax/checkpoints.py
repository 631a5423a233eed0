"""Checkpoints of a run. The only file that knows orbax."""

import json
import logging
import time
import zlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from pfgm_jax.errors import InputError, StorageError
from pfgm_jax.state import TrainState

log = logging.getLogger("pfgm_jax")


class _DamageError(Exception):
    """A checkpoint is not what was saved."""


class Checkpoints:
    """The checkpoints in a directory: those of the last steps, to resume from, and those kept for good.

    A checkpoint appears when it is whole. It has a checksum of every array and, once it is known to be on disk, of
    every file, since neither file systems nor orbax notice when what is stored has changed.

    Attributes:
      directory: where they are, one folder a step.
      keep_last: how many of the latest are kept.
      keep_every: a step that this divides is kept for good.
      read_only: open for reading, beside a run that may be writing.
    """

    def __init__(self, directory: Path, keep_last: int = 2, keep_every: int | None = None, read_only: bool = False):
        if read_only:
            # A run may be writing there: nothing of it may be cleaned up.
            options = ocp.CheckpointManagerOptions(read_only=True, save_interval_steps=0, create=False)
        else:
            options = ocp.CheckpointManagerOptions(
                max_to_keep=keep_last, keep_period=keep_every, cleanup_tmp_directories=True
            )
        self.directory, self.read_only = directory.absolute(), read_only
        self._options = options
        self._manager = ocp.CheckpointManager(self.directory, options=options)

    def steps(self) -> list[int]:
        """Steps of all checkpoints, ascending."""
        return sorted(self._manager.all_steps())

    def save(self, state: TrainState, config: dict[str, Any]) -> None:
        """Saves a state under its step, in the background; returns once its arrays may change.

        Raises:
          StorageError: this one, or the one before, cannot be written.
        """
        items = ocp.args.Composite(
            state=ocp.args.StandardSave(state),
            config=ocp.args.JsonSave(config),
            sums=ocp.args.JsonSave(_checksums(state)),
        )
        self._writing(self._seal)
        self._writing(lambda: self._manager.save(int(state.step), args=items, force=True))

    def restore(self, template: TrainState, step: int | None = None) -> TrainState | None:
        """The state of a step, or of the latest good one; None where there is none.

        A damaged checkpoint is reported and, unless opened for reading only, set aside in a folder `damaged` beside the
        others; the one before it takes its place.

        Args:
          template: a state, or its shapes, like the one to restore.
          step: which; None for the latest.

        Raises:
          InputError: there is no checkpoint of that step, it is damaged, or all are.
        """
        steps = self.steps()
        if step is not None:
            if step not in steps:
                raise InputError(
                    f"there is no checkpoint of step {step} in {self.directory}; "
                    f"it holds {', '.join(map(str, steps)) or 'none'}"
                )
            steps = [step]
        for candidate in reversed(steps):
            try:
                return self._restore(candidate, template)
            except _DamageError as error:
                if step is not None:
                    raise InputError(
                        f"the checkpoint of step {step} in {self.directory} is damaged ({error}); choose another step"
                    ) from None
                where = self.directory / str(candidate)
                if not self.read_only:
                    where = self._set_aside(candidate)
                log.warning(
                    "The checkpoint of step %d is damaged (%s) and not used; it is in %s", candidate, error, where
                )
        if steps:
            raise InputError(
                f"all checkpoints in {self.directory} are damaged (steps {', '.join(map(str, steps))}); restore them "
                "from a copy, or choose another --workdir"
            )
        return None

    def restore_ema(self, template: TrainState, step: int | None = None) -> tuple[PyTree, int]:
        """The averaged parameters of a step, or of the latest good one, and the step.

        Raises:
          InputError: there is no checkpoint, or none of that step.
        """
        state = self.restore(template, step)
        if state is None:
            raise InputError(f"there is no checkpoint in {self.directory}; train first: python main.py --mode train")
        return state.ema_params, int(state.step)

    def close(self) -> None:
        """Waits until what was saved is on disk.

        Raises:
          StorageError: it cannot be written.
        """
        self._writing(self._seal)
        self._manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _restore(self, step: int, template: TrainState) -> TrainState:
        seal = self._seal_of(step)
        if seal.is_file():
            _check_files(self.directory / str(step), seal)
        # With a sharding of its own, a state restores on other devices than those it was saved from.
        here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=here), template)
        # Checkpoints of earlier versions have no checksums.
        has_sums = (self.directory / str(step) / "sums").is_dir()
        items: dict[str, Any] = {"state": ocp.args.StandardRestore(shapes)}
        if has_sums:
            items["sums"] = ocp.args.JsonRestore()
        try:
            restored = self._manager.restore(step, args=ocp.args.Composite(**items))
        except Exception as error:  # a damaged file can fail in any way
            raise _DamageError(" ".join(str(error).split())[:200] or type(error).__name__) from None
        state = restored["state"]
        if has_sums:
            found = _checksums(state)
            wrong = [name for name, value in found.items() if restored["sums"].get(name) != value]
            if wrong:
                raise _DamageError(
                    f"{len(wrong)} of {len(found)} arrays are not those that were saved, {wrong[0]} first"
                )
        if int(state.step) != step:
            raise _DamageError(f"it is of step {int(state.step)}")
        return state

    def _seal_of(self, step: int) -> Path:
        return self.directory / f"{step}.sums.json"

    def _seal(self) -> None:
        """Writes the checksums of files of checkpoints that are on disk."""
        self._manager.wait_until_finished()
        if self.read_only:
            return
        steps = self.steps()
        for seal in self.directory.glob("*.sums.json"):
            if seal.name.split(".")[0] not in map(str, steps):
                seal.unlink()
        for step in steps:
            seal = self._seal_of(step)
            if not seal.exists():
                temporary = seal.with_suffix(".tmp")
                temporary.write_text(json.dumps(_file_sums(self.directory / str(step))))
                temporary.replace(seal)

    def _set_aside(self, step: int) -> Path:
        folder = self.directory.parent / "damaged" / f"{step}-{time.strftime('%Y%m%d-%H%M%S')}"
        folder.parent.mkdir(exist_ok=True)
        (self.directory / str(step)).rename(folder)
        self._seal_of(step).unlink(missing_ok=True)
        self._manager.close()
        self._manager = ocp.CheckpointManager(self.directory, options=self._options)
        return folder

    def _writing(self, action) -> None:
        try:
            action()
        except Exception as error:  # orbax passes on whatever its backends raise
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise StorageError(
                f"a checkpoint cannot be written to {self.directory} ({reason}); what was saved before is good: make "
                "room there, and run the same command again"
            ) from None


def _file_sums(folder: Path) -> dict[str, int]:
    """CRC32 of every file, by its path in a folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): zlib.crc32(path.read_bytes()) for path in files}


def _check_files(folder: Path, seal: Path) -> None:
    try:
        sealed = json.loads(seal.read_text())
        found = _file_sums(folder)
    except (OSError, ValueError) as error:
        raise _DamageError(f"{seal.name} or a file cannot be read: {error}") from None
    wrong = sorted(name for name in {*sealed, *found} if sealed.get(name) != found.get(name))
    if wrong:
        kind = "is missing" if wrong[0] not in found else "is not as it was saved"
        raise _DamageError(f"its file {wrong[0]} {kind}")


def _checksums(state: TrainState) -> dict[str, int]:
    """CRC32 of every array, by its path."""
    leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(state))
    return {jax.tree_util.keystr(path): zlib.crc32(np.ascontiguousarray(leaf).tobytes()) for path, leaf in leaves}
