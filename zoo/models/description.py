"""What a model says of itself, as plain data: a checkpoint carries it, and `inspect` reads it.

So a checkpoint is read without importing its model, which may be somebody else's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import zoo
from zoo.data.errors import ZooError

FORMULA = "    "  # what the paragraphs of a docstring that are formulas begin with


@dataclass(frozen=True)
class Expert:
    """An expert of a mixture.

    Attributes:
        name: Name of its subset.
        fields: Names of the fields that it sees.
        inside: Names of the largest subsets inside its own, on whose experts it builds.
    """

    name: str
    fields: tuple[str, ...]
    inside: tuple[str, ...]


@dataclass(frozen=True)
class FieldRows:
    """Rows of a parameter that belong to fields: as many for each as it has ids, one for a number.

    Attributes:
        parameter: Name of the parameter.
        fields: Names of the fields, in the order of the rows.
        column: The column that is meant; None is the whole row, or the entry of a vector.
    """

    parameter: str
    fields: tuple[str, ...]
    column: int | None = None


@dataclass(frozen=True)
class FieldGrid:
    """A parameter [L, W, 1] or [L, W, W] of L layers, whose axes of width W belong to fields.

    Attributes:
        title: What the grid shows, such as `cross weights`.
        reading: How to read it, one sentence.
        parameter: Name of the parameter.
        columns: For each field its places along an axis of width W.
    """

    title: str
    reading: str
    parameter: str
    columns: dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class FieldPairs:
    """A parameter [P * D, D]: a matrix for each pair of fields, (1, 2), (1, 3), .., (2, 3).

    Attributes:
        title: What the matrices are, such as `bilinear weights`.
        reading: How to read a grid of their norms, one sentence.
        parameter: Name of the parameter.
        fields: Names of the fields.
    """

    title: str
    reading: str
    parameter: str
    fields: tuple[str, ...]


@dataclass(frozen=True)
class Description:
    """A model in words, and which of its weights belong to which fields.

    Attributes:
        text: What the model is, in paragraphs; those that begin with four spaces are formulas.
        embeddings: Embedding vectors of the ids of categorical fields.
        first_order: What each value of a field, or each unit of a number, adds to the logit.
        grids: Weights between fields, or of fields by layer.
        experts: Experts of a mixture.
        unused: Names of the fields that no expert of a mixture sees.
        pairs: Matrices between two fields each.
    """

    text: str
    embeddings: tuple[FieldRows, ...] = ()
    first_order: tuple[FieldRows, ...] = ()
    grids: tuple[FieldGrid, ...] = ()
    experts: tuple[Expert, ...] = ()
    unused: tuple[str, ...] = ()
    pairs: tuple[FieldPairs, ...] = ()

    @property
    def formula(self) -> str:
        """The first formula of the text; empty where there is none."""
        paragraphs = self.text.split("\n\n")
        return next((text for text in paragraphs if text.startswith(FORMULA)), "")

    def to_dict(self) -> dict[str, Any]:
        """As a checkpoint holds it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Description":
        """Reads what `to_dict` wrote; what a later version has added is passed over.

        Raises:
            ZooError: where it is damaged.
        """
        try:
            return cls(
                str(data["text"]),
                tuple(_field_rows(rows) for rows in data["embeddings"]),
                tuple(_field_rows(rows) for rows in data["first_order"]),
                tuple(_field_grid(grid) for grid in data["grids"]),
                tuple(
                    Expert(str(e["name"]), _names(e["fields"]), _names(e["inside"]))
                    for e in data["experts"]
                ),
                _names(data["unused"]),
                # which earlier versions did not write
                tuple(_field_pairs(pairs) for pairs in data.get("pairs", ())),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ZooError(f"its description is damaged: {error!r}") from error


def class_name(model: type) -> str:
    """The name by which a checkpoint calls a class: its own where it is shipped, else its path."""
    shipped = zoo.MODELS.get(model.__name__) == model.__module__
    return model.__name__ if shipped else f"{model.__module__}.{model.__qualname__}"


def paragraphs_of(docstring: str) -> str:
    """What a docstring says before it lists arguments; only formulas keep their lines."""
    text = docstring.partition("\nArgs:")[0]
    paragraphs = [paragraph.strip("\n") for paragraph in text.split("\n\n")]
    kept = [p if p.startswith(FORMULA) else " ".join(p.split()) for p in paragraphs if p]
    return "\n\n".join(kept)


def _field_rows(data: Mapping[str, Any]) -> FieldRows:
    column = data["column"]
    return FieldRows(
        str(data["parameter"]), _names(data["fields"]), None if column is None else int(column)
    )


def _field_grid(data: Mapping[str, Any]) -> FieldGrid:
    columns = {str(name): tuple(map(int, places)) for name, places in data["columns"].items()}
    return FieldGrid(str(data["title"]), str(data["reading"]), str(data["parameter"]), columns)


def _field_pairs(data: Mapping[str, Any]) -> FieldPairs:
    return FieldPairs(
        str(data["title"]), str(data["reading"]), str(data["parameter"]), _names(data["fields"])
    )


def _names(values: Sequence[Any]) -> tuple[str, ...]:
    if isinstance(values, str):
        raise TypeError(f"{values!r} is not a list of names")
    return tuple(map(str, values))


def layer_name(name: str) -> str:
    """`layer 2 of deep` of the module `deep.activation_layers.1`, counted within its part."""
    part, *rest = name.split(".")
    numbers = [int(step) for step in rest if step.isdecimal()]
    return f"layer {numbers[0] + 1} of {part}" if numbers else part
