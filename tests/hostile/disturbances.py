"""What happens to processes besides signals: full disks, lost folders, closed streams, company, pauses."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.hostile import moments, processes, runs
from tests.hostile.case import Case, assert_sentence
from tests.hostile.other_commands import convert, info, metrics
from tests.hostile.processes import Outcome

FULL_DISK = "resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))"
# Root may write anywhere, unless it gives up its capabilities.
UNPRIVILEGED = """
import ctypes
libc, header = ctypes.CDLL(None, use_errno=True), (ctypes.c_uint32 * 2)(0x20080522, 0)
if libc.capset(header, (ctypes.c_uint32 * 6)()):
    raise OSError(ctypes.get_errno(), "capset")
"""
NOBODY_READS = "r, w = os.pipe(); os.dup2(w, {0}); os.close(r); os.close(w)"


def assert_error(outcome: Outcome, *named: str) -> None:
    """Asserts exit status 1 and one sentence, the last line."""
    assert outcome.status == 1, outcome
    assert "Traceback" not in outcome.told, outcome.told
    last = outcome.told.rstrip().splitlines()[-1]
    assert last.startswith("error: "), outcome.told
    assert_sentence(last, *named)


def mode_fails(mode: str, name: str, before: str, named: str) -> Case:
    """A mode that ends with a sentence where something is in its way, and goes on once it is not."""

    def attempt(folder: Path) -> None:
        runs.prepare(folder, mode)
        assert_error(processes.run(folder, "main.py", *runs.flags(folder, mode), before=before), named)
        runs.assert_goes_on(folder, mode)

    return Case(f"{mode}: {name}", attempt)


def folder_read_only(mode: str, name: str) -> Case:
    """A workdir in which nothing can be made."""

    def attempt(folder: Path) -> None:
        runs.prepare(folder, mode)
        (folder / name).mkdir(exist_ok=True)
        (folder / name).chmod(0o500)
        assert_error(processes.run(folder, "main.py", *runs.flags(folder, mode), before=UNPRIVILEGED), str(folder))
        (folder / name).chmod(0o700)
        runs.assert_goes_on(folder, mode)

    return Case(f"{mode}: {name} is read-only", attempt)


def folder_is_lost(mode: str, moment: tuple[str, int], lost: str, goes_on: Callable[[Path], None]) -> Case:
    """A folder that somebody deletes while it is in use: the mode ends well or with a sentence.

    Args:
      mode: of main.py.
      moment: the function and number of the call in which it is deleted.
      lost: path of the folder in the case's own.
      goes_on: asserts that one can go on.
    """

    def attempt(folder: Path) -> None:
        runs.prepare(folder, mode)
        before = f"at({moment[0]!r}, {moment[1]}, lambda: shutil.rmtree({str(folder / lost)!r}))"
        outcome = processes.run(folder, "main.py", *runs.flags(folder, mode), before=before)
        if outcome.status:
            assert_error(outcome)
        goes_on(folder)

    return Case(f"{mode}: {lost} is deleted while it is in use", attempt)


def two_at_once(mode: str, moment: tuple[str, int]) -> Case:
    """The same command twice: the second is refused, and the first is not disturbed."""

    def attempt(folder: Path) -> None:
        runs.prepare(folder, mode)
        mark = folder / "mark"
        before = f"at({moment[0]!r}, {moment[1]}, lambda: (open({str(mark)!r}, 'w').close(), time.sleep(60)))"
        first = processes.begin(folder, "main.py", *runs.flags(folder, mode), before=before)
        while not mark.exists():
            assert first.poll() is None, first.stderr()
            time.sleep(0.01)
        assert_error(processes.run(folder, "main.py", *runs.flags(folder, mode)), f"process {first.pid} on", "wait for")
        first.send(signal.SIGINT)
        if mode == "train":  # which would take another step first
            time.sleep(0.3)
            first.send(signal.SIGINT)
        assert first.outcome().status == 130
        runs.assert_goes_on(folder, mode)

    return Case(f"{mode}: twice at once", attempt)


def sampled_while_trained(folder: Path) -> None:
    """Samples of a run that goes on training."""
    before = "at('pfgm_jax.training.callbacks.Logger.__call__', 5, lambda: time.sleep(60))"
    training = processes.begin(folder, "main.py", *runs.flags(folder, "train"), before=before)
    while not (folder / "run" / "checkpoints" / "3").is_dir():
        assert training.poll() is None, training.stderr()
        time.sleep(0.01)
    outcome = processes.run(folder, "main.py", *runs.flags(folder, "sample"))
    training.send(signal.SIGKILL)
    assert outcome.status == 0 and "12 samples of step 3" in outcome.told, outcome.told
    assert training.outcome().status == -9
    shutil.rmtree(folder / "run" / "samples")
    runs.assert_goes_on(folder, "train")


def paused(folder: Path) -> None:
    """Ctrl-Z and `fg`, or a machine that sleeps."""
    runs.prepare(folder, "sample")
    before = "at('pfgm_jax.trained_model.TrainedModel.draw', 2, lambda: os.kill(os.getpid(), signal.SIGSTOP))"
    process = processes.begin(folder, "main.py", *runs.flags(folder, "sample"), before=before)
    while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        assert process.poll() is None, process.stderr()
        time.sleep(0.01)
    process.send(signal.SIGCONT)
    assert process.outcome().status == 0
    runs.assert_goes_on(folder, "sample")


def nobody_reads(name: str, mode: str | None, stream: int, begin: Callable[[], list[str]] | None = None) -> Case:
    """What is piped to a program that has ended, as `head`: it ends quietly, as by SIGPIPE."""

    def attempt(folder: Path) -> None:
        before = NOBODY_READS.format(stream)
        if mode is None:
            outcome = processes.run(folder, *(begin() if begin else []), before=before)
            assert outcome.status == 141 and "Traceback" not in outcome.told and "error" not in outcome.told, outcome
            return
        runs.prepare(folder, mode)
        outcome = processes.run(folder, "main.py", *runs.flags(folder, mode), before=before)
        assert outcome.status == 141, outcome
        runs.assert_goes_on(folder, mode)

    return Case(name, attempt)


def closed_streams(folder: Path) -> None:
    """A service without standard streams, whose files must not be taken for them."""
    command = [sys.executable, "main.py", *runs.flags(folder, "train")]
    closed = subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command], timeout=processes.PATIENCE)
    assert closed.returncode == 0
    runs.assert_goes_on(folder, "train")


def while_xla_compiles(folder: Path) -> None:
    """Two Ctrl-C while the main thread is in C++ for long: after the second it ends within two seconds."""
    mark = folder / "mark"
    before = f"""
