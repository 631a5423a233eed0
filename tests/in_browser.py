"""The pages in headless Chromium: nothing fails, and they do what they should when they are used.

    make browser

It needs `chromium` (Debian's package) or `google-chrome`. The suite tests the same pages without a browser.
"""

import html
import json
import re
import shutil
import subprocess

import pytest

from pfgm_jax.pages import run as page
from tests.test_explorer import PAGE
from tests.test_pages import GREYS, workdir  # noqa: F401

_WATCH = "<script>window.problems = []; addEventListener('error', e => problems.push(String(e.message)));</script>"


def title_after(text, script, width, folder):
    """Opens a page with a script at its end, which sets the title to JSON; returns that. `problems` are its errors."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    assert browser is not None, "there is no browser; install Debian's package chromium"
    tried = folder / "tried.html"
    tried.write_text(text.replace("<head>", f"<head>{_WATCH}").replace("</body>", f"{script}</body>"))
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},900"]
    command += ["--virtual-time-budget=10000", "--dump-dom", tried.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    (title,) = re.findall("<title>(.*?)</title>", done.stdout)
    return json.loads(html.unescape(title))


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
    name: document.querySelector("h1").textContent, log: log.textContent,
    width: document.documentElement.scrollWidth, problems });
}, 300);
</script>"""


@pytest.mark.parametrize("width", [1200, 500])
def test_the_page_of_a_run(workdir, width, tmp_path):  # noqa: F811
    found = title_after(page.write(workdir).read_text(), MOVE, width, tmp_path)
    assert found["problems"] == []
    assert found["before"][0] == "300" and found["step"] == "100" and found["changed"] and found["grey"] == GREYS[100]
    config = page.collect(workdir)["config"]
    assert found["rows"] == len(config) + 1 > found["before"][2] > 10
    assert "the loss is nan" in found["log"] and "it <overfits>" in found["log"]
    assert found["charts"] == 2 and "steps 200 to 250 were taken again" in found["notes"]
    assert found["width"] <= width and found["name"] == "run <b>"


TRY = """<script>
const seen = {};
const look = name => {
  const inked = id => {
    const data = $(id).getContext("2d").getImageData(0, 0, 800, 600).data;
    return data.reduce((n, v, i) => n + (i % 4 === 3 && v > 0), 0);
  };
  seen[name] = { title: $("title").textContent, left: inked("left"), right: inked("right"), told: $("told").textContent,
    gap: Number(($("told").textContent.match(/is ([0-9.]+)/) || [0, NaN])[1]), charges: charges.length };
};
const set = (id, value, event) => { $(id).value = value; $(id).dispatchEvent(new Event(event)); };
look("heart");
set("dimensions", 7, "input"); look("128"); set("dimensions", 12, "input"); look("infinite");
for (const shape of ["two moons", "text", "two on a line", "line, by hand"]) {
  set("shape", shape, "change");
  look(shape);
}
const box = $("left").getBoundingClientRect();
$("left").setPointerCapture = () => {};
for (const kind of ["pointerdown", "pointerup"]) $("left").dispatchEvent(new PointerEvent(kind,
  { clientX: box.left + box.width * 0.7, clientY: box.top + box.height * 0.9, pointerId: 1 }));
look("clicked"); seen.clicked.at = charges;
$("flow").click();
setTimeout(() => { look("flowing"); document.title = JSON.stringify({ seen, problems,
  width: document.documentElement.scrollWidth }); }, 1500);
</script>"""


@pytest.mark.parametrize("width", [1200, 500])
def test_the_explorer(width, tmp_path):
    found = title_after(PAGE.read_text(), TRY, width, tmp_path)
    seen = found["seen"]
    assert found["problems"] == [] and found["width"] <= width
    assert [seen[name]["title"] for name in ("heart", "128", "infinite")] == [
        "PFGM (D = 1)",
        "PFGM++ (D = 128)",
        "PFGM++ (D = ∞)",
    ]
    for name in ("heart", "128", "infinite", "two moons", "text", "two on a line"):
        # All paths end at charges.
        assert seen[name]["gap"] < 0.1 and min(seen[name]["left"], seen[name]["right"]) > 5000, name
    # With D = ∞ both pictures are those of the diffusion.
    assert seen["infinite"]["left"] == seen["infinite"]["right"] != seen["128"]["left"]
    assert seen["line, by hand"]["charges"] == 0 and seen["clicked"]["charges"] == 1
    assert seen["clicked"]["at"][0][0] == pytest.approx((0.7 - 0.5) * 9, abs=0.05)
