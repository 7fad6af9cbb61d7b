"""Two checkpoints side by side."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Group
from rich.jupyter import JupyterMixin

from zoo.inspect.facts import Inspection

Pair = tuple[Any, Any]  # of the first and the second checkpoint; None where one has nothing


@dataclass(frozen=True)
class Comparison(JupyterMixin):
    """What differs between two checkpoints."""

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

    def __rich__(self) -> Group:
        from zoo.inspect.tables import comparison

        return comparison(self)


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
