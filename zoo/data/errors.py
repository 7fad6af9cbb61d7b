"""What is said of a mistake that the user can correct."""

from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

LONGEST = 1000  # characters of a message


class ZooError(Exception):
    """A mistake that the user can correct.

    Its message is one sentence: what is wrong, where (file, line, field, option), what to do.
    """

    def __init__(self, message: str) -> None:
        super().__init__(shortened(message))


def shortened(message: str) -> str:
    """A message whose middle is left out where it is longer than somebody would read."""
    if len(message) <= LONGEST:
        return message
    return f"{message[: LONGEST - 204]} .. {message[-200:]}"


def require(condition: bool, rule: str, value: object) -> None:
    """Raises `ZooError` where an option of a model breaks a rule."""
    if not condition:
        raise ZooError(f"model.{rule}, got {value!r}")


def require_file(path: Path, option: str = "") -> None:
    """Raises `ZooError` where a path is no file.

    Args:
        path: The path.
        option: Option that names it, such as `data.path`; empty where the message needs none.
    """
    if not path.is_file():
        found = f"{path} is a folder, not a file" if path.is_dir() else f"no such file: {path}"
        raise ZooError(f"{found} ({option})" if option else found)


def missing(owner: object, member: str, what: str) -> NoReturn:
    """Raises `ZooError` where a subclass has left out a member that it needs.

    Not by `@abstractmethod`, which Lightning's classes, without the metaclass of `abc`, ignore.

    Args:
        owner: The model or the datamodule.
        member: Name of the member.
        what: What the member gives.
    """
    raise ZooError(f"{type(owner).__name__} has no {what}: define its {member}")


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error and those that it arose from, each once: Python lets one be its own cause."""
    found: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and not any(cause is other for other in found):
        found.append(cause)
        yield cause
        cause = cause.__cause__ or cause.__context__
