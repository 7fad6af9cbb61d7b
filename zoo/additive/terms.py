"""Which fields each term of an additive model sees: lists of names, or a file of interactions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from zoo.data.errors import ZooError
from zoo.data.interactions import read_interactions
from zoo.data.schema import JOINER, Schema

OPTION = "model.terms"
MOST_FIELDS = 4  # of a term: more can be neither shown nor learned
SIZES = {"pairs": 2, "triples": 3}


# the functional form, as `from` is a keyword
TermsOfFile = TypedDict(
    "TermsOfFile", {"from": str, "pairs": NotRequired[int], "triples": NotRequired[int]}
)
Terms = list[list[str]] | TermsOfFile


def resolved(given: Any, schema: Schema) -> list[list[str]]:
    """The fields of each term, in the order of the schema; the smallest terms first.

    Args:
        given: A list of lists of names; a file of interactions, with how many pairs and triples
            of it, beside all single fields; None is all single fields.
        schema: Fields of the model.

    Raises:
        ZooError: where it names no field, a field or a term twice, or the file cannot be read.
    """
    places = {field.name: place for place, field in enumerate(schema.fields)}
    singles = [[name] for name in places]
    if given is None:
        return singles
    if isinstance(given, Mapping):
        found = singles + _of_file(given, [*places])
    elif isinstance(given, Sequence) and not isinstance(given, str) and given:
        found = [_checked(term, places) for term in given]
    else:
        raise ZooError(
            f"{OPTION} must be a list of terms, each a list of fields, or a mapping with from (a "
            f"file of interactions), pairs and triples, got {given!r}"
        )
    terms = [sorted(term, key=places.__getitem__) for term in found]
    names = [JOINER.join(term) for term in terms]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise ZooError(
                f"{OPTION} names {name} twice, or a cross field and the pair of its fields: keep "
                "one"
            )
    return sorted(terms, key=len)


def _checked(term: Any, places: Mapping[str, int]) -> list[str]:
    if isinstance(term, str) or not isinstance(term, Sequence) or not term:
        raise ZooError(f"{OPTION}: each term is a list of fields, got {term!r}")
    for name in term:
        if name not in places:
            raise ZooError(f"{OPTION} names {name!r}, which is no field: {', '.join(places)}")
        if term.count(name) > 1:
            raise ZooError(f"{OPTION} names the field {name} twice in a term")
    if len(term) > MOST_FIELDS:
        raise ZooError(f"{OPTION}: a term has at most {MOST_FIELDS} fields, got {', '.join(term)}")
    return [*term]


def _of_file(given: Mapping[str, Any], names: Sequence[str]) -> list[list[str]]:
    """The strongest interactions of a file, as many of each size as are wanted."""
    unknown = [key for key in given if key not in ("from", *SIZES)]
    if unknown or not isinstance(given.get("from"), str | Path):
        raise ZooError(
            f"{OPTION} has {', '.join(map(str, given)) or 'nothing'}: it must have from, a file of "
            "interactions, and may have pairs and triples"
        )
    found = read_interactions(Path(given["from"]), names, f"{OPTION}.from").interactions
    chosen: list[list[str]] = []
    for key, size in SIZES.items():
        wanted = given.get(key)
        if wanted is not None and (isinstance(wanted, bool) or not isinstance(wanted, int)):
            raise ZooError(f"{OPTION}.{key} must be a whole number, got {wanted!r}")
        if wanted is not None and wanted < 0:
            raise ZooError(f"{OPTION}.{key} must be at least 0, got {wanted}")
        distinct = {frozenset(i.fields): [*i.fields] for i in found if len(i.fields) == size}
        chosen += [*distinct.values()][:wanted]
    return chosen
