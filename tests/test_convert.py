"""Checkpoints of the authors' release: the outputs of their networks, and what is refused."""

import importlib
import json
import pickle
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import jax
import ml_collections
import numpy as np
import pytest

import run_lib
from configs import default
from pfgm_jax import convert, models
from pfgm_jax.checkpoints import Checkpoints
from pfgm_jax.convert.tensors import network_tensors
from pfgm_jax.errors import InputError
from pfgm_jax.torch_file import read_torch_file
from tests import torch_format

RELEASE = "tests/fixtures/release"
VARIANTS = np.load(f"{RELEASE}/variants.npz")


def config_of(name: str) -> ml_collections.ConfigDict:
    """Our defaults under the config with which a checkpoint of the release was written."""
    config = default.get_config()
    config.update(json.loads(Path(RELEASE, f"{name}.config.json").read_text()))
    return config


def small_config(**overrides) -> ml_collections.ConfigDict:
    config = default.get_config()
    small = {
        "data.image_size": 16,
        "data.num_channels": 3,
        "data.levels": 256,
        "model.dropout": 0.0,
        "training.M": 291.0,
    }
    config.update_from_flattened_dict({**small, **overrides})
    return config


def their_shapes(config) -> dict[str, tuple[int, ...]]:
    return {tensor.name: tensor.shape_of_theirs for tensor in network_tensors(config)}


