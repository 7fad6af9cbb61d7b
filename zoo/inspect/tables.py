"""An inspection as tables in the terminal.

All names come from the file: they are shown as text, neither as markup nor as control characters.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from zoo.inspect.compare import Comparison
from zoo.inspect.facts import FieldFacts, Inspection
from zoo.inspect.scores import Quality, Scores
from zoo.inspect.weights import Rows, Weights


def text(value: Any, style: str = "") -> Text:
    """A value as it is, whatever brackets or control characters it holds."""
    plain = "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in str(value))
    return Text(plain, style)


def number(value: Any) -> str:
    """A number for a person: whole ones with separators, others with five digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:,.5g}" if isinstance(value, float) else "-" if value is None else str(value)


def table(
    title: str, columns: Iterable[str], rows: Iterable[Iterable[Any]], left: int = 1
) -> Group:
    """A table under its title, whose first `left` columns are words, and the others numbers."""
    made = Table()
    for i, column in enumerate(columns):
        made.add_column(text(column), justify="left" if i < left else "right", overflow="fold")
    for row in rows:
        made.add_row(*(text(number(cell) if i >= left else cell) for i, cell in enumerate(row)))
    return Group(text(title, "italic"), made)


def tables(inspection: Inspection) -> Group:
    """All that is known of a checkpoint."""
    return Group(*_blocks(inspection))


def _blocks(found: Inspection) -> Iterator[Text | Group]:
    yield text(f"{found.file} ({found.bytes / 1e6:,.1f} MB)", "bold")
    if found.architecture:
        model = found.architecture
        yield text(f"\n{model.model}: {model.description}\n")
        if model.formula not in model.description:
            yield text(f"{model.formula}\n")
        yield table("options", ("option", "value"), model.options.items(), left=2)
        if model.experts:
            yield _experts(found)
    if found.fields:
        yield _fields(found.fields)
    yield _parts(found.parts)
    yield table("training", ("", "value"), training_rows(found))
    if found.run and found.run.metrics:
        yield table(
            "metrics of the run's best checkpoint", ("metric", "value"), found.run.metrics.items()
        )
    for warning in found.warnings:
        yield text(f"warning: {warning}", "yellow")


def _experts(found: Inspection) -> Group:
    columns = ("expert", "fields", "builds on")
    rows = (
        (expert.name, ", ".join(expert.fields), ", ".join(expert.inside) or "-")
        for expert in found.architecture.experts
    )
    return table("experts, each on a subset of the fields", columns, rows, left=3)


def _fields(fields: tuple[FieldFacts, ...]) -> Group:
    columns = ("field", "kind", "group", "ids", "rms", "never trained")
    return table("schema", columns, (_field_row(facts) for facts in fields), left=3)


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


def _parts(parts: Mapping[str, Weights]) -> Group:
    total = sum(part.parameters for part in parts.values())
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
    columns = ("part", "parameters", "share", "rms", "largest", "NaN or inf")
    return table("parameters", columns, [*rows, ("all", total, "", "", "", "")])


def training_rows(found: Inspection) -> Iterator[tuple[str, Any]]:
    """The facts of a training, and where its data came from."""
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
    data = ((found.run and found.run.config) or {}).get("data")
    if isinstance(data, Mapping) and "class_path" in data:
        yield "data", data["class_path"]


def comparison(found: Comparison) -> Group:
    """Two checkpoints side by side."""
    return Group(*_comparison_blocks(found))


def _comparison_blocks(found: Comparison) -> Iterator[Text | Group]:
    yield text(f"A  {found.first.file}", "bold")
    yield text(f"B  {found.second.file}\n", "bold")
    yield text(f"schemas: {found.schema or 'equal'}")
    if found.fields:
        shown = {name: tuple(map(_field_words, pair)) for name, pair in found.fields.items()}
        yield _pairs("fields that differ", "field", shown)
    yield _pairs("options that differ", "option", found.options)
    yield _pairs("parameters", "part", found.parameters, left=1)
    yield _pairs("training", "", found.training, left=1)
    if found.metrics:
        yield _pairs("metrics of the runs' best checkpoints", "", found.metrics, left=1)
    for side, inspection in (("A", found.first), ("B", found.second)):
        for warning in inspection.warnings:
            yield text(f"warning of {side}: {warning}", "yellow")


def _pairs(title: str, name: str, pairs: Mapping[str, tuple[Any, Any]], left: int = 3) -> Group:
    rows = ((key, *("-" if v is None else v for v in pair)) for key, pair in pairs.items())
    return table(title, (name, "A", "B"), rows, left)


def _field_words(field: dict[str, Any] | None) -> str | None:
    """A field's properties but its name."""
    if field is None:
        return None
    words = [field["kind"]]
    words += [f"{field['cardinality']:,} ids"] if field["cardinality"] else []
    words += [f"group {field['group']}"] if field["group"] else []
    words += ["past only"] if field["past_only"] else []
    return ", ".join(words)


def scores(found: Scores) -> Group:
    """The quality of a model on a split."""
    return Group(*_score_blocks(found))


def _score_blocks(found: Scores) -> Iterator[Group]:
    yield _qualities(f"quality on the {found.split} rows", "rows", [found.overall])
    title = "calibration: rows of rising probability, where predicted should equal observed"
    yield _qualities(title, "bin", found.calibration)
    if found.slices:
        yield _qualities(f"by {found.by}, its most frequent values", found.by, found.slices)
    if found.experts:
        columns = ("expert", "mean attribution", "max", "most to say in")
        rows = (
            (expert.name, f"{expert.mean:.4f}", f"{expert.max:.4f}", f"{expert.largest:.2%}")
            for expert in found.experts
        )
        yield table("experts", columns, rows)


def _qualities(title: str, name: str, rows: Sequence[Quality]) -> Group:
    experts = tuple(rows[0].attribution)
    columns = (name, "number", "predicted", "observed", "AUC", "logloss", *experts)
    return table(title, columns, map(_quality_row, rows))


def _quality_row(row: Quality) -> tuple[Any, ...]:
    numbers = (row.predicted, row.observed, row.auc, row.logloss, *row.attribution.values())
    shown = ("-" if value is None else f"{value:.4f}" for value in numbers)
    return row.name, row.rows, *shown
