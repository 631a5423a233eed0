"""Signals in every mode and command, at moments that differ in what is under way."""

import re
import signal
from collections.abc import Callable
from pathlib import Path

from tests.hostile import processes, runs
from tests.hostile.case import Case, assert_sentence
from tests.hostile.other_commands import convert, info, metrics, prepare
from tests.hostile.processes import Outcome

INT, TERM, KILL, HUP = signal.SIGINT, signal.SIGTERM, signal.SIGKILL, signal.SIGHUP
FAREWELL = r"Asked to stop; (.*)\. To resume, run the same command again"
ANYTHING = "what was saved before is kept"

# What is under way when the signals come: a function, and in which of its calls.
LOADING = "pfgm_jax.build.load_dataset", 1
RESTORING = "pfgm_jax.checkpoints.Checkpoints.restore_ema", 1
COMPILING = "jax._src.compiler.compile_or_get_cached", 3
DRAWING = "pfgm_jax.trained_model.TrainedModel.draw", 2
MEASURING = "pfgm_jax.trained_model.TrainedModel.bits", 2
COMPARING = "pfgm_jax.metrics.evaluation.check_finite", 1
COLLECTING = "pfgm_jax.metrics.statistics.collect_statistics", 1
PICTURING = "pfgm_jax.pictures.save_picture", 5
TRAINING = "pfgm_jax.training.callbacks.Logger.__call__", 5
SAVING = "pfgm_jax.checkpoints.Checkpoints.save", 2


def renaming(n: int) -> tuple[str, int]:
    """The moment in which the n-th file that is written whole is about to appear."""
    return "pathlib.Path.replace", n


def assert_farewell(outcome: Outcome, expected: int, says: str) -> None:
    """Asserts an exit status, and that one line says what is saved; nothing where a signal ends the process."""
    status, told, _ = outcome
    assert status == expected, (status, told)
    assert "Traceback" not in told, told
    if status < 0:
        assert "Asked to stop" not in told, told
        return
    (line,) = (line for line in told.splitlines() if "Asked to stop" in line)
    assert_sentence(line)
    found = re.fullmatch(FAREWELL, line)
    assert found and re.fullmatch(says, found[1]), told


def interrupted(
    mode: str, what: str, moment: tuple[str, int], *signals: int, says: str = ANYTHING, status: int | None = None
) -> Case:
    """A mode that is interrupted at a moment, and goes on.

    Args:
      mode: of main.py.
      what: is under way.
      moment: the function and number of the call in which the signals come.
      *signals: one after the other.
      says: what the farewell says to be saved, as a regular expression.
      status: exit status; by default that of the first signal.
    """
    deadly = signals[0] in (KILL, HUP)
    expected = status or (-signals[0] if deadly else 128 + signals[0])
    # Training goes on to the end of the step, unless it is to end at once.
    hold = 0.2 if mode == "train" and len({*signals}) == 1 == len(signals) and says != ANYTHING else 60.0
    numbers = ", ".join(str(int(number)) for number in signals)
    before = f"at({moment[0]!r}, {moment[1]}, lambda: send({numbers}, pause=0.2, hold={hold}))"

    def attempt(folder: Path) -> None:
        runs.prepare(folder, mode)
        assert_farewell(processes.run(folder, "main.py", *runs.flags(folder, mode), before=before), expected, says)
        runs.assert_goes_on(folder, mode)

    names = " and ".join(signal.Signals(number).name for number in signals)
    return Case(f"{mode}: {names} while {what}", attempt)


def command(begin: Callable[[Path, str], Outcome], what: str, moment: tuple[str, int], signum: int) -> Case:
    """One of the other commands that is interrupted at a moment, and ends well when it is given again.

    Args:
      begin: folder, and code that runs first -> how it ended; asserts on its own that nothing is left half done.
      what: is under way.
      moment: the function and number of the call in which the signal comes.
      signum: the signal.
    """

    def attempt(folder: Path) -> None:
        before = f"at({moment[0]!r}, {moment[1]}, lambda: send({int(signum)}))"
        assert_farewell(begin(folder, before), -signum if signum == KILL else 128 + signum, ANYTHING)
        outcome = begin(folder, "")
        assert outcome.status == 0, outcome.told

    return Case(f"{begin.__name__}: {signal.Signals(signum).name} while {what}", attempt)


