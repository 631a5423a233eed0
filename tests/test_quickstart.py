"""The notebook: its cells run, and what is stored of them is what they print."""

import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

NOTEBOOK = Path("docs/quickstart.ipynb")
SMALL = {
    "training.n_iters": 100,
    "training.small_batch_size": 64,
    "training.snapshot_sampling": False,
    "model.nf": 32,
    "model.num_res_blocks": 1,
}


@pytest.fixture
def cells():
    found = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    return [("".join(cell["source"]), cell) for cell in found]


def test_it_is_stored_with_its_outputs(cells):
    assert NOTEBOOK.stat().st_size < 1e6
    assert [cell["execution_count"] for _, cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for _, cell in cells for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    pictures = [source for source, cell in cells if any("image/png" in o.get("data", {}) for o in cell["outputs"])]
    assert pictures == [source for source, _ in cells if re.search(r"^(show\(|plt\.show)", source, re.M)]
    printed = "".join("".join(output["text"]) for output in cells[-1][1]["outputs"])
    bits = re.findall(r"([a-z ]+?) +(\d+\.\d+) bits/dim", printed)
    values = [float(value) for _, value in bits]
    # The less they look like digits, the less likely.
    assert len(values) == 4 and values[1] - values[0] < 0.2 and values == sorted(values)


@pytest.mark.slow
def test_its_cells_run(cells, tmp_path, monkeypatch):
    """With a smaller network and fewer steps."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(plt, "show", lambda: plt.close("all"))
    names = {}
    for source, _ in cells:
        code = re.sub(r"%pip.*", "raise AssertionError", source)
        code = code.replace('"digits_small"', '"digits_mlp"').replace(
            "run_lib.train(", f"config.update_from_flattened_dict({SMALL})\nrun_lib.train("
        )
        exec(compile(code, "cell", "exec"), names)
    images, known = names["images"], names["known"]
    for restored in names["restored"]:
        np.testing.assert_array_equal(restored[:, known], images[:, known])
    assert names["path"].shape == (16, 1, 8, 8, 1)
