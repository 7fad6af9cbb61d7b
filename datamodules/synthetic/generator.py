"""What the generators share."""

from pathlib import Path

from zoo.data.errors import ZooError


def not_generated_so(path: Path) -> ZooError:
    """The error where a file or folder exists that other options, or somebody else, have made."""
    return ZooError(
        f"{path} exists and was not generated with these data.synthetic options: "
        "delete it, or choose another data.path"
    )
