"""The terms that a user names."""

from collections.abc import Collection, Sequence
from difflib import get_close_matches

from zoo.data.errors import ZooError
from zoo.data.schema import JOINER
from zoo.models.terms import Term

NEAR, FIRST = 3, 8  # names that are proposed, and that say what there is


def named(given: Collection[str], terms: Sequence[Term], option: str) -> tuple[str, ...]:
    """The names of some terms, in the order of the model.

    Args:
        given: As a user wrote them; the fields of a term may stand in any order, so that
            `hour x item` is `item x hour`.
        terms: All terms.
        option: The option that names them.

    Raises:
        ZooError: where there is no such term.
    """
    found = {_found(name, terms, option) for name in given}
    return tuple(term.name for term in terms if term.name in found)


def _found(name: str, terms: Sequence[Term], option: str) -> str:
    fields = sorted(name.split(JOINER))
    for term in terms:
        if name == term.name or fields == sorted(term.fields):
            return term.name
    known = [term.name for term in terms]
    close = get_close_matches(name, known, NEAR, 0.5)
    if close:
        hint = f"did you mean {', or '.join(close)}?"
    else:
        more = ", .." if len(known) > FIRST else ""
        hint = f"there are {len(known)}: {', '.join(known[:FIRST])}{more}"
    raise ZooError(f"{option}: the model has no term {name!r}; {hint}")
