"""Which model a checkpoint holds, in the words of the model's own docstring."""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zoo
from zoo.data.errors import ZooError
from zoo.data.schema import Schema
from zoo.experts.lattice import Lattice

INDENT = "    "  # of the formulas in docstrings


@dataclass(frozen=True)
class Expert:
    """An expert of a mixture.

    Attributes:
        name: of its subset.
        fields: that it sees.
        inside: the largest subsets inside its own, on whose experts it builds.
    """

    name: str
    fields: tuple[str, ...]
    inside: tuple[str, ...]


@dataclass(frozen=True)
class Architecture:
    """A model.

    Attributes:
        model: its class in `zoo`.
        description: what its docstring says of it.
        formula: of its prediction, as the docstring has it; empty where there is none.
        options: of its constructor, the schema left out.
        experts: of a mixture.
        unused: fields that no expert of a mixture sees.
    """

    model: str
    description: str
    formula: str
    options: dict[str, Any]
    experts: tuple[Expert, ...] = ()
    unused: tuple[str, ...] = ()


def architecture_of(model: str, schema: Schema, options: Mapping[str, Any]) -> Architecture:
    """Describes a model of the given class.

    Raises:
        ZooError: where there is no such class, or its subsets do not fit the schema.
    """
    if model not in zoo.MODELS:
        raise ZooError(
            f"holds a model {model!r}, which this version of interpretable-zoo does not know; "
            f"it knows {', '.join(zoo.MODELS)}"
        )
    experts, unused = (), ()
    if "subsets" in options:  # a mixture
        lattice = Lattice(schema, options.get("subsets"))
        inside = [tuple(lattice.names[j] for j in below) for below in lattice.children]
        experts = tuple(map(Expert, lattice.names, lattice.fields, inside))
        unused = lattice.unused
    paragraphs = _paragraphs(model)
    formula = next((text for text in paragraphs if text.startswith(INDENT)), "")
    return Architecture(model, "\n\n".join(paragraphs), formula, dict(options), experts, unused)


def _paragraphs(model: str) -> list[str]:
    """What a model's docstring says before it lists arguments; only formulas keep their lines."""
    text = _docstring(model).partition("\nArgs:")[0]
    paragraphs = [paragraph.strip("\n") for paragraph in text.split("\n\n")]
    return [p if p.startswith(INDENT) else " ".join(p.split()) for p in paragraphs if p]


def _docstring(model: str) -> str:
    """Of a model's class, from its source: the import of Lightning would take seconds."""
    file = Path(zoo.__file__).parents[1] / (zoo.MODELS[model].replace(".", "/") + ".py")
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == model:
            return ast.get_docstring(node) or ""
    return ""
