"""Notebooks as pages: their text is text of the site, whose links are checked as all others are."""

import base64
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.structure.files import File, Files

STYLE = re.compile(r"<style.*?</style>\s*", re.DOTALL)
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def on_files(files: Files, config: Any) -> Files:
    """Puts a page in the place of each notebook, with its pictures beside it."""
    for file in [file for file in files if file.src_uri.endswith(".ipynb")]:
        assert file.abs_src_path is not None  # it is not generated
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
        for text in _printed(cell.outputs):
            if isinstance(text, bytes):
                name = f"{path.stem}_{len(pictures) + 1}.png"
                pictures[name] = text
                text = f"![]({name}){{.output}}"
            parts.append(text)
    first, *rest = parts
    note = f"[This notebook]({path.name}){{download}}, with all that it printed."
    return "\n\n".join([first, note, *rest]), pictures


def _printed(outputs: Sequence[Any]) -> Iterator[str | bytes]:
    """What a cell has printed, in its order: pictures, tables, and text, as few blocks of it."""
    text = ""
    for output in outputs:
        data = output.get("data", {})
        picture, table = data.get("image/png"), data.get("text/html", "")
        if not picture and "<table" not in table:  # of a console, HTML is text
            text += output.get("text") or data.get("text/plain", "")
            continue
        if text:
            yield _fenced(text)
            text = ""
        if picture:
            yield base64.b64decode(picture)
        else:
            yield f'<div class="output">\n{STYLE.sub("", table)}\n</div>'
    if text:
        yield _fenced(text)


def _fenced(text: str) -> str:
    lines = (line.rstrip() for line in ANSI.sub("", text).splitlines())
    return "```{.text .output}\n" + "\n".join(lines).strip("\n") + "\n```"
