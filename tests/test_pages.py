"""The page of a run; `tests.in_browser` opens it."""

import json
import re

import numpy as np
import pytest
import quickjs
from PIL import Image

from configs import digits
from pfgm_jax import config_files
from pfgm_jax.errors import InputError
from pfgm_jax.pages import run as page

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
    record = lambda level, message: {"time": "2026-01-01", "command": "train", "level": level, "message": message}
    records = [record("info", "begun"), record("warning", "it <overfits>"), record("error", "the loss is nan")]
    (folder / "log.jsonl").write_text("\n".join([*map(json.dumps, records), '{"level": "error"}', '{"lev']))
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
    assert [line["message"] for line in found["log"]] == ["the loss is nan", "it <overfits>"]
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


SCRIPT = re.compile(r"<script[^>]*>(.*?)</script>", re.DOTALL)


def functions_of_the_page(name):
    """An engine with one of the functions of the page's script, which parses as a whole."""
    (script,) = SCRIPT.findall(page._TEMPLATE.read_text())
    engine = quickjs.Context()
    engine.eval(f"new Function({json.dumps(script)})")  # parses it; there is no document to run it with
    (function,) = re.findall(rf"^function {name}\(.*?^}}", script, re.DOTALL | re.MULTILINE)
    engine.eval(function)
    return lambda *arguments: json.loads(
        engine.eval(f"JSON.stringify({name}({', '.join(map(json.dumps, arguments))}))")
    )


@pytest.mark.parametrize(("low", "high"), [(0, 1659), (0.31, 0.52), (-3, 12_000), (1e-6, 2e-6)])
def test_ticks_of_a_linear_axis_are_even_and_round(low, high):
    found = np.array(functions_of_the_page("ticks")(low, high, False))
    (step,) = {float(f"{s:.6g}") for s in np.diff(found)}
    assert 3 <= len(found) <= 6 and found[0] >= low and found[-1] <= high * (1 + 1e-9)
    assert found[0] - step < low and found[-1] + step > high
    assert round(step / 10 ** np.floor(np.log10(step) + 1e-9), 6) in (1, 2, 5)


@pytest.mark.parametrize(("low", "high"), [(0.05, 3000), (9.8, 25), (2e-5, 1e-4)])
def test_ticks_of_a_logarithmic_axis_are_round_and_inside(low, high):
    found = np.array(functions_of_the_page("ticks")(low, high, True))
    mantissas = found / 10 ** np.floor(np.log10(found) + 1e-9)
    assert 1 <= len(found) <= 8 and low <= found.min() and found.max() <= high
    assert {round(float(m), 6) for m in mantissas} <= {1, 2, 5}


def test_numbers_that_json_does_not_have_are_shown_by_their_names(tmp_path):
    config = digits.get_config()
    config.pfgmpp.D = float("inf")
    config_files.write(config, tmp_path)
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "1.json").write_text('{"step": 1, "fid": NaN, "classes": {"3": {"fid": Infinity}}}')
    (content,) = re.findall(r"const run = (.*);$", page.write(tmp_path).read_text(), re.MULTILINE)
    found = json.loads(content.replace("<\\/", "</"))
    assert {"field": "pfgmpp.D", "value": "inf", "default": 0.0} in found["config"]
    (report,) = found["evaluations"]
    assert report["numbers"]["fid"] == "nan" and report["classes"] == {"3": {"fid": "inf"}}
