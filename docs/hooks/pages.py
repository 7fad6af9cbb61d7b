"""Pages of the repository's root, and links to files outside of docs/.

A page reads well where it lies, on a platform of repositories, and on the site: links are written
as paths in the repository, and lead to pages of the site here. A file that is no page is copied.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
DOCS = "docs"
# pages of the repository's root, and where they are on the site
ROOT_PAGES = {
    "README.md": "overview.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
SITE_PAGES = {site: root for root, site in ROOT_PAGES.items()}
LINK = re.compile(r"(\]\(|^\[[^\]\n]+\]:\s*)(?!https?:|mailto:|#)([^)\s#]+)", re.MULTILINE)
FENCED = re.compile(r"^( *)(```+)[^\n]*\n.*?^\1\2 *$", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages of the root."""
    for root, site in ROOT_PAGES.items():
        files.append(File.generated(config, site, content=(ROOT / root).read_text()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Points links to where their files are on the site."""
    here = page.file.src_uri
    source = SITE_PAGES.get(here, f"{DOCS}/{here}")

    def pointed(match: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[2]))
        found = _on_site(path, config, files)
        if found is None:
            return match[0]  # of which mkdocs says that it leads nowhere
        return match[1] + posixpath.relpath(found, posixpath.dirname(here) or ".")

    parts, end = [], 0
    for code in FENCED.finditer(markdown):
        parts += [LINK.sub(pointed, markdown[end : code.start()]), code[0]]
        end = code.end()
    return "".join([*parts, LINK.sub(pointed, markdown[end:])])


def _on_site(path: str, config: Any, files: Files) -> str | None:
    """Where a file of the repository is on the site; a file that is no page is copied there."""
    if path in ROOT_PAGES:
        return ROOT_PAGES[path]
    if path.startswith(f"{DOCS}/"):
        inside = path.removeprefix(f"{DOCS}/")
        return re.sub(r"\.ipynb$", ".md", inside)
    if not (ROOT / path).is_file():
        return None
    copied = f"source/{path}.txt"  # which a browser shows
    if files.get_file_from_path(copied) is None:
        files.append(File.generated(config, copied, content=(ROOT / path).read_bytes()))
    return copied
