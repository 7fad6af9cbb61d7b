"""What a browser makes of a page."""

import json
import re
import shutil
import subprocess

import pytest

CHROMIUM = shutil.which("chromium")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")

# What became of the page, written in its place, for a dump of it.
PROBE = """<script>
addEventListener("load", () => setTimeout(() => {
  const all = (what) => [...document.querySelectorAll(what)];
  document.documentElement.innerHTML = "PROBE" + JSON.stringify({
    plots: all(".js-plotly-plot").map((plot) => plot.querySelectorAll(".trace, .bars, .hm").length),
    right: Math.max(...all("h1, h2, p, .wide, .main-svg").map(
      (item) => item.getBoundingClientRect().right)),
    requests: performance.getEntriesByType("resource").length,
    marked: all("td b, td i, td script, svg b").length,
    title: document.title,
  }) + "END";
}, 500));
</script></body>"""


def browse(page, width, tmp_path):
    """What a browser makes of a page; fails where that is not as it should be."""
    path = tmp_path / "report.html"
    narrow = f"<style>html {{ width: {width}px }}</style><script>"
    page = page.replace("<script>", narrow, 1)
    path.write_text(page.replace("</body>", PROBE))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000"]
    options += ["--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr"]
    options += [f"--window-size={max(width, 500)},900", f"--user-data-dir={tmp_path}/browser"]
    line = [CHROMIUM, *options, "--dump-dom", path.as_uri()]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120)
    assert "CONSOLE" not in done.stderr
    seen = json.loads(re.search("PROBE(.*)END", done.stdout)[1])
    assert min(seen["plots"]) > 0
    assert seen["right"] <= width
    assert (seen["requests"], seen["marked"]) == (0, 0)
    return seen
