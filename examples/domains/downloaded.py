"""Files from elsewhere: fetched once, with their checksums, or found in a folder of yours."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zoo.data.errors import ZooError


@dataclass(frozen=True)
class Remote:
    """A file that has an address.

    Attributes:
        name: What it is called here.
        url: Address of exactly this content, such as one with the commit of a repository.
        sha256: Checksum of the content.
    """

    name: str
    url: str
    sha256: str


def files(remotes: Sequence[Remote], data: Path | None = None) -> list[Path]:
    """Paths of files.

    They are downloaded into the cache folder of this user, unless they are there already; what has
    another checksum is not kept.

    Args:
        remotes: The files.
        data: A folder that has them, or whose folders do, as they are or, with `.gz` after their
            names, compressed; nothing is downloaded and no checksum is asked for. None downloads.

    Raises:
        ZooError: Where a file is missing, cannot be downloaded, or is not the one that is meant.
    """
    return [_given(remote, data) if data else _downloaded(remote) for remote in remotes]


def _given(remote: Remote, data: Path) -> Path:
    """The path of a file in the user's folder."""
    name = remote.name
    for pattern in (name, f"{name}.gz", f"*/{name}", f"*/{name}.gz"):
        for path in sorted(data.glob(pattern)):
            return path
    raise ZooError(f"--data: {data} has no {name} (or {name}.gz): get it by {remote.url}")


def _downloaded(remote: Remote) -> Path:
    """The path of a file in the cache."""
    try:
        import pooch
        import requests
    except ImportError as error:
        raise ZooError(
            f'{error.name} is missing: pip install "interpretable-zoo[domains]", or give a folder '
            f"with {remote.name} by --data"
        ) from None
    known, folder = f"sha256:{remote.sha256}", pooch.os_cache("interpretable-zoo")
    instead = f"get {remote.name} elsewhere and give its folder by --data"
    try:
        return Path(pooch.retrieve(remote.url, known, remote.name, folder))
    except requests.RequestException as error:
        reason = error.response.status_code if error.response is not None else type(error).__name__
        raise ZooError(f"{remote.url} cannot be downloaded ({reason}): {instead}") from None
    except ValueError as error:
        if "hash" not in str(error):
            raise
        message = f"{remote.url} is another file than meant (sha256 differs), not kept: {instead}"
        raise ZooError(message) from None
    except OSError as error:
        raise ZooError(f"{folder} cannot be written ({error.strerror}): {instead}") from None
