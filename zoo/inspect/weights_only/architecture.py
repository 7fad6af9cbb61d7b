"""Which model a checkpoint holds, in the words of the model itself."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

from zoo.data.errors import ZooError
from zoo.data.schema import Schema
from zoo.inspect.chapters import MODEL
from zoo.inspect.page import Figure, Section
from zoo.inspect.page.prose import Prose
from zoo.inspect.page.tables import table_html
from zoo.inspect.table import TextTable, options_table, text_table
from zoo.models.description import Description, Expert
from zoo.models.registry import is_registered, model_class


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
    shown = [Prose(found.description), Changed(found)]
    yield Section("architecture", [_options(found.options)], MODEL, page=shown)
    yield Section("all options", [], MODEL, folded=True, page=[_options(found.options)])
    if found.experts:
        reading = (
            "Each point is an expert; a line leads up to a larger subset, whose expert speaks "
            "where those below it are unsure."
        )
        content = [Figure(lambda: _draw(found), reading), _experts(found)]
        yield Section("experts", content, MODEL)


@dataclass(frozen=True)
class Changed:
    """The options of a model that differ from the defaults of its class, for a page.

    Attributes:
        of: The model, whose class is asked only where it is shipped or its package has registered
            it.
    """

    of: Architecture

    def html(self) -> str:
        """A table; a sentence where all are as they are by default, or the class is not there."""
        defaults = _defaults(self.of.model)
        if defaults is None:
            return table_html(_options(self.of.options), "")
        changed = {
            name: value
            for name, value in self.of.options.items()
            if name not in defaults or _plain(defaults[name]) != _plain(value)
        }
        if not changed:
            return "<p>All options are as they are by default.</p>"
        return table_html(options_table("options that differ from the defaults", changed), "")


def _plain(value: Any) -> Any:
    """A value as configs have it: a tuple is a list."""
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _defaults(model: str) -> dict[str, Any] | None:
    """The defaults of a class and of those it inherits from; None where it is not known here."""
    if not is_registered(model):
        return None
    try:
        classes = model_class(model).__mro__
    except ZooError:
        return None
    found: dict[str, Any] = {}
    for each in reversed(classes):
        if "__init__" in vars(each):
            arguments = signature(vars(each)["__init__"]).parameters.values()
            found |= {a.name: a.default for a in arguments if a.default is not a.empty}
    return found


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
