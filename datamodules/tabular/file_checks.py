"""What the columns of a table's files must hold, so that fields can be read from them."""

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

from datamodules.tabular.formats import TypedFile
from datamodules.tabular.paths import partition_of
from datamodules.tabular.source import RawField
from datamodules.tabular.table_file import Kind, TableFile
from zoo.data.errors import ZooError

KINDS: dict[Kind, str] = {
    **{"text": "text", "whole": "whole numbers", "float": "numbers", "boolean": "true and false"},
    **{"time": "times", "zoned": "times with a zone", "list": "lists"},
    "nested": "objects or lists of such",
    **{"null": "nothing", "other": "values of a type that no field reads"},
}
NUMBERS = ("whole", "float")


def kinds_of(file: TableFile) -> dict[str, Kind]:
    """The columns of a file, and what they hold."""
    partition: dict[str, Kind] = dict.fromkeys(partition_of(file.path), "text")
    return {**partition, **file.kinds}


def check_files(
    files: Sequence[TableFile], needed: Mapping[str, Mapping[str, str]], *, is_unit: bool
) -> None:
    """Raises `ZooError` where a file lacks a column, or has one of another type.

    Args:
        files: The files.
        needed: See `uses` of `datamodules.tabular.files.TableFiles`.
        is_unit: Whether times are numbers of a unit.
    """
    for column, uses in needed.items():
        first: tuple[Path, Kind, Kind] | None = None
        for file in files:
            kind = kinds_of(file).get(column)
            if kind is None:
                raise ZooError(
                    f"{file.path} has no column {column!r} ({', '.join(uses.values())}): it "
                    f"has {', '.join(kinds_of(file))}"
                )
            alike = [c for c in kinds_of(file) if c.lower() == column.lower()]
            if len(alike) > 1:  # which DuckDB does not tell apart
                raise ZooError(
                    f"{file.path}: the names of its columns {' and '.join(alike)} differ in "
                    "capitals alone: rename one"
                )
            _check_kind(file.path, column, kind, uses, is_unit)
            if not isinstance(file, TypedFile):  # all is text
                continue
            item = file.items.get(column, kind)
            if first and not _alike(first[1:], (kind, item), uses):
                raise ZooError(
                    f"{file.path}: its column {column!r} holds {held(kind, item)}, that of "
                    f"{first[0]} {held(*first[1:])}: write it with one type in all files"
                )
            if first is None or first[2] == "null":
                first = file.path, kind, item


def _check_kind(
    path: Path, column: str, kind: Kind, uses: Mapping[str, str], is_unit: bool
) -> None:
    where = f"{path}: its column {column!r} ({', '.join(uses.values())}) holds {KINDS[kind]}"
    single = [name for use, name in uses.items() if use not in ("list", "split")]
    if kind == "list" and single:
        raise ZooError(
            f"{path}: its column {column!r} ({', '.join(single)}) holds lists, where one value is "
            "needed: declare it as multi or sequence"
        )
    if kind in ("nested", "other"):
        why = ", which no field reads" if kind == "nested" else ""
        raise ZooError(f"{where}{why}: leave it out of data")
    if "list" in uses and kind not in ("list", "null"):
        advice = "give the field a separator" if kind == "text" else "declare it as categorical"
        raise ZooError(f"{where}, not lists: {advice}")
    if "number" in uses and kind in ("boolean", "time", "zoned"):
        advice = ": declare it as " + ("categorical" if kind == "boolean" else "data.time")
        raise ZooError(
            f"{where}, not numbers{advice if 'data.weight' not in uses.values() else ''}"
        )
    if "time" in uses and (kind == "boolean" or (kind in NUMBERS and not is_unit)):
        raise ZooError(f"{where}, not times: of numbers, data.time_format says s, ms or us")


def check_numbers(
    files: Sequence[TableFile], fields: Sequence[RawField], numbers: Mapping[str, str]
) -> None:
    """Refuses files whose columns hold other numbers than those of the fit.

    As categories, 3 and 3.0 are two: pandas makes one of the other where a value is missing.

    Args:
        files: The files, which `check_files` has seen.
        fields: The fields, without crosses.
        numbers: See `datamodules.tabular.vocabularies.known_numbers`.
    """
    wrong = {("whole", "decimals"): ("float", "1.0"), ("float", "whole"): ("Int64", "1")}
    typed = (file for file in files if isinstance(file, TypedFile))
    for file, field in product(typed, fields):
        kind = kinds_of(file)[field.column]
        item = file.items.get(field.column, kind)
        pair = item, numbers.get(field.vocabulary or field.name, "")
        if field.is_text and field.use != "time" and pair in wrong:
            dtype, text = wrong[pair]
            advice = f".astype({dtype!r})"
            if kind == "list":
                advice = f"lists of {KINDS['whole' if item == 'float' else 'float']}, without NaN"
            raise ZooError(
                f"{file.path}: its column {field.column!r} (field {field.name}) holds "
                f"{held(kind, item)}, while the run knows values such as {text}, so that all "
                f"would be unknown: give it as {advice}"
            )


def held(kind: Kind, item: Kind) -> str:
    """What a column holds, in words; `item` is what the values of its lists are."""
    return f"lists of {KINDS[item]}" if kind == "list" else KINDS[kind]


def _alike(first: tuple[Kind, Kind], other: tuple[Kind, Kind], uses: Mapping[str, str]) -> bool:
    if "null" in (*first, *other) or first == other:
        return True
    if "list" in (first[0], other[0]):
        return False
    pair = {first[0], other[0]}
    # the text of 3 and of 3.0 differs
    return (pair <= {*NUMBERS} and "text" not in uses) or pair <= {"time", "zoned"}