def cases() -> list[Case]:
    """All of them."""
    drawn = lambda n: rf"{n} of 12 samples are saved in .*/pieces"
    step = lambda n: rf"step {n} is saved"
    measured = r"4 of 8 images are saved in .*/pieces"
    return [
        interrupted("sample", "the checkpoint is read", RESTORING, INT),
        interrupted("sample", "it compiles", COMPILING, TERM, says=drawn(0)),
        interrupted("sample", "it draws", DRAWING, INT, says=drawn(4)),
        interrupted("sample", "it draws, twice", DRAWING, INT, INT, says=drawn(4)),
        interrupted("sample", "it draws the first", (DRAWING[0], 1), TERM, says=drawn(0)),
        interrupted("sample", "a piece is written", renaming(3), TERM, says=drawn(4)),
        interrupted("sample", "pictures are written", PICTURING, INT),
        interrupted("sample", "the array is written", renaming(5), TERM),
        interrupted("sample", "its folder is claimed, by the system", renaming(1), KILL),
        interrupted("sample", "it draws, by the system", DRAWING, KILL),
        interrupted("sample", "pictures are written, by the system", PICTURING, KILL),
        interrupted("sample", "the array is written, by the system", renaming(5), KILL),
        interrupted("sample", "it draws, by the terminal that closes", DRAWING, HUP),
        interrupted("eval", "data are loaded", LOADING, INT),
        interrupted("eval", "the data's statistics are collected", COLLECTING, TERM),
        interrupted("eval", "it draws", DRAWING, TERM, says=drawn(4)),
        interrupted("eval", "it draws, by the system", DRAWING, KILL),
        interrupted("eval", "samples are compared", COMPARING, INT),
        interrupted("eval of likelihoods", "it measures", MEASURING, INT, says=measured),
        interrupted("eval of likelihoods", "it measures, by the system", MEASURING, KILL),
        interrupted("eval", "the report is written", renaming(7), TERM),
        interrupted("likelihood", "it measures", MEASURING, INT, says=measured),
        interrupted("likelihood", "a piece is written", renaming(3), TERM, says=measured),
        interrupted("likelihood", "the table is written, by the system", renaming(4), KILL),
        interrupted("train", "data are loaded", LOADING, INT),
        interrupted("train", "a step is taken", TRAINING, INT, says=step(6)),
        interrupted("train", "a step is taken, in a second run", TRAINING, TERM, says=step(6)),
        interrupted("train", "a checkpoint is saved", SAVING, TERM, says=step(7)),
        interrupted("train", "data are scaled", COMPILING, INT),
        interrupted("train", "a step is taken, one after the other", TRAINING, TERM, INT, status=130),
        interrupted("train", "a checkpoint is saved, by the system", SAVING, KILL),
        interrupted("train", "a step is taken, by the terminal that closes", TRAINING, HUP),
        command(info, "data are loaded", LOADING, INT),
        command(info, "the picture is drawn", ("pfgm_jax.pictures.to_picture", 1), TERM),
        command(prepare, "the file's checksum is computed", ("pfgm_jax.downloads.sha256", 1), TERM),
        command(prepare, "records are written", ("PIL.Image.fromarray", 20), INT),
        command(prepare, "records are written, by the system", ("PIL.Image.fromarray", 45), KILL),
        command(convert, "the checkpoint is saved", (SAVING[0], 1), INT),
        command(convert, "the workdir is about to appear, by the system", ("pathlib.Path.rename", 1), KILL),
        command(metrics, "pictures are read", ("PIL.Image.open", 10), INT),
        command(metrics, "the data's statistics are collected", COLLECTING, TERM),
    ]