import jax
jax.config.update("jax_enable_compilation_cache", False)
os.environ.pop("XLA_FLAGS", None)
def twice():
    time.sleep(1)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(1)
    open({str(mark)!r}, "w").close()
    os.kill(os.getpid(), signal.SIGINT)
is_step = lambda _, module, *__, **___: "train_step" in str(module.operation.attributes["sym_name"])
at({moments.COMPILING[0]!r}, 1, lambda: threading.Thread(target=twice).start(), is_step)
"""
    # The U-Net of the config, whose step takes long to compile.
    flags = [flag for flag in runs.flags(folder, "train") if not flag.startswith("--config.model.")]
    outcome = processes.run(folder, "main.py", *flags, before=before)
    assert time.time() - mark.stat().st_mtime < 2
    moments.assert_farewell(outcome, 130, moments.ANYTHING)
    assert "1/8" not in outcome.told


def while_importing(signum: int) -> Case:
    """A signal while JAX is being imported, by a process that is not forked."""

    def attempt(folder: Path) -> None:
        runs.prepare(folder, "sample")
        command = [sys.executable, "main.py", *runs.flags(folder, "sample")]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        maps = Path(f"/proc/{process.pid}/maps")
        while "jaxlib" not in maps.read_text():
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(signum)
        told = process.communicate(timeout=processes.PATIENCE)[1]
        moments.assert_farewell(Outcome(process.returncode, told, ""), 128 + signum, moments.ANYTHING)
        runs.assert_goes_on(folder, "sample")

    return Case(f"sample: {signal.Signals(signum).name} while JAX is imported", attempt)


def converting_on_a_full_disk(folder: Path) -> None:
    """The workdir of a conversion does not appear, and then does."""
    assert_error(convert(folder, FULL_DISK.format(20_000)), "cannot be written")
    assert convert(folder, "").status == 0


def statistics_on_a_full_disk(folder: Path) -> None:
    """Statistics that cannot be kept."""
    assert_error(metrics(folder, FULL_DISK.format(2_000)), "written")
    assert metrics(folder, "").status == 0


def picture_in_no_folder(folder: Path) -> None:
    """A picture that cannot be written."""
    flags = ["info", "--config=configs/digits.py", f"--picture={folder / 'none' / 'data.png'}"]
    assert_error(processes.run(folder, "pfgm_jax.datasets", *flags), "none/data.png")
    assert info(folder, "").status == 0


def cases() -> list[Case]:
    """All of them."""
    samples, run = "run/samples/8-euler", "run"
    trained = lambda folder: runs.assert_goes_on(folder, "train")
    help_flags = lambda: ["pfgm_jax.datasets", "info", "--config=configs/heart.py"]

    def sampled(folder):
        # What is left of the folder has no record, so that nobody knows what made it: it is not touched.
        outcome = processes.run(folder, "main.py", *runs.flags(folder, "sample"))
        assert outcome.status == 0, outcome.told
        made = outcome.told.rstrip().rpartition(" in ")[2]
        runs.assert_same_samples(Path(made))

    def begun_anew(folder):
        shutil.rmtree(folder / "run", ignore_errors=True)
        runs.assert_goes_on(folder, "train")

    return [
        mode_fails("sample", "the disk is full at the first piece", FULL_DISK.format(1_200), "written"),
        mode_fails("eval", "the disk is full at the statistics", FULL_DISK.format(2_000), "written"),
        mode_fails("likelihood", "the disk is full at the first piece", FULL_DISK.format(500), "written"),
        mode_fails("train", "the disk is full at the first checkpoint", FULL_DISK.format(20_000), "free space"),
        Case("convert: the disk is full", converting_on_a_full_disk),
        Case("metrics: the disk is full", statistics_on_a_full_disk),
        Case("info: the picture's folder is missing", picture_in_no_folder),
        folder_read_only("sample", "run"),
        folder_read_only("eval", "run"),
        folder_read_only("train", "run"),
        folder_is_lost("sample", moments.DRAWING, samples, sampled),
        folder_is_lost("sample", moments.PICTURING, samples, sampled),
        folder_is_lost("train", moments.TRAINING, run, begun_anew),
        folder_is_lost("train", moments.TRAINING, "run/tensorboard", trained),
        two_at_once("sample", moments.DRAWING),
        two_at_once("likelihood", moments.MEASURING),
        two_at_once("train", moments.TRAINING),
        Case("sample: from a run that goes on training", sampled_while_trained),
        Case("sample: paused", paused),
        nobody_reads("info: nobody reads what is printed", None, 1, help_flags),
        nobody_reads("sample: nobody reads what is told", "sample", 2),
        nobody_reads("train: nobody reads what is told", "train", 2),
        Case("train: all standard streams are closed", closed_streams),
        Case("train: SIGINT twice while XLA compiles", while_xla_compiles),
        while_importing(signal.SIGINT),
        while_importing(signal.SIGTERM),
    ]
