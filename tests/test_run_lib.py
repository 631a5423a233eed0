"""Runs from end to end, small."""

import json
import shutil

import jax
import numpy as np
import pytest
from PIL import Image

import run_lib
from configs import digits, heart
from pfgm_jax import datasets
from pfgm_jax.errors import InputError, TrainingError


def small_digits(**overrides):
    config = digits.get_config()
    changes = {
        "training.n_iters": 6,
        "training.batch_size": 100,
        "training.small_batch_size": 16,
        "training.log_freq": 2,
        "training.eval_freq": 3,
        "training.snapshot_freq": 6,
        "training.snapshot_freq_for_preemption": 100,
        "training.snapshot_sampling": False,
        "model.name": "mlp",  # which compiles in less time than the U-Net
        "model.nf": 16,
        "model.num_res_blocks": 1,
        "optim.warmup": 2,
    }
    config.update_from_flattened_dict({**changes, **overrides})
    return config


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("runs") / "digits"
    return run_lib.train(small_digits(), workdir), workdir


@pytest.mark.parametrize("interrupted_in", [2, 3, 6])
def test_resumed_training_equals_uninterrupted_bit_for_bit(trained, tmp_path, monkeypatch, interrupted_in):
    config = small_digits(**{"training.snapshot_freq_for_preemption": 1})
    step_batches = datasets.step_batches

    def interrupt(*arguments, **order):
        for step, batch in enumerate(step_batches(*arguments, **order), 1):
            if step == interrupted_in and "place" in order:
                raise KeyboardInterrupt
            yield batch

    with monkeypatch.context() as patch:
        patch.setattr(datasets, "step_batches", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run_lib.train(config, tmp_path)
    assert_same(run_lib.train(config, tmp_path), trained[0])


def test_resumed_training_with_the_field_of_the_data_set_equals_uninterrupted(tmp_path):
    whole = {"training.field_reference": "dataset", "training.field_chunk": 500}
    expected = run_lib.train(small_digits(**whole), tmp_path / "a")
    run_lib.train(small_digits(**whole, **{"training.n_iters": 4}), tmp_path / "b")
    assert_same(run_lib.train(small_digits(**whole), tmp_path / "b"), expected)


def test_running_again_when_done_changes_nothing(trained):
    state, workdir = trained
    before = (workdir / "metrics.jsonl").read_text()
    assert_same(run_lib.train(small_digits(), workdir), state)
    assert (workdir / "metrics.jsonl").read_text() == before


def test_run_leaves_its_config_and_metrics(trained):
    _, workdir = trained
    config = json.loads((workdir / "config.json").read_text())
    assert config["training"]["M"] > 200 and config["sampling"]["z_max"] > 10 and config["data"]["levels"] == 17
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 3, 4, 6]
    assert {"loss", "grad_norm", "steps_per_second", "images_per_second"} <= lines[0].keys()
    assert [line["step"] for line in lines if "held_out_loss" in line] == [3, 6]
    assert list((workdir / "tensorboard").iterdir())


