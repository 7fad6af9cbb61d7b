"""What the terminal and the report show of a checkpoint, as tables of text."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from zoo.inspect.facts import FieldFacts, Inspection
from zoo.inspect.weights import Rows, Weights

if TYPE_CHECKING:  # it needs Lightning, which takes seconds to import
    from zoo.inspect.scores import Quality, Scores

LARGEST, FURTHEST = 20, 10  # slices that a table over all fields shows
FAR = 4.0  # standard errors by which hardly one of a thousand slices is off by chance


class Sheet(NamedTuple):
    """A table.

    Attributes:
        title: what it shows.
        columns: their names.
        rows: of text.
        words: number of columns, from the left, that hold words; the others hold numbers.
    """

    title: str
    columns: Sequence[str]
    rows: list[list[str]]
    words: int = 1


def sheet(
    title: str, columns: Sequence[str], rows: Iterable[Iterable[Any]], words: int = 1
) -> Sheet:
    """Makes a table of values."""
    return Sheet(title, columns, [[clean(number(cell)) for cell in row] for row in rows], words)


def clean(value: Any) -> str:
    """A value as text, in which a control character is written out."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in str(value))


def number(value: Any) -> Any:
    """A number for a person: whole ones with separators, others with five digits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "-" if value is None else value
    return f"{value:,}" if isinstance(value, int) else f"{value:,.5g}"


# One checkpoint


def options_sheet(options: Mapping[str, Any]) -> Sheet:
    """The options of a model, as a config has them."""
    rows = ((name, "null" if value is None else str(value)) for name, value in options.items())
    return sheet("options", ("option", "value"), rows, 2)


def experts_sheet(found: Inspection) -> Sheet:
    """The experts of a mixture."""
    rows = (
        (expert.name, ", ".join(expert.fields), ", ".join(expert.inside) or "-")
        for expert in found.architecture.experts
    )
    columns = ("expert", "fields", "builds on")
    return sheet("experts, each on a subset of the fields", columns, rows, 3)


def schema_sheet(fields: Iterable[FieldFacts]) -> Sheet:
    """The fields, with the state of their embeddings."""
    columns = ("field", "kind", "group", "ids", "rms", "never trained")
    return sheet("schema", columns, map(_field_row, fields), 3)


def _field_row(facts: FieldFacts) -> tuple[Any, ...]:
    field, rows = facts.field, facts.rows
    kind = f"cross of {len(facts.crosses)}" if facts.crosses else field.kind
    kind += ", past only" if field.past_only else ""
    weights = (f"{rows.weights.rms:.3g}", _never(rows)) if rows else ("", "")
    return field.name, kind, field.group, field.cardinality or "", *weights


def _never(rows: Rows) -> str:
    if rows.untrained is None:
        return "-"
    special = (("unknown", rows.unknown), ("missing", rows.missing))
    values = [f"{rows.untrained:,}"] if rows.untrained else []
    return ", ".join([*values, *(name for name, trained in special if not trained)])


def parts_sheet(parts: Mapping[str, Weights]) -> Sheet:
    """The parameters by part."""
    rows = [
        (
            name,
            part.parameters,
            f"{part.share:.2%}",
            f"{part.rms:.3g}",
            f"{part.largest:.3g}",
            part.not_finite or "",
        )
        for name, part in parts.items()
    ]
    total = sum(part.parameters for part in parts.values())
    columns = ("part", "parameters", "share", "rms", "largest", "NaN or inf")
    return sheet("parameters", columns, [*rows, ("all", total, "", "", "", "")])


def training_sheet(found: Inspection) -> Sheet:
    """How far a training went, and where its data came from."""
    return sheet("training", ("", "value"), _training_rows(found))


def _training_rows(found: Inspection) -> Iterator[tuple[str, Any]]:
    training = found.training
    yield "epochs", training.epochs
    yield "steps", training.steps
    options = found.architecture.options if found.architecture else {}
    if "optimizer" in options:
        yield "optimizer", options["optimizer"]
    yield "learning rate", training.learning_rate
    yield "can be resumed", "yes" if training.optimizer_state else "no"
    for monitor in training.monitors:
        yield f"{monitor.name} at save", monitor.value
        yield f"{monitor.name}, best so far", monitor.best
    yield from training.versions.items()
    if found.run:
        yield "run", found.run.folder


def metrics_sheets(found: Inspection) -> Iterator[Sheet]:
    """The metrics at save; those of the run, and its config, where it lies beside the file."""
    if found.training.metrics:
        yield sheet("metrics at save", ("metric", "value"), found.training.metrics.items())
    if found.run and found.run.metrics:
        title = "metrics of the run's best checkpoint"
        yield sheet(title, ("metric", "value"), found.run.metrics.items())
    if found.run:
        sections = {name: found.run.config.get(name) for name in ("data", "trainer")}
        rows = [(name, str(value)) for name, value in _flat(sections) if value is not None]
        yield sheet("config of the run: data and trainer", ("option", "value"), rows, 2)


def _flat(options: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in options.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}".replace(".init_args", ""), value


# With data


def score_sheets(found: "Scores") -> Iterator[Sheet]:
    """The quality of a model on a split."""
    yield qualities(f"quality on the {found.split} rows", "rows", [found.overall])
    title = "calibration: rows of rising probability, where predicted should equal observed"
    yield qualities(title, "bin", found.calibration)
    yield from slice_sheets(found)
    if found.experts:
        columns = ("expert", "mean attribution", "max", "most to say in")
        rows = (
            (expert.name, f"{expert.mean:.4f}", f"{expert.max:.4f}", f"{expert.largest:.2%}")
            for expert in found.experts
        )
        yield sheet("what each expert has to say", columns, rows)


def slice_sheets(found: "Scores") -> Iterator[Sheet]:
    """The quality by the values of one field, or of all."""
    if found.by:
        mine = [(found.by, part) for part in found.slices[found.by]]
        yield from _values(f"by {found.by}, its most frequent values", mine)
        return
    every = [(field, part) for field, parts in found.slices.items() for part in parts]
    largest = sorted(every, key=lambda pair: -pair[1].rows)[:LARGEST]
    off = sorted(every, key=lambda pair: -abs(pair[1].gap))[:FURTHEST]
    off = [(field, part) for field, part in off if abs(part.gap) >= FAR]
    if largest:
        yield from _values("by value, the largest slices of all fields", largest)
    if off:
        title = f"by value, the slices that are off by {FAR:.0f} standard errors or more"
        yield from _values(title, off)


def _values(title: str, slices: Sequence[tuple[str, "Quality"]]) -> Iterator[Sheet]:
    """The quality of slices by field, and the attribution of a mixture's experts in them."""
    parts = [part for _, part in slices]
    made = [qualities(title, "value", parts)]
    if parts[0].attribution:
        made.append(attributions(title, "value", parts))
    for sheet_ in made:
        rows = [[clean(field), *row] for (field, _), row in zip(slices, sheet_.rows, strict=True)]
        yield Sheet(sheet_.title, ("field", *sheet_.columns), rows, 2)


def qualities(title: str, name: str, rows: Sequence["Quality"]) -> Sheet:
    """A line for each."""
    columns = (name, "number", "predicted", "observed", "AUC", "logloss")
    return sheet(title, columns, map(_quality_row, rows))


def _quality_row(row: "Quality") -> tuple[Any, ...]:
    numbers = (row.predicted, row.observed, row.auc, row.logloss)
    return row.name, row.rows, *("-" if value is None else f"{value:.4f}" for value in numbers)


def attributions(title: str, name: str, rows: Sequence["Quality"]) -> Sheet:
    """A line for each: the mean attribution of every expert."""
    shown = ((row.name, *(f"{value:.4f}" for value in row.attribution.values())) for row in rows)
    return sheet(f"attribution, {title}", (name, *rows[0].attribution), shown)
