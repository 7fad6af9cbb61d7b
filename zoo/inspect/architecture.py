"""Which model a checkpoint holds, in the words of the model's own docstring."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytorch_lightning import LightningModule

import zoo
from zoo.experts.lattice import Lattice
from zoo.experts.module import MixtureModule
from zoo.schema import Schema, ZooError

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


def models() -> dict[str, type[LightningModule]]:
    """The exported models by name."""
    exported = {name: getattr(zoo, name) for name in zoo.__all__}
    return {
        name: value
        for name, value in exported.items()
        if isinstance(value, type) and issubclass(value, LightningModule)
    }


def architecture_of(model: str, schema: Schema, options: Mapping[str, Any]) -> Architecture:
    """Describes a model of the given class.

    Raises:
        ZooError: where there is no such class, or its subsets do not fit the schema.
    """
    known = models()
    if model not in known:
        raise ZooError(
            f"holds a model {model!r}, which this version of interpretable-zoo does not know; "
            f"it knows {', '.join(known)}"
        )
    model_class = known[model]
    experts, unused = (), ()
    if issubclass(model_class, MixtureModule):
        lattice = Lattice(schema, options.get("subsets"))
        inside = [tuple(lattice.names[j] for j in below) for below in lattice.children]
        experts = tuple(map(Expert, lattice.names, lattice.fields, inside))
        unused = lattice.unused
    description = "\n\n".join(_paragraphs(model_class))
    return Architecture(model, description, _formula(model_class), dict(options), experts, unused)


def _paragraphs(model_class: type) -> list[str]:
    """What a class docstring says before it lists arguments; only formulas keep their lines."""
    text = inspect.cleandoc(model_class.__doc__ or "").partition("\nArgs:")[0]
    paragraphs = [paragraph.strip("\n") for paragraph in text.split("\n\n")]
    return [p if p.startswith(INDENT) else " ".join(p.split()) for p in paragraphs if p]


def _formula(model_class: type) -> str:
    """The first indented paragraph of a docstring, its own or the nearest base class's."""
    for cls in model_class.__mro__:
        for paragraph in _paragraphs(cls) if cls.__module__.startswith("zoo.") else ():
            if paragraph.startswith(INDENT):
                return paragraph
    return ""
