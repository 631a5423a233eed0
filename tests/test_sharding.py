"""One device, several, and several processes: the same training."""

import functools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import filelock
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import run_lib
from pfgm_jax import config_files, models, sharding
from pfgm_jax.charges import Charges
from pfgm_jax.checkpoints import Checkpoints
from pfgm_jax.context import NO_CONTEXT
from pfgm_jax.datasets import Scaling
from pfgm_jax.errors import InputError, PfgmError
from pfgm_jax.loading import load_params
from pfgm_jax.methods import Poisson, TrainingPair
from pfgm_jax.sharding import Devices
from pfgm_jax.training import losses
from tests.compiling import QUICKLY
from tests.killing import FLAGS, steps_of
from tests.test_interruption import wait_for_step
from tests.test_run_lib import small_digits
from tests.train_on_devices import config_of

# Relative bound for losses and absolute one for parameters (of order 1) after six steps; 2e-7 and 8e-8 were measured.
BOUND = 1e-6


def environment(devices, **more):
    flags = f"--xla_force_host_platform_device_count={devices} {QUICKLY}"
    return {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", **more}


def start_processes(*command, count=2, devices=2):
    """Processes of one run, on this machine."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    members = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": str(count)}
    return [
        subprocess.Popen(
            [sys.executable, *command],
            env=environment(devices, **members, JAX_PROCESS_ID=str(i)),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(count)
    ]


def finish(processes, timeout=300):
    """What each process wrote to standard error."""
    told = [process.communicate(timeout=timeout)[1] for process in processes]
    for process in processes:
        assert process.returncode == 0, "\n".join(told)
    return told


def result_of(workdir):
    """Losses, held-out losses, averaged parameters, the last of them read on the one device here."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
        ema_params, step = checkpoints.restore_ema()
    assert step == lines[-1]["step"]
    return [line["loss"] for line in lines], [x["held_out_loss"] for x in lines if "held_out_loss" in x], ema_params


def assert_close(result, expected):
    for numbers, of_expected in zip(result[:2], expected[:2], strict=True):
        np.testing.assert_allclose(numbers, of_expected, rtol=BOUND)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=0, atol=BOUND), result[2], expected[2])


@pytest.fixture(scope="module")
def on_devices(shared_folder):
    """Runs on 1 and 8 devices of one process, and the collectives of their steps on 8; made once."""
    folder, collectives = shared_folder / "devices", shared_folder / "collectives.json"
    with filelock.FileLock(shared_folder / "devices.lock"):
        if not collectives.exists():
            command = [sys.executable, "-m", "tests.train_on_devices", str(folder), "1", "8"]
            done = subprocess.run(command, env=environment(8), capture_output=True, text=True, timeout=600)
            assert done.returncode == 0, done.stderr
            collectives.write_text(done.stdout)
    return folder, [json.loads(line) for line in collectives.read_text().splitlines()]


# Those that are not here are trained on 4 devices by two processes, below.
@pytest.mark.slow
@pytest.mark.parametrize(("charges", "devices"), [("batch", "118"), ("dataset", "118"), ("labels", "18")])
def test_training_does_not_depend_on_devices_or_microbatches(on_devices, charges, devices):
    folder, _ = on_devices
    expected = result_of(folder / f"1-{charges}-1")
    runs = sorted(folder.glob(f"*-{charges}-*"))
    assert [run.name[0] for run in runs] == [*devices]
    for run in runs:
        assert_close(result_of(run), expected)


def test_what_several_devices_saved_is_continued_on_one(on_devices, tmp_path):
    folder, _ = on_devices
    config = config_of("batch", 1)
    config.training.n_iters = 8
    ends = []
    for devices in (1, 8):
        run = shutil.copytree(folder / f"{devices}-batch-1", tmp_path / str(devices))
        ends.append(run_lib.train(config, run))
    assert int(ends[0].step) == int(ends[1].step) == 8
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=0, atol=BOUND), ends[1].params, ends[0].params)


