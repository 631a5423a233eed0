"""The page of a run, also in a browser where there is one."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from configs import digits
from pfgm_jax import config_files
from pfgm_jax.errors import InputError
from pfgm_jax.pages import run as page
from tests.browser import CHROMIUM, title_after

GREYS = {100: 10, 200: 120, 300: 250}


def save(path, grey):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((20, 30), grey, np.uint8)).save(path)


@pytest.fixture
def workdir(tmp_path):
    """What a run of 300 steps leaves that was interrupted after 250, as text that could end a script."""
    folder = tmp_path / "run <b>"
    folder.mkdir()
    config = digits.get_config()
    config.training.n_iters, config.data.dir = 300, "</script><b>"
    config_files.write(config, folder)
    line = lambda step, **more: json.dumps({"step": step, "loss": 100 / step, "steps_per_second": 10.0, **more})
    lines = [line(step, **({"held_out_loss": 0.5} if step % 100 == 0 else {})) for step in range(50, 301, 50)]
    (folder / "metrics.jsonl").write_text("\n".join([*lines[:3], "{cut off", *lines[3:]]) + "\n")
    (folder / "metrics.dropped.jsonl").write_text(f"{line(200)}\n{line(250)}\n{line(250)}\n")
    for step, grey in GREYS.items():
        save(folder / "samples" / f"{step}.png", grey)
    save(folder / "samples" / "300-rk45" / "grid.png", 5)
    save(folder / "eval" / "300" / "nfe_curve.png", 7)
    report = {
        "step": 300,
        "fid": 1.25,
        "nfe_curve": "/a/file.json",
        "classes": {"3": {"fid": 2.5}},
        "config": {"x": {}},
    }
    (folder / "eval" / "300.json").write_text(json.dumps(report))
    (folder / "eval" / "400.json").write_text("{")
    (folder / "likelihood" / "300-test").mkdir(parents=True)
    (folder / "likelihood" / "300-test" / "table.json").write_text(json.dumps({"bits_per_dim": 1.75, "rows": [1, 2]}))
    (folder / "damaged" / "250").mkdir(parents=True)
    return folder


def test_collects_what_a_run_left(workdir):
    found = page.collect(workdir)
    assert found["step"] == 300 and found["seconds"] == 30
    assert found["curves"]["loss"] == [[step, 100 / step] for step in range(50, 301, 50)]
    assert found["curves"]["held_out_loss"] == [[100, 0.5], [200, 0.5], [300, 0.5]]
    assert [grid["step"] for grid in found["grids"]] == [100, 200, 300]
    (report,) = found["evaluations"]
    assert report["numbers"] == {"step": 300, "fid": 1.25} and report["classes"] == {"3": {"fid": 2.5}}
    assert [result["name"] for result in found["samples"]] == ["300-rk45"]
    assert found["likelihoods"] == [{"name": "300-test", "numbers": {"bits_per_dim": 1.75}, "picture": ""}]
    # Steps 200 and 250 were taken again, and then 250 once more.
    assert found["dropped"] == [[200, 250], [250, 250]] and found["damaged"] == ["250"]
    (problem,) = found["problems"]
    assert "400.json is damaged" in problem


def test_fields_that_differ_from_the_defaults_come_first(workdir):
    fields = page.collect(workdir)["config"]
    differs = [field["value"] != field["default"] for field in fields]
    assert differs == sorted(differs, reverse=True) and 10 < sum(differs) < len(fields)
    first = {field["field"]: field["value"] for field in fields[: sum(differs)]}
    assert first["training.n_iters"] == 300 and first["data.random_flip"] is False and "training.sde" not in first


def test_curves_of_many_points_keep_their_ends():
    points = [[step, float(step)] for step in range(1, 12346)]
    spaced = page._spaced(points, page.MOST_POINTS)
    assert len(spaced) == page.MOST_POINTS and spaced[0] == points[0] and spaced[-1] == points[-1]
    assert np.ptp(np.diff([step for step, _ in spaced])) <= 1


def test_the_page_is_one_file_and_its_content_cannot_leave_its_script(workdir):
    text = page.write(workdir).read_text()
    addresses = re.findall(r"""(?:src|href)=["']?([^"'\s>]*)""", text)
    assert all(address.startswith("data:") for address in addresses)
    assert text.count("</script>") == 1 and "http://www.w3.org/2000/svg" in text and "https://" not in text


def test_refuses_what_is_no_run(tmp_path):
    with pytest.raises(InputError, match="holds no run; train first"):
        page.write(tmp_path)


# Moves the slider from the last step to the first, and shows the fields that have their default values.
MOVE = """<script>
const before = [at.textContent, grid.src, document.querySelectorAll("#config tr").length];
slider.value = 0; slider.dispatchEvent(new Event("input"));
all.checked = true; all.dispatchEvent(new Event("change"));
setTimeout(() => {
  const pixel = document.createElement("canvas").getContext("2d");
  pixel.drawImage(grid, 0, 0);
  document.title = JSON.stringify({ before, step: at.textContent, changed: grid.src !== before[1],
    grey: pixel.getImageData(3, 3, 1, 1).data[0], rows: document.querySelectorAll("#config tr").length,
    charts: charts.querySelectorAll("polyline").length, notes: notes.textContent,
    name: document.querySelector("h1").textContent,
    width: document.documentElement.scrollWidth, problems });
}, 300);
</script>"""


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
@pytest.mark.parametrize("width", [1200, 500])
def test_the_page_works_in_a_browser(workdir, width, tmp_path):
    found = title_after(page.write(workdir).read_text(), MOVE, width, tmp_path)
    assert found["problems"] == []
    assert found["before"][0] == "300" and found["step"] == "100" and found["changed"] and found["grey"] == GREYS[100]
    config = page.collect(workdir)["config"]
    assert found["rows"] == len(config) + 1 > found["before"][2] > 10
    assert found["charts"] == 2 and "steps 200 to 250 were taken again" in found["notes"]
    assert found["width"] <= width and found["name"] == "run <b>"
