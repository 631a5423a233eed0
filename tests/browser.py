"""A page in headless Chromium, where that is installed."""

import html
import json
import re
import shutil
import subprocess

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
_WATCH = "<script>window.problems = []; addEventListener('error', e => problems.push(String(e.message)));</script>"


def title_after(page, script, width, folder):
    """Opens a page with a script at its end, which sets the title to JSON; returns that. `problems` are its errors."""
    tried = folder / "tried.html"
    tried.write_text(page.replace("<head>", f"<head>{_WATCH}").replace("</body>", f"{script}</body>"))
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},900"]
    command += ["--virtual-time-budget=10000", "--dump-dom", tried.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    (title,) = re.findall("<title>(.*?)</title>", done.stdout)
    return json.loads(html.unescape(title))