def test_a_step_gathers_charges_once_and_sums_gradients_once(on_devices):
    _, compiled = on_devices
    assert [case[:2] for case in compiled] == [
        ["batch", 1],
        ["batch", 2],
        ["dataset", 1],
        ["dataset", 2],
        ["kernel", 1],
        ["labels", 1],
    ]
    for charges, _, found in compiled:
        rows, parameters = found.pop("rows"), found.pop("parameters")
        # Of the average and of Adam's two moments a device holds an eighth, but for arrays too small for it, and 3
        # counts of steps besides.
        spread, held = found.pop("spread"), found.pop("held")
        assert spread > 0.8 * parameters and held == 4 * parameters - 3 * spread * 7 // 8 + 3
        # Of gradients a device gets an eighth, but for small arrays. With those go the loss, the request to stop and,
        # for the gradient's norm, that of a device's part of each array: once to limit it and once to log it. The noise
        # of a kernel is drawn until no device rejects any, of which they tell each other in one number.
        *others, gradients = sorted(found.pop("all-reduce"))
        assert gradients == parameters - spread + 2 + 2 * found.pop("arrays")
        assert set(others) <= ({1} if charges == "kernel" else set())
        assert sum(found.pop("reduce-scatter")) == spread // 8
        gathered = found.pop("all-gather")
        if charges == "batch":
            expected = [rows * 64]
        elif charges == "labels":
            # With the examples go their labels and the numbers of these.
            expected = [rows, rows, rows * 64]
        else:
            # Charges stay where they are: perturbed points and their z are gathered, and fields of parts exchanged;
            # with labels the numbers of these, too.
            assert found.pop("all-to-all") == [rows * (2 * 64 + 3)]
            numbers = [rows] if charges == "kernel" else []
            expected = [rows, *numbers, rows * 64]
        for size in expected:
            gathered.remove(size)
        # Every device needs the new parameters, of which each computes those whose moments it holds.
        assert found == {} and sum(gathered) == spread


def test_training_by_two_processes_is_that_of_one(on_devices, tmp_path):
    folder, _ = on_devices
    finish(start_processes("-m", "tests.train_on_devices", str(tmp_path), "4"))
    runs = sorted(tmp_path.iterdir())
    assert [run.name for run in runs] == ["4-batch-2", "4-dataset-1", "4-kernel-1"]
    for run in runs:
        assert_close(result_of(run), result_of(folder / f"1-{run.name.split('-')[1]}-1"))
    config = config_of("batch", 2)
    config.training.n_iters = 8
    assert int(run_lib.train(config, tmp_path / "4-batch-2").step) == 8  # on one device, by one process


@pytest.mark.slow
def test_processes_stop_at_the_same_step_and_agree_on_what_is_damaged(tmp_path):
    command = ["main.py", *FLAGS, f"--workdir={tmp_path}"]
    processes = start_processes(*command, "--config.training.n_iters=1000000")
    wait_for_step(tmp_path, 4, processes[0])
    processes[1].send_signal(signal.SIGTERM)
    told = [process.communicate(timeout=100)[1] for process in processes]
    assert [process.returncode for process in processes] == [143, 143], "\n".join(told)
    (step,) = (int(path.name) for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit())
    assert f"step {step} is saved" in told[0] and "Traceback" not in "".join(told)

    flags = [f"--config.training.n_iters={step + 4}", "--config.training.snapshot_freq_for_preemption=2"]
    finish(start_processes(*command, *flags))
    kept = sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir() if path.name.isdigit())
    assert kept[-1] == step + 4
    (damaged,) = (tmp_path / "checkpoints" / str(step + 4) / "state").glob("manifest.ocdbt")
    damaged.write_bytes(damaged.read_bytes()[:-1])
    told = finish(start_processes(*command, *flags))
    assert f"The checkpoint of step {step + 4} is damaged (its file" in told[0]
    assert f"Resuming after step {kept[-2]}" in told[0]
    config = config_files.read(tmp_path)
    run_lib.train(config, tmp_path.parent / "alone")
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=0, atol=1e-5),
        load_params(tmp_path)[0],
        load_params(tmp_path.parent / "alone")[0],
    )


