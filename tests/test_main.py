"""The command line: exit status and the one sentence of each error."""

import subprocess
import sys

from tests.command_lines import outcomes


def _run(*arguments):
    return subprocess.run([sys.executable, "main.py", *arguments], capture_output=True, text=True, timeout=300)


REFUSED = [
    (["--mode", "train"], "flag --config=None: Flag --config must have a value"),
    (
        ["--mode", "trian", "--config", "configs/digits.py"],
        "flag --mode=trian: value should be one of <train|sample|eval|likelihood|restore|reflow>",
    ),
    (
        ["--mode", "train", "--config", "configs/none.py"],
        "--config is configs/none.py, and there is no such file; give the path of one, or one of celeba,",
    ),
    (
        ["--mode", "train", "--config", "configs/digits.py", "--config.training.batchsize=3"],
        "training.batchsize is not a field of the config: did you mean training.batch_size?",
    ),
    (
        ["--mode", "train", "--config", "configs/digits.py", "--config.optim.lr=fast"],
        "optim.lr is 'fast'; give a number, between",
    ),
    (
        ["--mode", "train", "--config", "configs/digits.py", "--config.optim.lr=-1"],
        "optim.lr is -1.0; give a number above 0",
    ),
    (
        ["--mode", "sample", "--config", "configs/digits.py", "--workdir", "/nowhere"],
        "--workdir is /nowhere, which holds no run; train first, with --mode train",
    ),
    (
        ["--mode", "train", "--config", "configs/digits.py", "--workdir", "/proc/run"],
        "--workdir is /proc/run, which cannot be made (",
    ),
]


def test_errors_are_one_sentence_and_status_one():
    for (arguments, message), (status, told) in zip(
        REFUSED, outcomes("main.py", [arguments for arguments, _ in REFUSED]), strict=True
    ):
        assert status == 1, (arguments, told)
        assert told.startswith(f"error: {message}") and told.count("\n") == 1, told


def test_trains_and_samples_from_the_command_line(tmp_path):
    small = ["--config", "configs/heart.py", "--workdir", str(tmp_path)]
    for field in ("training.n_iters=5", "model.nf=8", "sampling.num_samples=7", "sampling.ode_solver=euler"):
        small.append(f"--config.{field}")
    for mode, told in (("train", "M = 233, z_max = 7.817"), ("sample", "7 samples of step 5")):
        result = _run("--mode", mode, *small)
        assert result.returncode == 0 and told in result.stderr, result.stderr
    assert (tmp_path / "samples" / "5-euler" / "samples.npz").exists()
