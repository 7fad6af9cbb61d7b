"""The facts of a checkpoint: what it is, how it was trained, and what to be wary of."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.jupyter import JupyterMixin
from torch import Tensor

from zoo.data.errors import ZooError
from zoo.data.schema import Field, Schema
from zoo.inspect.architecture import Architecture, architecture_of
from zoo.inspect.checkpoint import parameters_of, read, squares_of
from zoo.inspect.effects import Effects, effects_of
from zoo.inspect.training import Run, Training, run_beside, training_of
from zoo.inspect.warnings import warnings_of
from zoo.inspect.weights import TABLE, Rows, Weights, idle, parts, rows_by_field

EXPLAINED = 4000  # rows of a split that are explained, at most, where nothing else is asked for


@dataclass(frozen=True)
class FieldFacts:
    """A field of the schema.

    Attributes:
        field: as the schema has it.
        crosses: the fields that it crosses, where it is a cross.
        rows: its embedding rows, where the model has such.
    """

    field: Field
    crosses: tuple[str, ...] = ()
    rows: Rows | None = None


@dataclass(frozen=True)
class Inspection(JupyterMixin):
    """What is known of a checkpoint; in a notebook and in `rich.print` it shows as tables.

    Attributes:
        file: its path.
        bytes: its size.
        architecture: None where the checkpoint is of another project's model.
        schema: None as above.
        fields: of the schema, in its order.
        parts: of the model, by name.
        effects: what the weights say of the fields by themselves.
        training: how far it went.
        run: what lies in the run directory, where the checkpoint is in one.
        warnings: what to be wary of, each in one sentence.
    """

    file: str
    bytes: int
    architecture: Architecture | None
    schema: Schema | None
    fields: tuple[FieldFacts, ...]
    parts: dict[str, Weights]
    effects: Effects
    training: Training
    run: Run | None
    warnings: tuple[str, ...]

    @property
    def parameters(self) -> int:
        """Number of trained weights."""
        return sum(part.parameters for part in self.parts.values())

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        plain = asdict(self)
        plain["schema"] = self.schema and self.schema.to_dict()
        for facts in plain["fields"]:
            facts |= facts.pop("field")
        return {**plain, "parameters": self.parameters}

    def __rich__(self) -> Group:
        from zoo.inspect.tables import tables

        return tables(self)


def load(path: str | Path) -> Inspection:
    """Inspects a checkpoint, without data and without running anything in it.

    Args:
        path: of the checkpoint.

    Raises:
        ZooError: where it is no checkpoint, is damaged, could run code, or is of a version of
            this project that this one cannot read.
    """
    path = Path(path)
    checkpoint = read(path)
    architecture, schema = _identity(path, checkpoint)
    parameters = parameters_of(checkpoint)
    try:
        squares, training = squares_of(checkpoint), training_of(checkpoint)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError) as error:
        raise ZooError(f"{path} is damaged: its training state cannot be read") from error
    rows: dict[str, Rows] = {}
    if architecture and TABLE in parameters:
        init_std = architecture.options.get("embedding_std")
        rows = _rows(path, schema, parameters, squares.get(TABLE), init_std)
    fields = schema.fields if schema else ()
    run, complaints = run_beside(path, architecture.model if architecture else None)
    effects = _effects(path, architecture, schema, parameters)
    try:
        effects = effects.named(run)
    except ZooError as error:
        complaints.append(str(error))
    warned = warnings_of(architecture, rows, parameters, squares, training.steps)
    return Inspection(
        str(path),
        path.stat().st_size,
        architecture,
        schema,
        tuple(FieldFacts(f, schema.crossed(f), rows.get(f.name)) for f in fields),
        parts(parameters),
        effects,
        training,
        run,
        (*warned, *complaints),
    )


def _identity(
    path: Path, checkpoint: Mapping[str, Any]
) -> tuple[Architecture | None, Schema | None]:
    """The architecture and schema; None of each where the model is another project's."""
    options = checkpoint.get("hyper_parameters")
    model = checkpoint.get("model_class")
    if not isinstance(model, str) or not isinstance(options, Mapping) or "schema" not in options:
        return None, None
    try:
        schema = Schema.from_dict(options["schema"])
        options = {name: value for name, value in options.items() if name != "schema"}
        return architecture_of(model, schema, options), schema
    except ZooError as error:
        raise ZooError(f"{path}: {error}") from error
    except (AttributeError, KeyError, RuntimeError, TypeError) as error:
        raise ZooError(f"{path} is damaged: its schema cannot be read") from error


def _rows(
    path: Path,
    schema: Schema,
    parameters: Mapping[str, Tensor],
    squares: tuple[Tensor, float] | None,
    init_std: Any,
) -> dict[str, Rows]:
    table = parameters[TABLE]
    ids = sum(field.cardinality for field in schema.categorical)
    if table.ndim != 2 or len(table) != ids:
        raise ZooError(f"{path} is damaged: its embedding table does not fit its schema")
    total = sum(tensor.numel() for tensor in parameters.values())
    never = idle(table, squares, init_std if isinstance(init_std, float) else None)
    return rows_by_field(schema, table, never, total)


def _effects(
    path: Path,
    architecture: Architecture | None,
    schema: Schema | None,
    parameters: Mapping[str, Tensor],
) -> Effects:
    if architecture is None or schema is None:
        return Effects()
    try:
        return effects_of(schema, architecture.options, parameters)
    except ZooError as error:
        raise ZooError(f"{path} is damaged: {error}") from error