def their_weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The weight that the recorded variants have under a name."""
    normal = np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape).astype(np.float32)
    if len(shape) > 1:
        return (normal / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
    if name.endswith(".W"):
        return (3 * normal).astype(np.float32)
    offset = 1 if "GroupNorm" in name and name.endswith("weight") else 0
    return (offset + 0.1 * normal).astype(np.float32)


def outputs(config, params, x, cond) -> np.ndarray:
    apply = jax.jit(models.create_model(config).apply)
    return np.array(apply({"params": params}, x.transpose(0, 2, 3, 1), cond)).transpose(0, 3, 1, 2)


leaves = jax.tree_util.tree_leaves_with_path


def relative_error(ours, recorded) -> float:
    return np.abs(ours - recorded).max() / np.abs(recorded).max()


@pytest.mark.parametrize("name", ["a_ddpmpp", "b_ncsnpp", "c_ddpm_resblock", "v_ve_ncsnpp"])
def test_converted_networks_answer_as_the_release(name):
    config, record = config_of(name), np.load(f"{RELEASE}/{name}.npz")
    params, ema_params, step = convert.convert_checkpoint(f"{RELEASE}/{name}.pth", config)
    assert step == 20
    cond = record["cond_z_or_t"]
    if config.training.sde == "vesde":
        cond = (config.model.sigma_min * (config.model.sigma_max / config.model.sigma_min) ** cond).astype(np.float32)
    for kind, tree in (("raw", params), ("ema", ema_params)):
        out = outputs(config, tree, record["x"], cond)
        if config.training.sde == "vesde":
            assert relative_error(out, record[f"{kind}/out"]) < 2e-5
        else:
            assert relative_error(out[:, :-1], record[f"{kind}/out_x"]) < 2e-5
            assert relative_error(out[:, -1].mean((1, 2)), record[f"{kind}/out_z"]) < 2e-5


@pytest.mark.parametrize("variant", sorted({name.split("/")[0] for name in VARIANTS.files}))
def test_other_options_answer_as_the_release_with_what_is_broken_there_mended(variant, tmp_path):
    """Recorded by running the release's network on weights that their names decide.

    Mended were: heads of `output_skip` with the extra channel, the flipped kernel of the filtered transposed
    convolution, the arguments of nearest-neighbour interpolation, and the type of labels.
    """
    record = {key: VARIANTS[f"{variant}/{key}"] for key in ("overrides", "x", "cond", "out", "order")}
    overrides = {k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(str(record["overrides"])).items()}
    config = small_config(**overrides)
    shapes = their_shapes(config)
    order = record["order"].tolist()
    assert [name for name in shapes if name in order] == order
    tensors = {name: their_weight(name, shape) for name, shape in shapes.items()}
    path = torch_format.write(tmp_path / "c.pth", torch_format.checkpoint(tensors, order=order))
    params, ema_params, _ = convert.convert_checkpoint(path, config)
    for (at, weight), (_, average) in zip(leaves(params), leaves(ema_params), strict=True):
        np.testing.assert_array_equal(average, weight if "frequencies" in str(at) else weight / 2)
    out = outputs(config, params, record["x"], record["cond"])
    if config.training.sde == "poisson":  # of the extra channel they keep the mean
        out[:, -1] = out[:, -1].mean((1, 2), keepdims=True)
    assert relative_error(out, record["out"]) < 2e-5


@pytest.mark.parametrize(
    ("stem", "trainable"),
    [
        ("cifar10", 61_805_572),
        ("cifar10_deep", 106_633_732),
        ("cifar10_ncsnpp", 62_759_940),
        ("celeba", 61_805_572),
        ("lsun_bedroom", 124_076_292),
    ],
)
def test_full_size_networks_have_the_parameters_of_the_release(stem, trainable):
    config = importlib.import_module(f"configs.{stem}").get_config()
    tensors = network_tensors(config)
    assert sum(np.prod(t.shape) for t in tensors if t.trainable) == trainable
    recorded = {"cifar10": "cifar10_ddpmpp", "cifar10_ncsnpp": "cifar10_ncsnpp"}.get(stem)
    if recorded:
        record = json.loads(Path(RELEASE, f"fullsize_{recorded}.json").read_text())
        theirs = {name: tuple(shape) for name, shape in record["state_dict"].items() if name != "module.sigmas"}
        assert {t.name: t.shape_of_theirs for t in tensors} == theirs
        assert [t.name for t in tensors if t.trainable] == record["parameters_in_ema_order"]


# One small network, and checkpoints of it that are not as they should be.

SMALL = {
    "model.nf": 8,
    "model.ch_mult": (1,),
    "model.num_res_blocks": 1,
    "model.attn_resolutions": (),
    "model.embedding_type": "fourier",
    "training.batch_size": 64,
    "training.small_batch_size": 8,
    "data.dataset": "digits",
    "data.image_size": 8,
    "data.num_channels": 1,
    "data.levels": 17,
    "data.uniform_dequantization": True,
    "data.random_flip": False,
    "sampling.z_max": 17.0,
    "sampling.upper_norm": 170.0,
}


@pytest.fixture
def small():
    """The config of a small network, and its tensors as the release names them."""
    config = small_config(**SMALL)
    return config, {name: their_weight(name, shape) for name, shape in their_shapes(config).items()}


class Malicious:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return __import__("os").system, (f"touch {self.marker}",)


def archive_of(path, pickled: bytes):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
    return path


def refusal(path, config, tmp_path) -> str:
    workdir = tmp_path / "run"
    with pytest.raises(InputError) as caught:
        convert.convert_to_workdir(path, config, workdir)
    assert not workdir.exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("protocol", range(6))
def test_code_in_a_file_is_refused_and_not_executed(small, tmp_path, protocol):
    marker = tmp_path / "executed"
    path = archive_of(tmp_path / "c.pth", pickle.dumps({"model": Malicious(marker)}, protocol))
    message = refusal(path, small[0], tmp_path)
    assert message.endswith("; nothing in it was executed")
    if protocol >= 2:
        assert "is refused: it asks for posix.system, which no checkpoint needs" in message
    assert not marker.exists()


def deep(depth: int) -> bytes:
    """A tuple in a tuple in a tuple ..., as the key of a dictionary: hashing it would overflow the C stack."""
    return b"\x80\x02})" + b"\x85" * depth + b"K\x01s."


@pytest.mark.parametrize(
    ("pickled", "message"),
    [
        (b"cbuiltins\neval\n(S'1'\ntR.", "is refused: it asks for builtins.eval"),
        (
            b"ctorch\n_utils._rebuild_tensor_v2.__globals__\n.",
            "is refused: it asks for torch._utils._rebuild_tensor_v2.",
        ),
        (b"\x80\x04\x8c\x05torch\x8c\x04load\x93.", "is refused: it asks for torch.load"),
        (b"cnumpy\ndtype\n(X\x02\x00\x00\x00O8tR.", "is refused: it holds a NumPy scalar of the type 'O8'"),
        (b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x05\x00\x00\x00rot13tR.", "is refused: it holds bytes in the encod"),
        (b"ctorch._utils\n_rebuild_tensor_v2\nN}\x86b.", "is refused: it changes what is no dictionary"),
        (b"ctorch\nFloatStorage\n)R.", "is refused: it calls what is not a function of checkpoints"),
        (b"cos\n\x1b[31msystem\n.", "it asks for os.?[31msystem"),
        (deep(100_000), "is refused: it has dictionaries whose keys are neither text nor integers"),
        (b"\x80\x02K\x01.garbage", "is not a checkpoint of the release"),
        (b"\x80\x02K\x01", "pickle exhausted before seeing STOP"),
        (b"j\xff\xff\xff\xff.", "cannot be read"),
    ],
)
def test_programs_that_no_checkpoint_needs_are_refused(small, tmp_path, pickled, message):
    assert message in refusal(archive_of(tmp_path / "c.pth", pickled), small[0], tmp_path)


@pytest.mark.parametrize(
    ("storage", "offset", "shape", "stride"),
    [
        (None, 0, (10**9, 10**9), (0, 0)),  # expanded without end
        (None, 0, (10**6,), (1,)),
        (None, 10**9, (1,), (1,)),
        (np.zeros((10**6, 0), np.float32), 0, (10**6,), (1,)),  # a tensor in the place of a storage
        (None, 0, (2.5,), (1,)),
        (None, 0, (-3,), (1,)),
    ],
)
def test_tensors_beyond_their_storage_are_refused(small, tmp_path, storage, offset, shape, stride):
    config, tensors = small

    class Forged(torch_format.Pickler):
        def reducer_override(self, obj):
            reduced = super().reducer_override(obj)
            if isinstance(obj, np.ndarray) and obj.ndim == 1:
                place = reduced[1][0] if storage is None else storage
                return reduced[0], (place, offset, shape, stride, False, None)
            return reduced

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch_format, "Pickler", Forged)
        path = torch_format.write(tmp_path / "c.pth", torch_format.checkpoint(tensors))
    assert "cannot be read" in refusal(path, config, tmp_path)


def test_archives_that_would_fill_the_memory_are_refused(small, tmp_path):
    path = tmp_path / "c.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + b"N0" * 1_000_000 + b"N.")
    assert "its part archive/data.pkl is compressed or larger than" in refusal(path, small[0], tmp_path)


def test_damaged_files_are_refused(small, tmp_path):
    config, tensors = small
    path = torch_format.write(tmp_path / "c.pth", torch_format.checkpoint(tensors))
    whole = path.read_bytes()
    for cut in (10, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:cut])
        assert "cannot be read" in refusal(path, config, tmp_path)
    altered = bytearray(whole)
    altered[whole.index(tensors["module.all_modules.1.weight"].tobytes()[:64]) + 5] ^= 1
    path.write_bytes(altered)
    assert "cannot be read (Bad CRC-32" in refusal(path, config, tmp_path)
    path.write_bytes(pickle.dumps({"model": {}}))
    assert "it should be a file that torch.save wrote" in refusal(path, config, tmp_path)
    assert "does not exist; give the path" in refusal(tmp_path / "none.pth", config, tmp_path)


def test_what_is_no_checkpoint_of_the_release_is_refused(small, tmp_path):
    whole = torch_format.checkpoint(small[1])
    for content in (
        {"model": {}, "step": 3},
        [1, 2],
        np.zeros(3, np.float32),
        {**whole, "model": 1},
        {**whole, "ema": np.zeros(3, np.float32)},
        {**whole, "step": 1.7},
        {**whole, "step": True},
        {**whole, "step": -3},
        {**whole, "step": 2**40},
        {**whole, "model": {3: 4}},
        {**whole, "optimizer": {"state": {"a": {}}}},
    ):
        path = torch_format.write(tmp_path / "c.pth", content)
        assert "is not a checkpoint of the release" in refusal(path, small[0], tmp_path)


def test_noise_levels_other_than_the_config_s_are_refused(tmp_path):
    config = config_of("v_ve_ncsnpp")
    config.model.sigma_max = 90.0
    with pytest.raises(InputError, match="has 1000 noise levels from 50 to 0.01, and the config 1000 from 90 to 0.01"):
        convert.convert_checkpoint(f"{RELEASE}/v_ve_ncsnpp.pth", config)


def test_networks_that_cannot_be_are_refused(tmp_path):
    path = f"{RELEASE}/c_ddpm_resblock.pth"
    for field, value, message in (
        ("model.resblock_type", "BigGAN", "model.resblock_type is 'BigGAN'; choose one of biggan, ddpm"),
        ("model.nonlinearity", "gelu", "model.nonlinearity is 'gelu'; choose one of swish"),
        ("data.image_size", 15, "need sides divisible by 2, but the images are 15 x 15"),
        ("data.num_channels", 0, "data.num_channels is 0"),
        ("training.sde", "flow", "training.sde is 'flow'; choose one of poisson, vesde"),
    ):
        config = config_of("c_ddpm_resblock")
        config.update_from_flattened_dict({field: value})
        with pytest.raises(InputError, match=message):
            convert.convert_checkpoint(path, config)
    plain = ml_collections.ConfigDict(json.loads(Path(f"{RELEASE}/c_ddpm_resblock.config.json").read_text()))
    convert.convert_checkpoint(path, plain)
    with pytest.raises(InputError, match="data.levels is missing from the config; begin with configs/default.py"):
        convert.convert_to_workdir(Path(path), plain, tmp_path / "run")


def test_tensors_of_another_network_are_named(small, tmp_path):
    config, tensors = small
    name = "module.all_modules.4.Conv_0.weight"

    def refused(changed, **replaced):
        content = {**torch_format.checkpoint(changed), **replaced}
        return refusal(torch_format.write(tmp_path / "c.pth", content), config, tmp_path)

    lacking = {k: v for k, v in tensors.items() if k != name}
    assert f"it lacks {name} (1 tensors)" in refused(lacking)
    assert "it has also module.all_modules.99.bias (1 tensors)" in refused(
        {**tensors, "module.all_modules.99.bias": np.zeros(3, np.float32)}
    )
    assert f"{name} has shape (8, 8, 3, 1) and not (8, 8, 3, 3)" in refused({**tensors, name: tensors[name][..., :1]})
    text = torch_format.checkpoint(tensors)["ema"]
    assert f"{name} has shape none" in refused(tensors, model={**tensors, name: "text"}, ema=text)
    shadow = torch_format.checkpoint(tensors)["ema"]["shadow_params"]
    assert "has averages of" in refused(tensors, ema={"shadow_params": shadow[1:]})
    swapped = [*shadow[:-2], shadow[-1], shadow[-2]]
    assert "average of module.all_modules" in refused(tensors, ema={"shadow_params": swapped})


def test_other_models_and_existing_runs_are_refused(small, tmp_path):
    config, tensors = small
    path = torch_format.write(tmp_path / "c.pth", torch_format.checkpoint(tensors))
    config.model.name = "ncsnv2"
    assert "model.name is 'ncsnv2'; the release has only checkpoints of 'ncsnpp'" in refusal(path, config, tmp_path)
    config.model.name = "ncsnpp"
    convert.convert_to_workdir(path, config, tmp_path / "first")
    with pytest.raises(InputError, match="which is a file or not empty; name a new folder"):
        convert.convert_to_workdir(path, config, tmp_path / "first")


def test_tensors_without_the_prefix_of_several_gpus_convert(small, tmp_path):
    config, tensors = small
    bare = {name.removeprefix("module."): array for name, array in tensors.items()}
    content = torch_format.checkpoint(tensors)
    a = convert.convert_checkpoint(torch_format.write(tmp_path / "a.pth", content), config)
    b = convert.convert_checkpoint(torch_format.write(tmp_path / "b.pth", {**content, "model": bare}), config)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_moments_of_trained_tensors_may_not_be_missing(small, tmp_path):
    config, tensors = small
    content = torch_format.checkpoint(tensors)
    first = next(iter(tensors.values()))
    content["optimizer"] = {"state": {0: {"step": 7, "exp_avg": first, "exp_avg_sq": first}}}
    path = torch_format.write(tmp_path / "c.pth", content)
    assert "exp_avg of module.all_modules.1.weight has shape none" in refusal(path, config, tmp_path)


def test_a_converted_run_goes_on_with_the_moments_of_adam(tmp_path):
    config = config_of("a_ddpmpp")
    config.data.levels = 256
    state = convert.convert_to_workdir(path := Path(RELEASE) / "a_ddpmpp.pth", config, tmp_path / "run")
    content = read_torch_file(path)
    moments = content["optimizer"]["state"]
    adam = next(
        part for part in jax.tree.leaves(state.opt_state, is_leaf=lambda p: hasattr(p, "mu")) if hasattr(part, "mu")
    )
    assert int(state.step) == int(adam.count) == int(moments[0]["step"]) == 20
    names = [name for name in content["model"] if name != "module.sigmas"]
    for tree, moment in ((adam.mu, "exp_avg"), (adam.nu, "exp_avg_sq")):
        at = names.index("module.all_modules.3.Conv_1.weight")
        ours = np.asarray(tree["down_0_block_0"]["conv_1"]["kernel"])
        np.testing.assert_array_equal(ours.transpose(3, 2, 0, 1), moments[at][moment])
    with Checkpoints(tmp_path / "run" / "checkpoints", read_only=True) as checkpoints:
        restored = checkpoints.restore(state)
    jax.tree.map(np.testing.assert_array_equal, restored, state)


def test_command_line_writes_a_workdir_that_samples_and_trains(small, tmp_path):
    config, tensors = small
    config.update_from_flattened_dict(
        {"training.n_iters": 3, "training.snapshot_sampling": False, "sampling.num_samples": 3, "sampling.N": 4}
    )
    config.sampling.ode_solver = "euler"
    path = torch_format.write(tmp_path / "c.pth", torch_format.checkpoint(tensors, step=2))
    workdir = tmp_path / "run"
    flags = [f"--workdir={workdir}", "--config=configs/digits.py"]
    flags += [f"--config.{field}={value}" for field, value in SMALL.items()]

    def run(*arguments):
        command = [sys.executable, "-m", "pfgm_jax.convert", *flags, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=300)

    converted = run(str(path))
    assert converted.returncode == 0, converted.stderr
    assert f"{len(tensors)} tensors of step 2 in {workdir}" in converted.stderr
    assert np.load(run_lib.sample(config, workdir) / "samples.npz")["samples"].shape == (3, 8, 8, 1)
    assert int(run_lib.train(config, workdir).step) == 3
    assert run().stderr == "error: the checkpoint file is missing; see python -m pfgm_jax.convert --help\n"
