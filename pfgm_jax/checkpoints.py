"""Checkpoints of a run. The only file that knows orbax."""

from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from pfgm_jax.errors import InputError
from pfgm_jax.state import TrainState


class Checkpoints:
    """The checkpoints in a directory: those of the last steps, to resume from, and those kept for good.

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
        self.directory = directory.absolute()
        self._manager = ocp.CheckpointManager(self.directory, options=options)

    def steps(self) -> list[int]:
        """Steps of all checkpoints, ascending."""
        return sorted(self._manager.all_steps())

    def save(self, state: TrainState, config: dict[str, Any]) -> None:
        """Saves a state under its step, in the background; returns once its arrays may change."""
        self._manager.save(
            int(state.step),
            args=ocp.args.Composite(state=ocp.args.StandardSave(state), config=ocp.args.JsonSave(config)),
        )

    def restore(self, template: TrainState, step: int | None = None) -> TrainState | None:
        """The state of a step, or of the latest; None where there is none.

        Args:
          template: a state, or its shapes, like the one to restore.
          step: which; None for the latest.

        Raises:
          InputError: there is no checkpoint of that step.
        """
        steps = self.steps()
        if step is None:
            if not steps:
                return None
            step = steps[-1]
        if step not in steps:
            raise InputError(
                f"there is no checkpoint of step {step} in {self.directory}; "
                f"it holds {', '.join(map(str, steps)) or 'none'}"
            )
        # With a sharding of its own, a state restores on other devices than those it was saved from.
        here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=here), template)
        restored = self._manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(shapes)))
        return restored["state"]

    def restore_ema(self, template: TrainState, step: int | None = None) -> tuple[PyTree, int]:
        """The averaged parameters of a step, or of the latest, and the step.

        Raises:
          InputError: there is no checkpoint, or none of that step.
        """
        state = self.restore(template, step)
        if state is None:
            raise InputError(f"there is no checkpoint in {self.directory}; train first: python main.py --mode train")
        return state.ema_params, int(state.step)

    def close(self) -> None:
        """Waits until what was saved is on disk."""
        self._manager.wait_until_finished()
        self._manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_) -> None:
        self.close()
