"""Notebooks as pages: their text is text of the site, whose links are checked as all others are."""

import base64
import re
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.structure.files import File, Files

STYLE = re.compile(r"<style.*?</style>\s*", re.DOTALL)
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def on_files(files: Files, config: Any) -> Files:
    """Puts a page in the place of each notebook, with its pictures beside it."""
    for file in [file for file in files if file.src_uri.endswith(".ipynb")]:
        text, pictures = page_of(Path(file.abs_src_path))
        stem = file.src_uri.removesuffix(".ipynb")
        files.append(File.generated(config, f"{stem}.md", content=text))
        for name, content in pictures.items():
            place = f"{Path(stem).parent}/{name}"
            files.append(File.generated(config, place, content=content))
    return files


def page_of(path: Path) -> tuple[str, dict[str, bytes]]:
    """The Markdown of a notebook, and the pictures that it shows."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        printed = ""
        for output in cell.outputs:
            data = output.get("data", {})
            if "image/png" in data:
                name = f"{path.stem}_{len(pictures) + 1}.png"
                pictures[name] = base64.b64decode(data["image/png"])
                parts.append(f"![]({name}){{.output}}")
            elif "<table" in data.get("text/html", ""):
                parts.append(f'<div class="output">\n{STYLE.sub("", data["text/html"])}\n</div>')
            else:
                printed += output.get("text") or data.get("text/plain", "")
        if printed:
            lines = (line.rstrip() for line in ANSI.sub("", printed).splitlines())
            text = "\n".join(lines).strip("\n")
            parts.append(f"```{{.text .output}}\n{text}\n```")
    first, *rest = parts
    note = f"[This notebook]({path.name}){{download}}, with all that it printed."
    return "\n\n".join([first, note, *rest]), pictures
