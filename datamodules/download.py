"""Downloads MovieLens from GroupLens, checked against the published MD5.

python -m datamodules.download ml-1m --to data
"""

import hashlib
import http.client
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from rich.console import Console

from zoo.data.errors import ZooError
from zoo.data.files import atomic_file

URL = "https://files.grouplens.org/datasets/movielens/{name}.zip"
BYTES_AT_ONCE = 1 << 20  # read
TIMEOUT_SECONDS = 60.0  # without an answer


def download(
    name: Literal["ml-1m", "ml-100k"],
    to: str = "data",
    url: str | None = None,
    md5: str | None = None,
) -> Path:
    """Download a data set of GroupLens; an incomplete or wrong file is never left behind.

    Args:
        name: Name of the data set, ml-1m or ml-100k.
        to: Folder of the zip file.
        url: Address of the zip file on a mirror.
        md5: MD5 checksum of the zip file; by default the one published beside it, at URL.md5.

    Returns:
        The zip file.
    """
    url = url or URL.format(name=name)
    target = Path(to) / f"{name}.zip"
    expected = (md5 or _published(url)).lower()
    if target.exists():
        return _present(target, expected)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _complete(target, url, expected)
    except OSError as error:
        raise ZooError(f"cannot write {target}: {error.strerror or error}") from error
    return target


def _complete(target: Path, url: str, expected: str) -> None:
    """Downloads a file of a given MD5; whole or not at all."""
    with atomic_file(target) as partial:
        found = _fetch(url, partial)
        if found != expected:
            raise ZooError(
                f"{url} was downloaded with MD5 {found}, not {expected}: the download was cut "
                "off or the file is another one; try again"
            )


def _present(target: Path, expected: str) -> Path:
    with open(target, "rb") as file:
        found = hashlib.file_digest(file, "md5").hexdigest()
    if found != expected:
        raise ZooError(
            f"{target} exists and its MD5 is {found}, not {expected}: delete it to download it anew"
        )
    return target


def _published(url: str) -> str:
    """The MD5 that is published beside a file."""
    answer = b"".join(_pieces(f"{url}.md5")).decode("latin-1")
    found = re.search(r"\b[0-9a-fA-F]{32}\b", answer)
    if not found:
        raise ZooError(f"{url}.md5 holds no MD5 checksum: give one with --md5")
    return found[0]


def _fetch(url: str, path: Path) -> str:
    """Writes what a URL holds; returns its MD5."""
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "wb") as file:
        for piece in _pieces(url):
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def _pieces(url: str) -> Iterator[bytes]:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:
            while piece := answer.read(BYTES_AT_ONCE):
                yield piece
    except urllib.error.HTTPError as error:
        raise ZooError(f"{url} cannot be downloaded: {error.code} {error.reason}") from error
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise ZooError(f"{url} cannot be downloaded: {reason}") from error


def main() -> None:
    """Runs the command line; what a user can correct is reported in one sentence."""
    from jsonargparse import auto_cli

    try:
        target = auto_cli(download)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except ZooError as error:
        sys.exit(f"error: {error}")
    Console().print(str(target), soft_wrap=True, highlight=False)


if __name__ == "__main__":
    main()
