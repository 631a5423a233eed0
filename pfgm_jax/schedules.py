"""The noise levels that were chosen for the steps of a run's solvers, which its workdir keeps in schedules.json."""

import contextlib
import json
import logging
from typing import Any

import filelock
import ml_collections

from pfgm_jax import build, config_files, exports
from pfgm_jax.errors import InputError, shown
from pfgm_jax.folders import Folder, is_local, write_whole
from pfgm_jax.reading import read_json
from pfgm_jax.registry import SAMPLERS
from pfgm_jax.samplers.steps import CALIBRATED, FixedSteps

log = logging.getLogger("pfgm_jax")

FILE = "schedules.json"
# Fields that decide the ODE besides those of the method. Another ODE, or other ends of it, would have other levels.
FIELDS = ("training.sde", "sampling.guidance", "sampling.guidance_interval")
_CURE = "delete it, and run python -m pfgm_jax schedule again"
# For each solver and each number of steps, as text: `levels`, the `step` of the checkpoint, and the `fields`.
Schedules = dict[str, dict[str, dict[str, Any]]]


def fixed_solvers() -> list[str]:
    """Lists the ODE solvers with a fixed number of steps, for which noise levels can be chosen."""
    return [name for name in SAMPLERS if issubclass(SAMPLERS[name], FixedSteps)]


def read(workdir: Folder) -> Schedules:
    """Reads the noise levels of all solvers and numbers of steps; none where there is no file.

    Raises:
      InputError: the file is damaged.
    """
    path = workdir / FILE
    try:
        found = read_json(path, _CURE)
    except FileNotFoundError:
        return {}
    try:
        for of_solver in found.values():
            for chosen in of_solver.values():
                # Whether levels descend between the two ends is for the solver to say.
                chosen["levels"] = tuple(float(level) for level in chosen["levels"])
                chosen["step"] = int(chosen["step"])
                chosen["fields"] = dict(chosen["fields"])
        return found
    except (AttributeError, KeyError, TypeError, ValueError):
        raise InputError(f"{path} is damaged; {_CURE}") from None


def write(
    workdir: Folder, solver: str, levels: tuple[float, ...], step: int, config: ml_collections.ConfigDict
) -> None:
    """Adds the noise levels between a solver's steps to the file, in place of older ones of as many steps.

    Args:
      workdir: of the run.
      solver: one of `fixed_solvers`.
      levels: one fewer than steps.
      step: of the checkpoint.
      config: with which they were chosen.

    Raises:
      InputError: the file is damaged.
    """
    chosen = {"levels": levels, "step": step, "fields": _fields(config)}
    # Two commands for other numbers of steps may end at once. Object stores have no locks.
    lock = filelock.FileLock(workdir / f".{FILE}.lock") if is_local(workdir) else contextlib.nullcontext()
    with lock:
        found = read(workdir)
        found.setdefault(solver, {})[str(len(levels) + 1)] = chosen
        write_whole(workdir / FILE, (json.dumps(found, indent=1) + "\n").encode())


def fill_in(config: ml_collections.ConfigDict, workdir: Folder) -> None:
    """Sets `sampling.levels` to those that were chosen for the run, if `sampling.schedule` asks for them.

    Raises:
      InputError: none were chosen for so many steps of the solver, or the file is damaged.
    """
    if config_files.get(config, "sampling.schedule") != CALIBRATED or config_files.get(config, "sampling.levels"):
        return
    where, able = f"sampling.schedule is {CALIBRATED!r}, but", fixed_solvers()
    name, steps = build.sampler_name(config), config_files.get(config, "sampling.N")
    if name not in able:
        raise InputError(
            f"{where} {build.sampler_field(config)} is {shown(name)}, for whose steps no noise levels are chosen; "
            f"choose one of {', '.join(able)}, or the schedule ''"
        )
    if exports.is_export(workdir):
        raise InputError(
            f"{where} an exported model has none; give those in schedules.json of its run as sampling.levels"
        )
    if not isinstance(steps, int) or steps < 2:
        raise InputError(f"{where} sampling.N is {shown(steps)}; give at least 2 steps, or choose the schedule ''")
    known = read(workdir)
    if str(steps) not in known.get(name, {}):
        there = ", ".join(f"{n} of {solver}" for solver, of in known.items() for n in of) or "none"
        raise InputError(
            f"{where} no noise levels were chosen for sampling.N = {steps} steps of {name} (available: {there}); run "
            f"python -m pfgm_jax schedule --workdir {workdir} --solver {name} --steps {steps}, or choose log or rho"
        )
    config.sampling.levels = known[name][str(steps)]["levels"]


def check(config: ml_collections.ConfigDict, workdir: Folder, step: int) -> None:
    """Checks that the noise levels that `fill_in` found are used as they were chosen; warns of another checkpoint.

    Args:
      config: whose fields are filled in.
      workdir: of the run.
      step: of the checkpoint that is used.

    Raises:
      InputError: they were chosen for another ODE.
    """
    if config.sampling.schedule != CALIBRATED:
        return
    levels = tuple(config.sampling.levels)
    chosen = read(workdir).get(build.sampler_name(config), {}).get(str(len(levels) + 1))
    if not chosen or chosen["levels"] != levels:
        return
    for field, value in _fields(config).items():
        if value != chosen["fields"].get(field):
            raise InputError(
                f"{field} is {shown(value)}, and was {shown(chosen['fields'].get(field))} when the noise levels of "
                f"sampling.schedule = {CALIBRATED!r} were chosen; set it back, or choose log or rho"
            )
    if step != chosen["step"]:
        log.warning("The noise levels were chosen for step %d, and are used for step %d", chosen["step"], step)


def _fields(config: ml_collections.ConfigDict) -> dict[str, Any]:
    names = (*FIELDS, *build.create_method(config).fields.values())
    return json.loads(json.dumps({name: config_files.get(config, name) for name in names}))
