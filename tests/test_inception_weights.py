"""Files of the Inception network's weights: read, refused, downloaded."""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest

from pfgm_jax.errors import InputError
from pfgm_jax.metrics import (
    weights,
)
from pfgm_jax.torch_file import read_torch_file
from tests import torch_format
from tests.servers import serve
from tests.test_inception import FIXTURES, random_weights


@pytest.fixture(scope="module")
def tensors():
    return random_weights(dict(np.load(FIXTURES / "fid_32.npz")))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda t: t.pop("Mixed_6c.branch7x7_2.conv.weight"),
            "of another network: Mixed_6c.branch7x7_2.conv.weight is m",
        ),
        (lambda t: t.update({"fc.bias": np.zeros(1000)}), r"fc.bias has shape \(1000,\) and not \(1008,\); give those"),
        (
            lambda t: t.update({"fc.weight": np.full((1008, 2048), np.nan)}),
            "damaged: fc.weight is not finite; download them again from https",
        ),
        (
            lambda t: t.update({"Mixed_7c.branch1x1.bn.running_var": -np.ones(320)}),
            "branch1x1.bn.running_var is negati",
        ),
        (lambda t: t.update({"Mixed_7c.branch1x1.bn.bias": "text"}), "Mixed_7c.branch1x1.bn.bias is missing"),
    ],
)
def test_weights_of_another_network_are_refused(tensors, change, message):
    changed = dict(tensors)
    change(changed)
    with pytest.raises(InputError, match=f"the Inception weights here.pth are .*{message}"):
        weights.convert_weights(changed, Path("here.pth"))


def test_damaged_weights_are_refused(tmp_path):
    with pytest.raises(
        InputError, match="the Inception weights .*none.pth do not exist; give the path of a file such as"
    ):
        weights.load_weights(tmp_path / "none.pth")
    named = tmp_path / "pt_inception-2015-12-05-6726825d.pth"
    named.write_bytes(b"half of it")
    begins = hashlib.sha256(b"half of it").hexdigest()[:8]
    message = f"damaged: their SHA-256 begins with {begins} and not.*with 6726825d; download them again from https"
    with pytest.raises(InputError, match=message):
        weights.load_weights(named)
    with pytest.raises(InputError, match="other.pth cannot be read"):
        weights.load_weights(named.rename(tmp_path / "other.pth"))
    with pytest.raises(InputError, match="of another network: fc.weight is missing"):
        weights.load_weights(torch_format.write(tmp_path / "list.pth", [1, 2]))


@pytest.fixture
def server():
    with serve(b"weights") as running:
        yield running


def test_weights_are_downloaded_once_and_checked(tmp_path, monkeypatch, server):
    digest = hashlib.sha256(server.content).hexdigest()
    published = dataclasses.replace(
        weights.PUBLISHED,
        url=f"http://localhost:{server.server_port}/weights.pth",
        size=len(server.content),
        sha256=digest,
    )
    monkeypatch.setattr(weights, "PUBLISHED", published)
    path = weights.obtain_weights(tmp_path)
    assert path.read_bytes() == server.content and weights.obtain_weights(tmp_path) == path
    assert len(server.asked) == 1

    path.unlink()
    server.content = b"changed"
    with pytest.raises(InputError, match=f"from {published.url} does not have the checksum of {published.name}; get"):
        weights.obtain_weights(tmp_path)
    assert not path.exists()
    monkeypatch.setattr(weights, "PUBLISHED", dataclasses.replace(published, url="http://localhost:9/weights.pth"))
    where = f"put it at {tmp_path}/downloads/manual/{published.name}"
    with pytest.raises(InputError, match=f"{published.name} cannot be downloaded from http://localhost:9.*{where}"):
        weights.obtain_weights(tmp_path)
    manual = tmp_path / "downloads" / "manual" / published.name
    manual.parent.mkdir()
    manual.write_bytes(b"weights")
    assert weights.obtain_weights(tmp_path) == manual


def test_the_published_file_is_named_by_its_hash():
    published = weights.PUBLISHED
    assert published.url.endswith(f"/{published.name}") and f"-{published.sha256[:8]}.pth" in published.name


def test_the_older_format_of_torch_is_read():
    content = read_torch_file(FIXTURES / "legacy.pth")  # torch.save wrote it
    base = np.arange(12, dtype=np.float32).reshape(3, 4)
    expected = {
        "weight": base,
        "transposed": base.T,
        "part": base[1:, 1:3],
        "count": np.array(7),
        "half": np.array([0.5, -2], np.float16),
        "parameter": np.array([1.5, 2.5]),
    }
    assert content.keys() == {"model", "step", "name"} and (content["step"], content["name"]) == (3, "x")
    assert content["model"].keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(content["model"][name], array, strict=True)


def test_damaged_and_hostile_files_of_the_older_format_are_refused(tmp_path):
    whole = (FIXTURES / "legacy.pth").read_bytes()
    path = tmp_path / "file.pth"
    for length in range(1, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match="file.pth cannot be read"):
            read_torch_file(path)
    for old, new, message in (
        (
            b"ctorch._utils\n_rebuild_tensor_v2\n",
            b"cos\nsystem\n",
            "is refused: it asks for os.system.*nothing in it was",
        ),
        (
            b"little_endian",
            b"mittle_endian",
            "cannot be read .its content is damaged or of another f",
        ),
        (b"\xe9\x03.", b"\xe8\x03.", "it is a pickle, but not one that torch.save wrote"),
    ):
        assert old in whole
        path.write_bytes(whole.replace(old, new))
        with pytest.raises(InputError, match=message):
            read_torch_file(path)
    with pytest.raises(InputError, match="none.pth does not exist"):
        read_torch_file(tmp_path / "none.pth")
