"""The noise levels that were chosen for the steps of a run's solvers, which its workdir keeps in schedules.json."""

import json

import ml_collections

from pfgm_jax import build, config_files
from pfgm_jax.errors import InputError, shown
from pfgm_jax.folders import Folder, write_whole
from pfgm_jax.reading import read_json
from pfgm_jax.samplers.steps import CALIBRATED

FILE = "schedules.json"
_CURE = "delete it, and run python -m pfgm_jax schedule again"

# By solver and number of steps, as text.
Schedules = dict[str, dict[str, tuple[float, ...]]]


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
        # Whether levels descend between the two ends is for the solver to say.
        numbers = lambda levels: tuple(float(level) for level in levels)
        return {solver: {n: numbers(levels) for n, levels in of.items()} for solver, of in found.items()}
    except (AttributeError, TypeError, ValueError):
        raise InputError(f"{path} is damaged; {_CURE}") from None


def write(workdir: Folder, solver: str, steps: int, levels: tuple[float, ...]) -> None:
    """Adds the noise levels of a solver's steps to the file, in place of older ones.

    Raises:
      InputError: the file is damaged.
    """
    found = read(workdir)
    found.setdefault(solver, {})[str(steps)] = levels
    write_whole(workdir / FILE, (json.dumps(found, indent=1) + "\n").encode())


def fill_in(config: ml_collections.ConfigDict, workdir: Folder) -> None:
    """Sets `sampling.levels` to those that were chosen for the run, if `sampling.schedule` asks for them.

    Raises:
      InputError: none were chosen for so many steps of the solver, or the file is damaged.
    """
    if config_files.get(config, "sampling.schedule") != CALIBRATED or config_files.get(config, "sampling.levels"):
        return
    name, steps, able = build.sampler_name(config), str(config_files.get(config, "sampling.N")), build.fixed_solvers()
    if name not in able:
        raise InputError(
            f"sampling.schedule is {CALIBRATED!r}, but {build.sampler_field(config)} is {shown(name)}, for whose steps "
            f"no noise levels are chosen; choose one of {', '.join(able)}, or the schedule ''"
        )
    known = read(workdir)
    if steps not in known.get(name, {}):
        there = ", ".join(f"{n} of {solver}" for solver, of in known.items() for n in of) or "none"
        raise InputError(
            f"sampling.schedule is {CALIBRATED!r}, but no noise levels were chosen for sampling.N = {steps} steps of "
            f"{name} (there are: {there}); run python -m pfgm_jax schedule --workdir {workdir} --solver {name} --steps "
            f"{steps}, or choose log or rho"
        )
    config.sampling.levels = known[name][steps]
