"""Which model a checkpoint holds, in the words of the model itself."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.data.errors import ZooError
from zoo.data.schema import Schema
from zoo.inspect.page import Figure, Section
from zoo.inspect.table import TextTable, options_table, text_table
from zoo.models.description import Description, Expert
from zoo.models.registry import model_class


@dataclass(frozen=True)
class Architecture:
    """A model.

    Attributes:
        model: Its class: a name in `zoo`, or a class path.
        description: What the model says of itself, in paragraphs.
        formula: Formula of its prediction; empty where there is none.
        options: Arguments of its constructor but the schema.
        experts: Experts of a mixture.
        unused: Names of the fields that no expert of a mixture sees.
    """

    model: str
    description: str
    formula: str
    options: dict[str, Any]
    experts: tuple[Expert, ...] = ()
    unused: tuple[str, ...] = ()


def description_of(
    checkpoint: Mapping[str, Any],
    model: str,
    schema: Schema,
    options: Mapping[str, Any],
    weights: int,
    beside: Iterable[Path] = (),
) -> Description:
    """What a checkpoint says of its model, so that nothing is imported.

    The checkpoints of version 0.1.0 do not say it: there the class is asked.

    Args:
        checkpoint: Content of the file.
        model: Class of the model.
        schema: Fields of the model.
        options: Arguments of its constructor but the schema.
        weights: Number of its parameters.
        beside: Folders of the file, from which no code is taken.

    Raises:
        ZooError: where the description is damaged or does not fit the schema, or there is none
            and no such class.
    """
    try:
        if "description" in checkpoint:
            found = Description.from_dict(checkpoint["description"])
        else:
            # a description has an entry for each column: a damaged width would fill the memory
            if options.get("embedding_dim", 0) > weights:
                raise ZooError("its embedding_dim does not fit its weights")
            found = model_class(model, beside).describe(schema, options)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError) as error:
        raise ZooError(f"its description is damaged: {error!r}") from error
    _check_experts(found, schema)
    return found


def _check_experts(found: Description, schema: Schema) -> None:
    fields = {field.name for field in schema.fields}
    seen = {expert.name: frozenset(expert.fields) for expert in found.experts}
    fits = len(seen) == len(found.experts) and fields.issuperset(found.unused)
    for expert in found.experts:
        fits &= fields >= seen[expert.name]
        fits &= all(name in seen and seen[name] < seen[expert.name] for name in expert.inside)
    if not fits:
        raise ZooError("its experts do not fit its schema")


def architecture_of(model: str, described: Description, options: Mapping[str, Any]) -> Architecture:
    """The architecture of a described model."""
    return Architecture(
        model,
        described.text,
        described.formula,
        dict(options),
        described.experts,
        described.unused,
    )


def sections(found: Architecture) -> Iterator[Section]:
    """The model with its options, and the experts of a mixture."""
    yield Section("architecture", [*found.description.split("\n\n"), _options(found.options)])
    if found.experts:
        reading = (
            "Each point is an expert; a line leads up to a larger subset, whose expert speaks "
            "where those below it are unsure."
        )
        yield Section("experts", [Figure(lambda: _draw(found), reading), _experts(found)])


def _options(options: Mapping[str, Any]) -> TextTable:
    """The options of a model, as a config has them."""
    return options_table("options", options)


def _experts(found: Architecture) -> TextTable:
    rows = (
        (expert.name, ", ".join(expert.fields), ", ".join(expert.inside) or "-")
        for expert in found.experts
    )
    columns = ("expert", "fields", "builds on")
    return text_table("experts, each on a subset of the fields", columns, rows, 3)


def _draw(found: Architecture) -> Any:
    from zoo.inspect import plots

    sets = {expert.name: expert.fields for expert in found.experts}
    return plots.hasse(sets, {expert.name: expert.inside for expert in found.experts})
