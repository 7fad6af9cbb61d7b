"""What the terminal and the report show of two checkpoints, as tables of text."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from zoo.inspect.compare import Comparison, Pair
from zoo.inspect.sheets import Sheet, qualities, sheet

if TYPE_CHECKING:  # it needs Lightning, which takes seconds to import
    from zoo.inspect.disagreement import Disagreement


def comparison_sheets(found: Comparison) -> Iterator[Sheet]:
    """What differs between two checkpoints."""
    if found.fields:
        shown = {name: tuple(map(_field_words, pair)) for name, pair in found.fields.items()}
        yield _pairs("fields that differ", "field", shown, 3)
    yield _pairs("options that differ", "option", found.options, 3)
    yield _pairs("parameters", "part", found.parameters)
    yield _pairs("training", "", found.training)
    if found.metrics:
        yield _pairs("metrics of the runs' best checkpoints", "", found.metrics)


def _pairs(title: str, name: str, pairs: Mapping[str, Pair], words: int = 1) -> Sheet:
    return sheet(title, (name, "A", "B"), ((key, *pair) for key, pair in pairs.items()), words)


def _field_words(field: dict[str, Any] | None) -> str | None:
    """A field's properties but its name."""
    if field is None:
        return None
    words = [field["kind"]]
    words += [f"{field['cardinality']:,} ids"] if field["cardinality"] else []
    words += [f"group {field['group']}"] if field["group"] else []
    words += ["past only"] if field["past_only"] else []
    return ", ".join(words)


def disagreement_sheets(found: "Disagreement") -> Iterator[Sheet]:
    """Where the predictions of two models differ."""
    title = f"quality on the {found.split} rows"
    yield qualities(title, "", [found.first, found.second])
    shown = {
        "correlation": found.correlation,
        "mean absolute difference": found.difference,
        "largest difference": found.largest,
    }
    yield sheet("probabilities of A and B", ("", "value"), shown.items())
    if found.slices:
        columns = ("field", "value", "number", "observed", "A", "B", "B - A")
        rows = (
            (part.field, part.value, part.rows, *_shares(part.observed, part.first, part.second))
            for part in found.slices
        )
        yield sheet("by value, where they differ most", columns, rows, 2)
    columns = ("inputs", "row", "label", "A", "B", "B - A")
    rows = (
        (
            ", ".join(f"{name}={value}" for name, value in row.inputs.items()),
            row.row,
            *_shares(row.label, row.first, row.second),
        )
        for row in found.rows
    )
    yield sheet("rows in which they differ most", columns, rows)


def _shares(observed: float, first: float, second: float) -> Iterator[str]:
    yield f"{observed:.4g}"
    yield from (f"{first:.4f}", f"{second:.4f}", f"{second - first:+.4f}")