@pytest.mark.slow
def test_when_a_process_is_killed_the_other_ends_and_the_run_resumes(tmp_path):
    command = ["main.py", *FLAGS, "--config.training.snapshot_freq_for_preemption=3"]
    processes = start_processes(*command, f"--workdir={tmp_path / 'run'}", "--config.training.n_iters=1000000")
    wait_for_step(tmp_path / "run", 6, processes[0])
    # The line of step 6 may be there before the checkpoint of step 3, which is written in the background.
    deadline = time.monotonic() + 60
    while not steps_of(tmp_path / "run"):
        assert processes[0].poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    processes[1].kill()
    killed_at = time.monotonic()
    processes[0].communicate(timeout=60)
    assert processes[0].returncode != 0 and time.monotonic() - killed_at < 60
    processes[1].communicate()
    last = max(int(path.name) for path in (tmp_path / "run" / "checkpoints").iterdir() if path.name.isdigit())
    flag = f"--config.training.n_iters={last + 3}"
    told = finish(start_processes(*command, f"--workdir={tmp_path / 'run'}", flag))
    assert f"Resuming after step {last}" in told[0]
    finish(start_processes(*command, f"--workdir={tmp_path / 'undisturbed'}", flag))
    resumed, undisturbed = (load_params(tmp_path / name)[0] for name in ("run", "undisturbed"))
    jax.tree.map(np.testing.assert_array_equal, resumed, undisturbed)


def test_the_step_is_traced_once(tmp_path, caplog):
    with jax.log_compiles(), caplog.at_level("WARNING"):
        run_lib.train(small_digits(**{"training.snapshot_freq_for_preemption": 2}), tmp_path)
    compiled = [r.getMessage() for r in caplog.records if r.getMessage().startswith("Compiling jit(train_step)")]
    assert len(compiled) == 1


def test_dropout_of_an_example_does_not_depend_on_microbatches():
    config = config_of("batch", 1)
    changes = {"model.name": "ncsnpp", "model.nf": 8, "model.ch_mult": (1,), "model.dropout": 0.5}
    config.update_from_flattened_dict({**changes, "data.image_size": 8, "data.num_channels": 1})
    model, method = models.create_model(config), Poisson(shape=(8, 8, 1))
    x = jax.random.normal(jax.random.key(0), (8, 8, 8, 1))
    params = model.init(jax.random.key(1), x, jnp.ones(8))["params"]
    params = jax.tree.map(lambda p: p + 0.1, params)  # the last kernels of blocks start at zero
    pair = TrainingPair(x, jnp.ones(8), NO_CONTEXT, jnp.zeros((8, 65)), jnp.ones(8), jnp.ones(8))
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(2), jnp.arange(8))
    charges = Charges("batch", 8, 8, Scaling(17), Devices.all())
    loss = jax.jit(losses.Objective(method, model, charges).sum_of_losses)
    part = lambda i: jax.tree.map(lambda a: a[i : i + 2], (pair, keys))
    whole = loss(params, pair, keys)
    np.testing.assert_allclose(sum(loss(params, *part(i)) for i in (0, 2, 4, 6)), whole, rtol=1e-5)
    assert abs(loss(params, pair, keys[::-1]) - whole) > 1e-3 * whole


def test_refuses_processes_that_nobody_knows(monkeypatch):
    monkeypatch.setenv("JAX_NUM_PROCESSES", "two")
    with pytest.raises(InputError, match="the processes of this run cannot be connected .* JAX_COORDINATOR_ADDRESS"):
        sharding.start_processes(multihost=True)


def test_what_the_first_process_raises_is_raised():
    def refuse():
        raise PfgmError("no")

    with pytest.raises(PfgmError, match="no"):
        sharding.on_first_process(refuse)
    assert sharding.on_first_process(lambda: 3) == 3


def test_rows_are_shared_out_whole_and_in_order():
    shared = Devices.all().share_out(np.arange(10).reshape(5, 2))
    np.testing.assert_array_equal(shared.rows, np.arange(10).reshape(5, 2))
    assert shared.index.tolist() == [0, 1, 2, 3, 4] and shared.count.tolist() == [5]