def test_fields_younger_than_a_run_have_their_defaults(trained, tmp_path):
    shutil.copytree(trained[1], tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["model"]["dtype"], config["data"]["dir"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert_same(run_lib.train(small_digits(), tmp_path), trained[0])


def test_lines_beyond_the_checkpoint_are_written_anew(trained, tmp_path):
    shutil.copytree(trained[1], tmp_path, dirs_exist_ok=True)
    lines = (tmp_path / "metrics.jsonl").read_text()
    (tmp_path / "metrics.jsonl").write_text(lines + '{"step": 8, "loss": 1.0}\n{"step": 9, "lo')
    run_lib.train(small_digits(**{"training.n_iters": 8}), tmp_path)
    steps = [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert steps == [2, 3, 4, 6, 8]
    # What is written anew is not lost.
    assert (tmp_path / "metrics.dropped.jsonl").read_text() == '{"step": 8, "loss": 1.0}\n{"step": 9, "lo\n'


def test_a_workdir_whose_checkpoints_are_gone_is_not_begun_anew_unasked(trained, tmp_path):
    shutil.copytree(trained[1], tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "checkpoints")
    before = _contents(tmp_path)
    with pytest.raises(InputError, match="which holds metrics.jsonl of a run but no checkpoints; .*restart=True"):
        run_lib.train(small_digits(), tmp_path)
    assert _contents(tmp_path) == before
    lines = (tmp_path / "metrics.jsonl").read_text()
    assert_same(run_lib.train(small_digits(**{"training.restart": True}), tmp_path), trained[0])
    assert (tmp_path / "metrics.dropped.jsonl").read_text() == lines
    with pytest.raises(InputError, match="training.restart is True, but --workdir is .*, which holds checkpoints"):
        run_lib.train(small_digits(**{"training.restart": True}), tmp_path)
    # It resumes as any other.
    assert_same(run_lib.train(small_digits(), tmp_path), trained[0])


def test_samples_are_saved_as_array_grid_and_files(trained):
    _, workdir = trained
    config = small_digits(
        **{"sampling.num_samples": 10, "sampling.batch_size": 4, "sampling.ode_solver": "euler", "sampling.N": 5}
    )
    folder = run_lib.sample(config, workdir)
    content = np.load(folder / "samples.npz")
    assert content["samples"].shape == (10, 8, 8, 1) and content["samples"].dtype == np.uint8
    assert content["samples"].max() <= 16
    assert content["evaluations"].tolist() == [5] * 10
    for i in range(10):
        pixels = np.asarray(Image.open(folder / f"{i}.png"))
        np.testing.assert_array_equal(pixels, np.round(content["samples"][i, ..., 0] * (255 / 16)))
    grid = np.asarray(Image.open(folder / "grid.png"))
    assert grid.shape == (3 * 36 + 4, 4 * 36 + 4)
    row = grid[36 + 4 + 2, 3 * 36 + 4 : 4 * 36 : 4]
    np.testing.assert_array_equal(row, np.round(content["samples"][7, 0, :, 0] * (255 / 16)))


def test_sampling_needs_no_data(trained, tmp_path, monkeypatch):
    def no_data(*_):
        raise AssertionError("the data were loaded")

    monkeypatch.setattr(datasets, "load_dataset", no_data)
    config = small_digits(**{"sampling.num_samples": 2, "sampling.ode_solver": "euler", "sampling.N": 2})
    run_lib.sample(config, trained[1])


@pytest.mark.slow
def test_vectors_are_learned_by_the_mlp(tmp_path):
    config = heart.get_config()
    rng = np.random.default_rng(0)
    np.save(tmp_path / "own.npy", rng.normal([5, -3], [0.1, 1.0], (2000, 2)))
    config.data.dataset = f"arrays:{tmp_path}/own.npy"
    config.update_from_flattened_dict(
        {
            "training.n_iters": 500,
            "training.small_batch_size": 256,
            "model.nf": 32,
            "model.ema_rate": 0.98,
            "optim.lr": 5e-3,
            "sampling.num_samples": 300,
            "sampling.rtol": 1e-3,
            "sampling.atol": 1e-3,
        }
    )
    run_lib.train(config, tmp_path / "run")
    samples = np.load(run_lib.sample(config, tmp_path / "run") / "samples.npz")["samples"][:, 0, 0]
    # Quantiles, and loosely: so short a training leaves some samples far out.
    np.testing.assert_allclose(np.median(samples, axis=0), [5, -3], atol=0.3)
    quartiles = np.quantile(samples[:, 1], [0.25, 0.75])
    np.testing.assert_allclose(quartiles, -3 + np.array([-0.674, 0.674]), atol=0.6)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(trained, tmp_path):
    shutil.copytree(trained[1], tmp_path, dirs_exist_ok=True)
    more = {"training.n_iters": 9, "training.snapshot_freq_for_preemption": 1}
    with pytest.raises(TrainingError, match=r"of step 7 (is|are) (nan|inf|not finite); training stops"):
        run_lib.train(small_digits(**more, **{"optim.lr": 1e30}), tmp_path)
    recovered = run_lib.train(small_digits(**more), tmp_path)
    assert_same(recovered, run_lib.train(small_digits(**more), tmp_path / "undisturbed"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"data.dataset": "mnist"}, "data.dataset is 'mnist'; choose one of digits"),
        ({"training.sde": "vp"}, "training.sde is 'vp'; choose one of poisson"),
        ({"training.field_reference": "all"}, "training.field_reference is 'all'; choose one of batch, dataset"),
        ({"sampling.ode_solver": "rk4"}, "sampling.ode_solver is 'rk4'; choose one of rk45"),
        (
            {"sampling.schedule": "linear"},
            "sampling.schedule is 'linear'; choose one of log, rho, calibrated, or '' for the sampler's",
        ),
        ({"sampling.rho": 0.0}, "sampling.rho is 0.0; give a number above 0"),
        (
            {"sampling.levels": (1.0, 2.0)},
            r"sampling.levels is \(1.0, 2.0\); give positive numbers, each below the one",
        ),
        (
            {"sampling.levels": (1.0, 1e-4)},
            r"sampling.levels is \(1.0, 0.0001\); the ODE is solved between 16.3661 and 0.001: give levels between",
        ),
        (
            {"sampling.levels": (50.0, 1.0)},
            r"sampling.levels is \(50.0, 1.0\); the ODE is solved between 16.3661 and 0.001",
        ),
        ({"sampling.rtol": -1e-4}, "sampling.rtol is -0.0001; give a number above 0"),
        (
            {"sampling.z_max": 1e-4},
            "sampling.z_max is 0.0001; the ODE ends at sampling.z_min, which is 0.001: give a larger one",
        ),
        ({"training.small_batch_size": 101}, "training.small_batch_size is 101, but training.batch_size is 100"),
        ({"training.batch_size": 2000}, "training.batch_size is 2000, but digits has 1437 training examples"),
        ({"data.image_size": 16}, "data.image_size is 16, but digits has 8; set it to 0 or to that"),
        ({"model.name": "unet"}, "model.name is 'unet'; choose one of ncsnpp, ncsnv2, mlp"),
        (
            {"model.name": "ncsnpp", "model.ch_mult": (1, 1, 1, 1, 1)},
            "need sides divisible by 16, but the images are 8 x 8",
        ),
        ({"model.sigma_end": 50.0}, "model.sigma_end is 50.0; that is too large for data of mean norm"),
        ({"seed": 2**33}, "seed is 8589934592; give an integer of at least 0 and below 2\\^32"),
        ({"model.ch_mult": (1.5, 2)}, r"model.ch_mult is \(1.5, 2\); give a tuple of at least one integer"),
        ({"optim.grad_clip": 0.0}, "optim.grad_clip is 0.0; give a positive number"),
        ({"optim.lr": float("nan")}, "optim.lr is nan; give a number, between"),
        ({"model.dtype": "float16"}, "model.dtype is 'float16'; choose one of float32, bfloat16"),
        ({"model.fir_kernel": (1,)}, r"model.fir_kernel is \(1,\); give a tuple of 2 to 16 numbers"),
        ({"model.progressive": "skip"}, "model.progressive is 'skip'; choose one of none, output_skip, residual"),
        ({"model.sigma_max": 0.001}, "model.sigma_max is 0.001, not above model.sigma_min, which is 0.01"),
        (
            {"data.dataset": "heart", "model.name": "ncsnpp"},
            "model.name is 'ncsnpp', but heart holds vectors; choose model.name 'mlp'",
        ),
    ],
)
def test_refuses_a_bad_config_and_writes_nothing(tmp_path, overrides, message):
    with pytest.raises(InputError, match=message):
        run_lib.train(small_digits(**overrides), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_refuses_a_workdir_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("precious")
    for workdir in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="--workdir is .*, which is a file or lies in one; name a folder"):
            run_lib.train(small_digits(), workdir)
        with pytest.raises(InputError, match="--workdir is .*, which holds no run"):
            run_lib.sample(small_digits(), workdir)
    assert (tmp_path / "file").read_text() == "precious"


def _contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_refuses_a_workdir_of_another_architecture_and_changes_nothing(trained):
    _, workdir = trained
    before = _contents(workdir)
    other = small_digits(**{"model.nf": 8, "model.num_res_blocks": 2})
    for run in (run_lib.train, run_lib.sample):
        with pytest.raises(InputError, match=r"model\.nf is 8, and was 16; model\.num_res_blocks is 2, and was 1"):
            run(other, workdir)
    assert _contents(workdir) == before


def test_refuses_to_sample_what_is_not_there(trained, tmp_path):
    with pytest.raises(InputError, match="which holds no run; train first"):
        run_lib.sample(small_digits(), tmp_path)
    with pytest.raises(InputError, match="there is no checkpoint of step 5 in .*; it holds 6"):
        run_lib.sample(small_digits(**{"sampling.checkpoint": 5}), trained[1])
    for damaged in (b"{", b"{}", b"\xff\xfe"):
        (tmp_path / "config.json").write_bytes(damaged)
        with pytest.raises(InputError, match="config.json is damaged"):
            run_lib.sample(small_digits(), tmp_path)
