"""Plain data from files that may be damaged, or made to fill memory: JSON, YAML, checkpoints.

A file of a few hundred bytes can hold a list of two lists, each of which is twice the next, and so
on: forty of them are 2^40 leaves to whoever prints or copies the whole. YAML has aliases for it,
pickles have shared references.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml

from zoo.data.errors import ZooError

MOST_VALUES = 1_000_000  # far above any schema or state of a training
MOST_IN_YAML = 10_000  # far above any config, in which each value is compared with its type
MOST_IN_LIST = 1000
DEEPEST = 64
LARGEST_TEXT = 2**26  # bytes
LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_json(path: Path, wrong: str = "is not JSON") -> Any:
    """The content of a JSON file.

    Args:
        path: The file.
        wrong: What is said of a file that is none.

    Raises:
        ZooError: where it cannot be read, or is not JSON.
    """
    return _read(path, wrong, json.loads)


def read_yaml(path: Path, wrong: str = "cannot be read as YAML") -> Any:
    """The content of a YAML file; see `read_json`."""
    return _read(path, wrong, lambda text: check_yaml(text) or yaml.load(text, LOADER))


def _read(path: Path, wrong: str, parse: Callable[[str], Any]) -> Any:
    try:
        size = path.stat().st_size
        if size > LARGEST_TEXT:
            raise ZooError(f"{path} {wrong}: it has {size:,} bytes")
        return parse(path.read_bytes().decode())
    except OSError as error:
        raise ZooError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        place = f"byte {error.start} is 0x{error.object[error.start]:02x}"
        raise ZooError(f"{path} {wrong}: it is not UTF-8, {place}") from error
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise ZooError(f"{path} {wrong}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """What is wrong with a text, and in which line, in a few words."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f"{error.problem} in line {error.problem_mark.line + 1}"
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    return " ".join(str(error).split())


# What fills memory


def check_yaml(text: str) -> None:
    """Refuses YAML that cannot be copied in a reasonable time; nothing is built of it.

    Raises:
        ValueError: where it holds more than 10,000 values, each alias counted as what it stands
            for, or a list of more than 1,000, is nested deeper than 64 levels, or an alias stands
            inside of what it means.
        yaml.YAMLError: where it is no YAML.
    """
    sizes: dict[str, int] = {}
    inside: list[_Open] = [_Open(None)]
    for event in yaml.parse(text, LOADER):
        anchor = getattr(event, "anchor", None)
        if isinstance(event, yaml.CollectionStartEvent):
            inside.append(_Open(anchor, isinstance(event, yaml.SequenceStartEvent)))
            if len(inside) > DEEPEST:
                raise ValueError(f"it is nested deeper than {DEEPEST} levels")
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            ended = inside.pop()
            anchor, size = ended.anchor, ended.size
        elif isinstance(event, yaml.AliasEvent):
            if anchor in (node.anchor for node in inside):
                raise ValueError(f"the alias *{anchor} stands inside of what it means")
            anchor, size = None, sizes.get(event.anchor, 1)
        else:
            size = 1
            if "\0" in getattr(event, "value", ""):
                raise ValueError("it holds a NUL character")
        if anchor:
            sizes[anchor] = size
        inside[-1].add(size)


@dataclass
class _Open:
    """A list or mapping of YAML whose end is yet to come.

    Attributes:
        anchor: What aliases call it.
        listed: Whether it is a list.
        size: Number of values in it so far, at all levels, and itself.
        length: Number of its own.
    """

    anchor: str | None
    listed: bool = False
    size: int = 1
    length: int = 0

    def add(self, size: int) -> None:
        """Counts a value that holds `size`."""
        self.size += size
        self.length += 1
        if self.size > MOST_IN_YAML:
            raise ValueError(f"it holds more than {MOST_IN_YAML:,} values")
        if self.listed and self.length > MOST_IN_LIST:
            raise ValueError(f"it holds a list of more than {MOST_IN_LIST:,} values")


def check_bounds(content: Any, where: object) -> None:
    """Refuses plain data that cannot be walked in a reasonable time.

    Args:
        content: Nested lists, tuples and mappings; what else there is counts as a leaf.
        where: What holds it, for messages.

    Raises:
        ZooError: where it holds more than a million values, each shared one counted as often as it
            is met, is nested deeper than 64 levels, or holds itself.
    """
    _size(content, {}, set(), where)


def _size(node: Any, sizes: dict[int, int], inside: set[int], where: object) -> int:
    """The number of values met by a walk of a node; each node is walked once."""
    if isinstance(node, Mapping):
        children = [*node.values()]
    elif isinstance(node, list | tuple | set | frozenset):
        children = [*node]
    else:
        return 1
    key = id(node)
    if key in sizes:
        return sizes[key]
    if key in inside or len(inside) >= DEEPEST:
        raise ZooError(f"{where} holds values that are nested deeper than {DEEPEST} levels")
    inside.add(key)
    size = 1
    for child in children:
        size += _size(child, sizes, inside, where)
        if size > MOST_VALUES:
            raise ZooError(f"{where} holds more than {MOST_VALUES:,} values: it is not read")
    inside.discard(key)
    sizes[key] = size
    return size


# What a file must hold


def check_kinds(content: Any, kinds: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a file, whose values are of the kinds that they must be.

    Args:
        content: What the file holds.
        kinds: For each key the type of its value, as an annotation: `str`, `dict[str, int]`.

    Raises:
        TypeError: where it is no mapping, a key is missing, or a value is of another kind.
    """
    if not isinstance(content, dict):
        raise TypeError("it is no mapping")
    for key, kind in kinds.items():
        if key not in content:
            raise TypeError(f"it has no {key}")
        if not fits(content[key], kind):
            name = kind.__name__ if get_origin(kind) is None else str(kind)
            raise TypeError(f"its {key} is not of the kind {name}")
    return content


def fits(value: Any, kind: Any) -> bool:
    """Whether a value from JSON is of a kind: a list is also a tuple, a whole number a float."""
    if kind is Any:
        return True
    origin, of = get_origin(kind) or kind, get_args(kind)
    if origin is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if origin is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if origin is tuple and of and of[-1] is not ...:
        return (
            isinstance(value, list | tuple) and len(value) == len(of) and all(map(fits, value, of))
        )
    if not isinstance(value, (list, tuple) if origin in (list, tuple) else origin):
        return False
    return all(fits(item, kind) for item, kind in _items(value, of))


def _items(value: Any, of: tuple[Any, ...]) -> Iterator[tuple[Any, Any]]:
    """What a list or mapping holds, with the kinds of it."""
    if of and isinstance(value, Mapping):
        for key, item in value.items():
            yield from ((key, of[0]), (item, of[1]))
    elif of:
        yield from ((item, of[0]) for item in value)
