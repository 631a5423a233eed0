"""Signals, full disks, and two runs in one workdir, with processes of their own."""

import json
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import run_lib
from pfgm_jax import config_files, locks
from pfgm_jax.errors import WorkdirInUseError
from tests import killing
from tests.killing import FLAGS, start
from tests.test_run_lib import assert_same


def wait_for_step(workdir, step, process):
    """Until metrics of a step are written."""
    metrics = workdir / "metrics.jsonl"
    for _ in range(1200):
        if process.poll() is not None:
            raise AssertionError(process.stderr.read())
        lines = metrics.read_text().splitlines() if metrics.exists() else []
        if lines and json.loads(lines[-1])["step"] >= step:
            return
        time.sleep(0.1)
    raise AssertionError("no step in two minutes")


@pytest.mark.slow
@pytest.mark.parametrize(("signum", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_the_step_and_the_run_goes_on_as_if_there_had_been_none(tmp_path, signum, status):
    process = start(tmp_path / "run", "--config.training.n_iters=1000000")
    wait_for_step(tmp_path / "run", 10, process)
    process.send_signal(signum)
    told = process.communicate(timeout=60)[1]
    assert process.returncode == status
    assert "Traceback" not in told and "is saved. To resume, run the same command again" in told
    (step,) = (int(p.name) for p in (tmp_path / "run" / "checkpoints").iterdir() if p.name.isdigit())
    assert step >= 10 and f"step {step} is saved" in told
    last = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[-1])
    assert last["level"] == "warning" and f"step {step} is saved" in last["message"]
    if signum == signal.SIGINT:
        return
    config = config_files.read(tmp_path / "run")
    config.training.n_iters = step + 2
    resumed = run_lib.train(config, tmp_path / "run")
    assert_same(resumed, run_lib.train(config, tmp_path / "undisturbed"))


def test_a_second_interrupt_ends_at_once():
    program = (
        "import os, signal, time\nfrom pfgm_jax import interruption\n"
        "with interruption.stop_requests() as request:\n"
        "    os.kill(os.getpid(), signal.SIGTERM); os.kill(os.getpid(), signal.SIGTERM)\n"
        "    while request.signal is None: time.sleep(0.01)\n"
        "    assert request.exit_status == 143\n"
        "    os.kill(os.getpid(), signal.SIGINT); time.sleep(60)"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=50).returncode == 130


def test_a_second_interrupt_ends_at_once_also_within_c_code():
    """Where the main thread runs no Python for a minute, as while XLA compiles."""
    program = (
        "import hashlib, os, signal, threading, time\nfrom pfgm_jax import interruption\n"
        "def interrupt():\n"
        "    time.sleep(0.5); os.kill(os.getpid(), signal.SIGINT)\n"
        "    time.sleep(0.5); os.kill(os.getpid(), signal.SIGINT)\n"
        "with interruption.stop_requests(), interruption.saving(lambda: 'a thing is saved'):\n"
        "    threading.Thread(target=interrupt).start()\n"
        "    hashlib.pbkdf2_hmac('sha256', b'', b'', 200_000_000)"
    )
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert time.monotonic() - begun < 1 + 2 + 2  # the signals, the bound, and the start of Python
    assert done.returncode == 130
    assert done.stderr == "\nAsked to stop; a thing is saved. To resume, run the same command again\n"


@pytest.mark.slow
def test_two_runs_do_not_write_in_one_workdir(tmp_path):
    process = start(tmp_path, "--config.training.n_iters=1000000")
    wait_for_step(tmp_path, 2, process)
    with pytest.raises(WorkdirInUseError, match=rf"process {process.pid} on .*, since .*, is writing in .*; wait"):
        run_lib.train(config_files.read(tmp_path), tmp_path)
    process.kill()
    process.communicate()
    with locks.only_writer(tmp_path):  # the dead hold no locks
        pass


@pytest.mark.slow
def test_a_kill_at_a_random_moment_changes_nothing(tmp_path):
    """Of training; `make soak` has a hundred, of evaluation too, and tests/hostile kills evaluations."""
    print(killing.kill_and_finish(tmp_path, kills=1, kinds=[killing.Training]))


@pytest.mark.slow
def test_a_full_disk_stops_with_one_sentence_and_the_run_resumes(tmp_path):
    """Files may not grow beyond 20 KB, as on a full disk; a checkpoint's are larger, but not metrics."""
    limit = "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); sys.argv = "
    run = f"{limit}{['main.py', *FLAGS, f'--workdir={tmp_path}', '--config.training.n_iters=6']!r}; "
    run += "runpy.run_path('main.py', run_name='__main__')"
    result = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, timeout=300)
    assert result.returncode == 1
    (sentence,) = re.findall("error: a checkpoint cannot be written to .*", result.stderr)
    assert sentence.endswith("free space there, and run the same command again")
    config = config_files.read(tmp_path)
    assert int(run_lib.train(config, tmp_path).step) == 6
    assert np.isfinite(json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[-1])["loss"])
