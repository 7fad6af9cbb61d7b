"""Two checkpoints side by side."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.text import Text

from zoo.inspect.inspection import Inspection
from zoo.inspect.page import Section
from zoo.inspect.shown import Shown
from zoo.inspect.table import TextTable, clean, flat_options, short, text_table

Pair = tuple[Any, Any]  # of the first and the second checkpoint; None where one has nothing


@dataclass(frozen=True)
class Comparison(Shown):
    """What differs between two checkpoints.

    Attributes:
        first: Inspection of the first checkpoint, called A.
        second: Inspection of the second checkpoint, called B.
    """

    first: Inspection
    second: Inspection

    @property
    def schema(self) -> str | None:
        """The first difference of the schemas in words; None where they are equal."""
        one, two = self.first.schema, self.second.schema
        if one is None or two is None:
            return None if one is two else "only one of them has a schema"
        return one.difference(two)

    @property
    def fields(self) -> dict[str, Pair]:
        """The fields that differ, as the schemas have them."""
        return _differing(
            *({f.field.name: asdict(f.field) for f in side.fields} for side in self._sides)
        )

    @property
    def options(self) -> dict[str, Pair]:
        """The options of the models that differ; `model` is the class."""
        return _differing(*(_options(side) for side in self._sides))

    @property
    def parameters(self) -> dict[str, Pair]:
        """The number of parameters of each part, and of `all`."""
        return _joined(
            *(
                {name: part.parameters for name, part in side.parts.items()}
                | {"all": side.parameters}
                for side in self._sides
            )
        )

    @property
    def training(self) -> dict[str, Pair]:
        """Epochs, steps, learning rate, and the metrics at save."""
        return _joined(*(dict(_training(side)) for side in self._sides))

    @property
    def metrics(self) -> dict[str, Pair]:
        """Those of the runs' metrics.json."""
        return _joined(*((side.run and side.run.metrics) or {} for side in self._sides))

    @property
    def _sides(self) -> tuple[Inspection, Inspection]:
        return self.first, self.second

    def to_dict(self) -> dict[str, Any]:
        """As plain data: both inspections, and what differs."""
        named = ("schema", "fields", "options", "parameters", "training", "metrics")
        return {
            "first": self.first.to_dict(),
            "second": self.second.to_dict(),
            **{name: getattr(self, name) for name in named},
        }

    @property
    def title(self) -> str:
        """The title of a page that begins with it."""
        return f"A: {self.first.file}, B: {self.second.file}"

    def heading(self) -> Iterator[Text]:
        """The files, and whether the schemas differ."""
        yield Text(clean(f"A  {self.first.file}\nB  {self.second.file}\n"), "bold")
        yield Text(clean(self._schemas()))

    def sections(self) -> Iterator[Section]:
        """What differs."""
        yield Section("what differs", [self._schemas(), *self._tables()])

    def labelled_warnings(self) -> Iterator[tuple[str, str]]:
        """The warnings of both."""
        for name, side in zip("AB", self._sides, strict=True):
            yield from ((name, warning) for warning in side.warnings)

    def _schemas(self) -> str:
        return f"schemas: {self.schema or 'equal'}"

    def _tables(self) -> Iterator[TextTable]:
        if self.fields:
            shown = {name: tuple(map(_field_text, pair)) for name, pair in self.fields.items()}
            yield _pairs("fields that differ", "field", shown, 3)
        yield _pairs("options that differ", "option", _flat(self.options), 3)
        yield _pairs("parameters", "part", self.parameters)
        yield _pairs("training", "", self.training)
        if self.metrics:
            yield _pairs("metrics of the runs' best checkpoints", "", self.metrics)


def _pairs(title: str, name: str, pairs: Mapping[str, Any], words: int = 1) -> TextTable:
    rows = ((key, *pair) for key, pair in pairs.items())
    return text_table(title, (name, "A", "B"), rows, words)


def _flat(pairs: Mapping[str, Pair]) -> dict[str, Pair]:
    """Pairs of options, each value of nested ones by itself."""
    sides = (
        {name: pair[side] for name, pair in pairs.items() if pair[side] is not None}
        for side in range(2)
    )
    return _differing(*({name: _cell(v) for name, v in flat_options(side)} for side in sides))


def _cell(value: Any) -> Any:
    return value if isinstance(value, int | float) else short(value)


def _field_text(field: Mapping[str, Any] | None) -> str | None:
    """A field's properties but its name."""
    if field is None:
        return None
    text = [field["kind"]]
    text += [f"{field['cardinality']:,} ids"] if field["cardinality"] else []
    text += [f"group {field['group']}"] if field["group"] else []
    text += ["past only"] if field["past_only"] else []
    return ", ".join(text)


def _options(side: Inspection) -> dict[str, Any]:
    model = side.architecture
    return {"model": model.model, **model.options} if model else {}


def _training(side: Inspection) -> Iterator[tuple[str, Any]]:
    yield "epochs", side.training.epochs
    yield "steps", side.training.steps
    yield "learning rate", side.training.learning_rate
    for monitor in side.training.monitors:
        yield f"{monitor.name} at save", monitor.value


def _joined(one: Mapping[str, Any], two: Mapping[str, Any]) -> dict[str, Pair]:
    return {name: (one.get(name), two.get(name)) for name in {**one, **two}}


def _differing(one: Mapping[str, Any], two: Mapping[str, Any]) -> dict[str, Pair]:
    return {name: pair for name, pair in _joined(one, two).items() if pair[0] != pair[1]}
