"""Checkpoints of the release that are not as they should be, and what converting refuses."""

import json
import pickle
import zipfile
from pathlib import Path

import jax
import ml_collections
import numpy as np
import pytest

from pfgm_jax import convert
from pfgm_jax.errors import InputError
from tests import torch_format
from tests.test_convert import RELEASE, config_of, small_network


@pytest.fixture
def small():
    return small_network()


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
        (b"ctorch._utils\n_rebuild_tensor_v2\nN}\x86b.", "is refused: it changes something that is not a dictionary"),
        (b"ctorch\nFloatStorage\n)R.", "is refused: it calls something that is not a function of checkpoints"),
        (b"cos\n\x1b[31msystem\n.", "it asks for os.?[31msystem"),
        (deep(100_000), "is refused: it has dictionaries whose keys are neither text nor integers"),
        (b"\x80\x02K\x01.garbage", "is not a checkpoint of the release"),
        (b"\x80\x02K\x01", "its content is damaged or of another format"),
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
    assert "cannot be read (a checksum in it is wrong" in refusal(path, config, tmp_path)
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
        ("training.sde", "flux", "training.sde is 'flux'; choose one of poisson, vesde"),
        (
            "model.num_classes",
            10,
            "model.num_classes is 10, but the networks of the release are not shown that; set it",
        ),
    ):
        config = config_of("c_ddpm_resblock")
        config.update_from_flattened_dict({field: value})
        with pytest.raises(InputError, match=message):
            convert.convert_checkpoint(path, config)
    plain = ml_collections.ConfigDict(json.loads(Path(f"{RELEASE}/c_ddpm_resblock.config.json").read_text()))
    convert.convert_checkpoint(path, plain)
    with pytest.raises(InputError, match="data.levels is missing from the config; begin with pfgm_jax/defaults.py"):
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
