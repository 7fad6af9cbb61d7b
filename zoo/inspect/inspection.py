"""An inspection: what a checkpoint holds, how it was trained, and its warnings."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.text import Text
from torch import Tensor

from zoo.data.encoder import encoder_checksums
from zoo.data.errors import ZooError
from zoo.data.schema import Schema
from zoo.data.shard_content import bytes_of_parts, of_weights, restored
from zoo.inspect.checkpoint import SQUARES, parameters_of, read, squares_of
from zoo.inspect.page import Section
from zoo.inspect.shown import Shown
from zoo.inspect.table import clean
from zoo.inspect.weights_only import architecture, effects, fields, parts, training
from zoo.inspect.weights_only.architecture import Architecture
from zoo.inspect.weights_only.effects import Effects
from zoo.inspect.weights_only.fields import InspectedField
from zoo.inspect.weights_only.parts import Weights
from zoo.inspect.weights_only.run import Run, run_beside
from zoo.inspect.weights_only.training import Training
from zoo.inspect.weights_only.warnings import warnings_of
from zoo.models.description import Description
from zoo.models.installed import folders_of

ROWS_EXPLAINED = 4000  # of a split, at most, where nothing else is asked for


@dataclass(frozen=True)
class Inspection(Shown):
    """What is known of a checkpoint; in a notebook and in `rich.print` it shows as tables.

    Attributes:
        file: Path of the checkpoint.
        bytes: Its size, with that of the parts beside it.
        architecture: The model; None where the checkpoint is of another project's model.
        schema: Fields of the model; None as above.
        fields: Fields of the schema with their embeddings, in its order.
        parts: Weights of each part of the model, by name.
        effects: What the weights say of the fields by themselves.
        training: How far the training went.
        run: What lies in the run directory, where the checkpoint is in one.
        data: Checksums of the encoder and the rows that it was trained with, where it has them.
        warnings: Warnings, each one sentence.
    """

    file: str
    bytes: int
    architecture: Architecture | None
    schema: Schema | None
    fields: tuple[InspectedField, ...]
    parts: dict[str, Weights]
    effects: Effects
    training: Training
    run: Run | None
    data: dict[str, str]
    warnings: tuple[str, ...]

    @property
    def parameters(self) -> int:
        """Number of trained weights."""
        return sum(part.parameters for part in self.parts.values())

    @property
    def title(self) -> str:
        """The title of a page that begins with it."""
        return f"{self.architecture.model if self.architecture else 'model'}: {self.file}"

    def heading(self) -> Iterator[Text]:
        """The file, and what the model says of itself."""
        yield Text(clean(f"{self.file} ({self.bytes / 1e6:,.1f} MB)"), "bold")
        if self.architecture:
            model = self.architecture
            yield Text(clean(f"\n{model.model}: {model.description}\n"))

    def sections(self) -> Iterator[Section]:
        """One or more of each fact."""
        if self.architecture:
            yield from architecture.sections(self.architecture)
        yield from fields.sections(self.fields)
        yield from parts.sections(self.parts)
        options = self.architecture.options if self.architecture else {}
        yield from training.sections(self.training, self.run, options)
        yield from effects.sections(self.effects)

    def labelled_warnings(self) -> Iterator[tuple[str, str]]:
        """The warnings, without a label."""
        return (("", warning) for warning in self.warnings)

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        plain = asdict(self)
        plain["schema"] = self.schema and self.schema.to_dict()
        for field in plain["fields"]:
            field |= field.pop("field")
        return {**plain, "parameters": self.parameters}


@dataclass(frozen=True)
class _Model:
    """What a checkpoint says of its model."""

    name: str
    schema: Schema
    options: dict[str, Any]
    description: Description


def load(path: str | Path) -> Inspection:
    """Inspects a checkpoint, without data and without running anything in it.

    Args:
        path: Path of the checkpoint.

    Raises:
        ZooError: where it is no checkpoint, is damaged, could run code, or is of a version of
            this project that this one cannot read.
    """
    path = Path(path)
    small = read(path)
    checkpoint = restored(small, path, lambda key: of_weights(key) or key.endswith(SQUARES))
    parameters = parameters_of(checkpoint)
    model = _model_of(path, checkpoint, sum(tensor.numel() for tensor in parameters.values()))
    try:
        squares, trained = squares_of(checkpoint), training.training_of(checkpoint)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError) as error:
        raise ZooError(f"{path} is damaged: its training state cannot be read") from error
    inspected, found = _of_weights(path, model, parameters, squares)
    run, complaints = run_beside(path, model and model.name)
    saved = _data_of(checkpoint)
    try:
        _check_encoder(saved, run)
        found = found.named(run)
    except ZooError as error:
        complaints.append(str(error))
    described = None
    if model:
        described = architecture.architecture_of(model.name, model.description, model.options)
    warned = warnings_of(described, inspected, parameters, squares, trained.steps)
    return Inspection(
        str(path),
        path.stat().st_size + bytes_of_parts(small, path),
        described,
        model and model.schema,
        inspected,
        parts.parts_of(parameters),
        found,
        trained,
        run,
        saved,
        (*warned, *complaints),
    )


def _data_of(checkpoint: Mapping[str, Any]) -> dict[str, str]:
    """The checksums of the data that a checkpoint was trained on; none of earlier versions."""
    saved = checkpoint.get("data")
    return {str(k): str(v) for k, v in saved.items()} if isinstance(saved, Mapping) else {}


def _check_encoder(saved: Mapping[str, str], run: Run | None) -> None:
    """Refuses names of values by the encoder of another checkpoint."""
    if run is None or not run.encoder.is_dir():
        return
    here = encoder_checksums(run.encoder)
    if any(saved[part] != here[part] for part in saved.keys() & here.keys()):
        raise ZooError(
            f"{run.encoder} is not the encoder that the checkpoint was trained with, so that it "
            "cannot name the values of ids"
        )


def _model_of(path: Path, checkpoint: Mapping[str, Any], weights: int) -> _Model | None:
    """What a checkpoint says of its model; None where it is another project's."""
    options = checkpoint.get("hyper_parameters")
    model = checkpoint.get("model_class")
    if not isinstance(model, str) or not isinstance(options, Mapping) or "schema" not in options:
        return None
    try:
        schema = Schema.from_dict(options["schema"])
    except ZooError as error:
        raise ZooError(f"{path}: {error}") from error
    except (AttributeError, KeyError, RuntimeError, TypeError) as error:
        raise ZooError(f"{path} is damaged: its schema cannot be read") from error
    options = {name: value for name, value in options.items() if name != "schema"}
    try:
        described = architecture.description_of(
            checkpoint, model, schema, options, weights, folders_of(path)
        )
    except ZooError as error:
        raise ZooError(f"{path}: {error}") from error
    return _Model(model, schema, options, described)


def _of_weights(
    path: Path,
    model: _Model | None,
    parameters: Mapping[str, Tensor],
    squares: Mapping[str, tuple[Tensor, float]],
) -> tuple[tuple[InspectedField, ...], Effects]:
    """The fields with their embeddings, and what the weights say of them."""
    if model is None:
        return (), Effects()
    schema, described = model.schema, model.description
    # rows that decay are not those of the start, trained or not
    decays = model.options.get("embedding_weight_decay")
    init_std = None if decays else model.options.get("embedding_std")
    try:
        inspected = fields.fields_of(schema, described, parameters, squares, init_std)
        return inspected, effects.effects_of(schema, described, parameters)
    except ZooError as error:
        raise ZooError(f"{path} is damaged: {error}") from error
