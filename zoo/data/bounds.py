"""How large a structure of lists and mappings is, once whoever walks it has met every leaf.

A file of a few hundred bytes can hold a list of two lists, each of which is twice the next, and so
on: forty of them are 2^40 leaves to whoever prints or copies the whole. YAML has aliases for it,
pickles have shared references.
"""

from collections.abc import Mapping
from typing import Any

from zoo.data.errors import ZooError

MOST_VALUES = 1_000_000  # far above any schema, config or state of a training
DEEPEST = 64


def check_bounds(content: Any, where: object) -> None:
    """Refuses plain data that cannot be walked in a reasonable time.

    Args:
        content: Nested lists, tuples and mappings; what else there is counts as a leaf.
        where: What holds it, for messages.

    Raises:
        ZooError: where it holds more than a million values, each shared one counted as often as it
            is met, is nested deeper than 64 levels, or holds itself.
    """
    sizes: dict[int, int] = {}
    open_: set[int] = set()
    if _size(content, sizes, open_, where) > MOST_VALUES:
        raise _too_large(where)


def _size(node: Any, sizes: dict[int, int], open_: set[int], where: object) -> int:
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
    if key in open_ or len(open_) >= DEEPEST:
        raise ZooError(f"{where} holds values that are nested deeper than {DEEPEST} levels")
    open_.add(key)
    size = 1
    for child in children:
        size += _size(child, sizes, open_, where)
        if size > MOST_VALUES or len(sizes) > MOST_VALUES:
            raise _too_large(where)
    open_.discard(key)
    sizes[key] = size
    return size


def _too_large(where: object) -> ZooError:
    return ZooError(f"{where} holds more than {MOST_VALUES:,} values: it is not read")
