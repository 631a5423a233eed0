"""Weights & Biases: receives a run's metrics and grids of samples too, where `training.wandb` names a project."""

import importlib.util
from collections.abc import Mapping
from typing import Any

import ml_collections
import numpy as np
from etils import epy
from jaxtyping import UInt8

from pfgm_jax import config_files, sharding
from pfgm_jax.errors import InputError, shown
from pfgm_jax.folders import Folder, is_local, write_whole
from pfgm_jax.training.writers import MetricWriter, NoWriter

with epy.lazy_imports():  # it is optional
    import wandb  # pyright: ignore[reportMissingImports]

ID = "wandb.txt"  # of the run there, in the workdir, so that a run that resumes goes on there


def check(training: ml_collections.ConfigDict) -> None:
    """Checks that the package is installed, if the config asks for it.

    Raises:
      InputError: it is not.
    """
    if not training.wandb:
        return
    spec = importlib.util.find_spec("wandb")
    # Its own folder of runs, wandb/, would be taken for a package without files.
    if spec is None or spec.origin is None:
        raise InputError(
            f"training.wandb is {shown(training.wandb)}, which needs the package wandb; pip install wandb, or leave "
            "the field empty"
        )


def create_writer(workdir: Folder, step: int, config: ml_collections.ConfigDict) -> MetricWriter:
    """Creates the metric writer of process 0; in other processes it does nothing.

    Raises:
      InputError: Weights & Biases is asked for, and no run can be begun there.
    """

    def create() -> MetricWriter:
        return WandbWriter(workdir, step, config) if config.training.wandb else MetricWriter(workdir, step)

    return sharding.on_first_process(create) or NoWriter(workdir, step)


class WandbWriter(MetricWriter):
    """A writer that also sends what it writes to a project of Weights & Biases."""

    def __init__(self, workdir: Folder, step: int, config: ml_collections.ConfigDict):
        """Begins a run there, or goes on with that of the workdir.

        Raises:
          InputError: it cannot be begun.
        """
        super().__init__(workdir, step)
        file, project = workdir / ID, config.training.wandb
        known = file.read_text().strip() if step and file.is_file() else None
        try:
            self._run: Any = wandb.init(
                project=project,
                name=workdir.name,
                id=known,
                resume="allow",
                config=config_files.flat(config_files.to_dict(config)),
                dir=str(workdir) if is_local(workdir) else None,
            )
        except Exception as error:  # it fails in many ways
            super().close()
            reason = str(error).rstrip(".")
            raise InputError(
                f"training.wandb is {shown(project)}, but no run could be begun there ({reason}); log in with "
                f"`wandb login`, set WANDB_MODE=offline, delete {file} to begin another run, or leave the field empty"
            ) from None
        write_whole(file, self._run.id.encode())

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Writes and sends metrics."""
        super().scalars(step, values)
        self._run.log(dict(values), step=step)

    def picture(self, step: int, pixels: UInt8[np.ndarray, "H W C"]) -> None:
        """Writes and sends a picture."""
        super().picture(step, pixels)
        self._run.log({"samples": wandb.Image(pixels)}, step=step)

    def close(self) -> None:
        """Ends the run there."""
        try:
            self._run.finish()
        finally:
            super().close()
