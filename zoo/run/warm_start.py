"""A fit that begins with the weights of a run, on data with a vocabulary of their own."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy
from rich.console import Console
from rich.table import Table

from zoo.data.encoder import check_encoder, encoder_checksums
from zoo.data.errors import ZooError
from zoo.data.files import temporary_folder
from zoo.data.known_ids import KnownIds, known_ids
from zoo.data.module import ZooDataModule, datamodule_of
from zoo.data.schema import Schema
from zoo.data.shard_content import of_weights, opened, with_tensors
from zoo.data.shards import TableBeside
from zoo.inspect.checkpoint import optimizers_of, read
from zoo.models.base import ZooModule
from zoo.models.description import class_name
from zoo.models.warm_start import take_over, take_over_state
from zoo.nn.embedding import without_tables
from zoo.run.directory import run_of

HELP = (
    "Run (or checkpoint of one) whose weights a fit begins with. Values that its encoder knows "
    "keep their embeddings and the state of the optimizer, new values begin as those of a new "
    "model; all other weights are taken over. Fields and architecture must be those of the run."
)


class WarmStart(Callback):
    """Gives the model and its optimizer what a run has learned, before the first step.

    Args:
        checkpoint: Checkpoint of the run.
    """

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint
        self.content = read(checkpoint)  # which refuses a damaged one before data are read

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Takes it over, and prints the numbers of known and new values."""
        assert isinstance(pl_module, ZooModule)
        if not isinstance(trainer.strategy, SingleDeviceStrategy | DDPStrategy):
            raise ZooError(
                "warm_start needs the whole model on each device: leave out trainer.strategy"
            )
        data = datamodule_of(trainer)
        content, beside = self.content, dict[str, TableBeside]()
        if "shards" in content:  # of whose tables this process reads the rows that it needs
            shards = opened(content, self.checkpoint)
            beside = {key: TableBeside(shards, key) for key in shards.keys}
            content = with_tensors(content, beside)
        before = self._model(type(pl_module))
        _check_fields(before.schema, pl_module.schema, self.checkpoint)
        known = self._known(data, pl_module.schema) if data else {}
        weights = {key.partition("/")[2]: x for key, x in beside.items() if of_weights(key)}
        take_over(pl_module, before, known, weights)
        states = optimizers_of(content)
        if len(states) != len(trainer.optimizers):
            raise ZooError(f"warm_start: {self.checkpoint} has no state of the optimizer")
        for optimizer, state in zip(trainer.optimizers, states, strict=True):
            take_over_state(pl_module, optimizer, before, state, known)
        if trainer.is_global_zero:
            _print(self.checkpoint, known)

    def _model(self, wanted: type[ZooModule]) -> ZooModule:
        saved = self.content.get("model_class")
        if saved != class_name(wanted):
            raise ZooError(
                f"warm_start: {self.checkpoint} holds {saved or 'no model'}, not "
                f"{class_name(wanted)}: weights are known for the same architecture alone"
            )
        options = self.content["hyper_parameters"].items()
        with without_tables():
            made = wanted(**{name: x for name, x in options if not name.startswith("_")})
        made.on_load_checkpoint({**self.content})
        made.load_state_dict(self.content["state_dict"], assign=True)  # without a copy
        return made

    def _known(self, data: ZooDataModule, schema: Schema) -> Mapping[str, KnownIds]:
        if not any(field.has_ids for field in schema.fields):
            return {}
        before = run_of(self.checkpoint) / "encoder"
        now = temporary_folder(self) / "encoder"
        data.save_encoder(now)  # with its crosses
        for folder, named in ((before, f"the run of {self.checkpoint}"), (now, "these data")):
            if not folder.is_dir():
                raise ZooError(f"warm_start: no encoder of {named} says what its ids mean")
        check_encoder(self.content.get("data"), encoder_checksums(before))
        return known_ids(before, now, schema)


def _check_fields(before: Schema, now: Schema, checkpoint: Path) -> None:
    """Refuses other fields; their numbers of ids may differ."""
    alike = [
        Schema(tuple(replace(f, cardinality=2 if f.has_ids else 0) for f in schema.fields))
        for schema in (before, now)
    ]
    if difference := alike[0].difference(alike[1]):
        raise ZooError(
            f"warm_start: the model of {checkpoint} has other fields than these data: "
            f"{difference}; its layers are of those fields, in that order"
        )


def _print(checkpoint: Path, known: Mapping[str, KnownIds]) -> None:
    console = Console(stderr=True, highlight=False)
    console.print(f"warm start from {checkpoint}", soft_wrap=True)
    if not known:
        return
    table = Table("values of")
    for column in ("known", "new", "gone"):
        table.add_column(column, justify="right")
    for name, ids in known.items():
        table.add_row(name, f"{ids.known:,}", f"{ids.values - ids.known:,}", f"{ids.gone:,}")
    console.print(table)
