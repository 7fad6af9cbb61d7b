"""What a browser makes of a page."""

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess

import pytest

CHROMIUM = shutil.which("chromium")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
LEAST = 500  # pixels of a window of Chromium; narrower pages are shown in a frame

# What became of the page, said to the frame around it or written in its place, for a dump of it.
PROBE = """
const all = (what) => [...document.querySelectorAll(what)];
const drive = async () => { DRIVE };
addEventListener("load", () => setTimeout(async () => {
  while (document.getElementById("plotly") && !window.Plotly) // until it is unpacked
    await new Promise((done) => setTimeout(done, 20));
  const driven = await drive();
  dispatchEvent(new Event("beforeprint")); // which draws and unfolds all
  await new Promise((done) => setTimeout(done, 300));
  const found = "PROBE" + JSON.stringify({
    plots: all(".js-plotly-plot").map((plot) => plot.querySelectorAll(".trace, .bars, .hm").length),
    widest: document.documentElement.scrollWidth,
    right: Math.max(document.documentElement.scrollWidth, ...all(
      "h1, h2, h3, h4, p, li, form, header button, .wide, .main-svg, .card, .chapter, .tiles"
    ).map((item) => item.getBoundingClientRect().right)),
    requests: performance.getEntriesByType("resource").length,
    marked: all("td b, td i, td script, .name b, .name script, svg b").length,
    title: document.title,
    driven: driven === undefined ? null : driven,
  }) + "END";
  if (parent === window) document.body.textContent = found;
  else parent.postMessage(found, "*");
}, 300));
"""
FRAME = """<!doctype html><body style="margin: 0"><script>
addEventListener("message", ({ data }) => { document.body.textContent = data; });
</script><iframe src="report.html" style="border: 0; width: WIDTHpx; height: 844px"></iframe></body>
"""


def browse(page, width, tmp_path, drive="", options=(), refused=None):
    """What a browser makes of a page; fails where that is not as it should be.

    Args:
        page: Its HTML.
        width: Width of the screen in pixels.
        tmp_path: Folder for it.
        drive: Body of a function in JavaScript that uses the page before it is looked at; what it
            returns is `driven` of what is found. `all` is there, which selects.
        options: Further options of the browser.
        refused: What the browser must complain of; None lets it complain of nothing.
    """
    path = tmp_path / "report.html"
    path.write_text(probed(page, PROBE.replace("DRIVE", drive)))
    shown = path
    if width < LEAST:
        shown = tmp_path / "frame.html"
        shown.write_text(FRAME.replace("WIDTH", str(width)))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=30000"]
    flags += ["--host-resolver-rules=MAP * ~NOTFOUND", "--enable-logging=stderr", *options]
    flags += [f"--window-size={max(width, LEAST)},900", f"--user-data-dir={tmp_path}/browser"]
    line = [CHROMIUM, *flags, "--dump-dom", shown.as_uri()]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120)
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert said == [] if refused is None else refused in "".join(said)
    seen = json.loads(html.unescape(re.search("<body[^>]*>PROBE(.*)END", done.stdout)[1]))
    assert min(seen["plots"], default=1) > 0
    assert seen["right"] <= width, seen
    assert (seen["requests"], seen["marked"]) == (0, 0)
    return seen


def probed(page, script):
    """A page with one more script, which its policy allows by name."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert "script-src 'sha256-" in page
    page = page.replace("script-src ", f"script-src 'sha256-{digest}' ", 1)
    head, _, foot = page.rpartition("</body>")
    return f"{head}<script>{script}</script></body>{foot}"


def plots_of(page):
    """The traces of each plot of a page."""
    drawn = re.findall(r'<script [^>]*class="plot-data"[^>]*>(.*?)</script>', page, re.S)
    return [json.loads(plot)["data"] for plot in drawn]
