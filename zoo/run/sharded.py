"""A strategy of training in which each process owns a part of the tables of embeddings."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.utilities.types import _PATH
from pytorch_lightning import Trainer
from pytorch_lightning.strategies import DDPStrategy, StrategyRegistry
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor
from torch.optim import Optimizer

from zoo.data.errors import ZooError
from zoo.data.partition import Partition
from zoo.data.shard_content import new_folder, opened, remove_unnamed, replaced, split_off
from zoo.data.shard_part import write_part
from zoo.data.shards import Shards
from zoo.inspect.checkpoint import read
from zoo.nn.embedding import FusedEmbedding
from zoo.nn.shard import Shard
from zoo.nn.torchrec_shard import TorchRecShard
from zoo.run.backends import Backend, join, torchrec_optimizer

NAME = "sharded"
BY_TORCHREC = f"{NAME}_torchrec"
MODELS = (  # of a checkpoint; the second beside an average, the third by Lightning's SWA
    ("state_dict",),
    ("current_model_state",),
    ("callbacks", "StochasticWeightAveraging", "average_model_state"),
)


class ShardedStrategy(DDPStrategy):
    """DDP whose processes share the tables of embeddings: each owns a part of the rows.

    A process holds 1 / P of each table and of what the optimizer keeps of it. Processes send each
    other the rows of their batches and the gradients of these. All else is as with DDP, and so are
    the steps, up to the rounding of sums.

    A checkpoint is a small file, and a folder beside it in which each process writes its rows (see
    `zoo.data.shards`); any number of processes goes on from it, or from a plain checkpoint.

    Args:
        backend: What looks up and steps the rows: `exchange`, the own one; `torchrec`, TorchRec and
            FBGEMM, whose optimizers are adagrad and sgd (docs/scale.md says how to install them);
            `auto`, TorchRec on GPUs where it is installed and can do what the fit asks for.
        options: Options of Lightning's `DDPStrategy`.
    """

    strategy_name = NAME

    def __init__(self, backend: Backend = "auto", **options: Any) -> None:
        super().__init__(**options)
        self.backend: Backend = backend
        self._loaded: Shards | None = None  # the parts of the checkpoint that is being loaded
        self._written: tuple[Path, Any] = Path(), None  # the rows saved last, and of which state

    @property
    def tables(self) -> dict[str, FusedEmbedding]:
        """The embeddings whose tables are shared, by the names of these."""
        model = self.lightning_module
        assert model is not None
        found = ((path, m) for path, m in model.named_modules() if isinstance(m, FusedEmbedding))
        # a process may own no row of a small table
        return {f"{path}.table": m for path, m in found if len(m.table) or m.shard is not None}

    @property
    def shards(self) -> dict[str, Shard]:
        """Which rows this process owns, by the name of the table."""
        return {name: e.shard for name, e in self.tables.items() if e.shard is not None}

    def setup_environment(self) -> None:
        """Connects the processes, and lets each keep its rows: before a callback copies them."""
        super().setup_environment()
        seed, device = self.broadcast(torch.initial_seed()), self.root_device
        unshared = [embedding for embedding in self.tables.values() if embedding.shard is None]
        optimizer = self._torchrec_optimizer() if unshared else None
        for number, embedding in enumerate(unshared):
            rows, columns = embedding.table.shape
            shard = Shard(Partition(rows, self.world_size), self.global_rank)
            if optimizer is not None:
                shard = TorchRecShard(shard.partition, shard.part, columns, device, optimizer)
            embedding.share(shard, device, seed + number)
        model: Any = self.lightning_module
        model._ddp_params_and_buffers_to_ignore = self._left_alone()  # as DDP calls it

    def _torchrec_optimizer(self) -> str | None:
        """The optimizer of TorchRec's steps; None where a fit is not its."""
        assert self.lightning_module is not None
        trainer = self.lightning_module.trainer
        fits = trainer.state.fn == TrainerFn.FITTING
        return torchrec_optimizer(self.backend, trainer, self.root_device) if fits else None

    def setup_optimizers(self, trainer: Trainer) -> None:
        """Makes the optimizers; what they keep of TorchRec's rows is FBGEMM's."""
        super().setup_optimizers(trainer)
        for embedding in self.tables.values():
            shard = embedding.shard
            if isinstance(shard, TorchRecShard) and shard.holds(embedding.table):
                join(shard, self.optimizers, embedding.table)

    def _left_alone(self) -> list[str]:
        """What DDP does not exchange: the tables, and what is the same everywhere."""
        model = self.lightning_module
        assert model is not None
        constants = (
            f"{path}.{name}"
            for path, module in model.named_modules()
            for name in module._non_persistent_buffers_set
        )
        return [*self.shards, *constants]

    # Checkpoints

    def save_checkpoint(
        self, checkpoint: dict[str, Any], filepath: _PATH, storage_options: Any = None
    ) -> None:
        """Each process writes its rows, and then the first one all else."""
        target = Path(filepath)
        shards = {"/".join(map(str, path)): shard for *path, shard in self._places(checkpoint)}
        if not shards:
            return super().save_checkpoint(checkpoint, filepath, storage_options)
        if "://" in str(filepath):
            raise ZooError(f"{filepath}: the parts of shared tables are written to a folder")
        folder = self.broadcast(new_folder(target, checkpoint["global_step"]))
        rows = {key: shard.partition.rows for key, shard in shards.items()}
        content, tensors = split_off(checkpoint, rows, folder)
        state = checkpoint["global_step"], [(x.data_ptr(), x._version) for x in tensors.values()]
        if self._is_written(target, state):  # such as that of best.ckpt, for last.ckpt
            content, _ = split_off(checkpoint, rows, self._written[0])
        else:
            starts = {key: shard.start for key, shard in shards.items()}
            write_part(folder, self.global_rank, self.world_size, starts, tensors)
            self._written = folder, state
        self.barrier("all rows are written")
        if self.is_global_zero:
            opened(content, target)  # not all parts are there where machines share no disk
        super().save_checkpoint(content, filepath, storage_options)
        self.barrier("the checkpoint is written")
        if self.is_global_zero:
            remove_unnamed(target.parent)

    def _is_written(self, target: Path, state: Any) -> bool:
        """Whether the rows of all processes are those of the last save, in the same place."""
        folder, before = self._written
        same = before == state and folder.parent == target.parent and folder.is_dir()
        return self.reduce_boolean_decision(same, all=True)

    def _places(self, content: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
        """The path in a checkpoint of each tensor of rows of tables, and which rows these are."""
        for path in MODELS:
            model: Any = content
            for name in path:
                model = (model or {}).get(name)
            for name in self.shards.keys() & (model or {}).keys():
                yield *path, name, self.shards[name]
        states = content.get("optimizer_states", [])
        for i, (optimizer, saved) in enumerate(zip(self.optimizers, states, strict=False)):
            for number, shard in self._numbers(optimizer):
                for name, value in saved["state"].get(number, {}).items():
                    if isinstance(value, Tensor) and value.ndim:
                        yield "optimizer_states", i, "state", number, name, shard

    def _numbers(self, optimizer: Optimizer) -> Iterator[tuple[int, Shard]]:
        """The number of each table among the parameters of an optimizer."""
        places = [id(p) for group in optimizer.param_groups for p in group["params"]]
        for name, shard in self.shards.items():
            if (table := id(self.tables[name].table)) in places:
                yield places.index(table), shard

    def load_checkpoint(
        self, checkpoint_path: _PATH, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """A checkpoint with the rows that this process owns; no more than weights is unpickled."""
        path = Path(checkpoint_path)
        content = read(path)
        self._loaded = opened(content, path) if "shards" in content else None
        if self._loaded is None:
            return self._own_rows(content)
        for key in self._loaded.keys:  # those of the optimizer follow when there is one
            *place, name = key.split("/")
            if tuple(place) in MODELS:
                # the rows of the model go where they belong, without a copy
                is_own = place == ["state_dict"] and name in self.shards
                own = self.tables[name].table.data if is_own else None
                content = replaced(content, key, self._rows(self._loaded, key, own))
        return content

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Takes the rows that this process owns."""
        content = {"optimizer_states": checkpoint["optimizer_states"]}
        shards, self._loaded = self._loaded, None
        if shards is None:
            content = self._own_rows(content)
        for key in shards.keys if shards else ():
            section, *place = key.split("/")
            if shards and section == "optimizer_states":
                content = replaced(content, key, self._rows(shards, key, self._kept(place)))
        super().load_optimizer_state_dict({**checkpoint, **content})

    def _rows(self, shards: Shards, key: str, out: Tensor | None) -> Tensor:
        """The rows of a tensor that this process owns."""
        partition = Partition(shards.empty(key).shape[0], self.world_size)
        return shards.rows(key, *partition.bounds(self.global_rank), out)

    def _kept(self, place: list[str]) -> Tensor | None:
        """What an optimizer keeps so far at a place of the states of all.

        Args:
            place: Number of the optimizer, `state`, number of the parameter, and a name.
        """
        number, _, parameter, name = place
        optimizer = self.optimizers[int(number)]
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        return optimizer.state.get(parameters[int(parameter)], {}).get(name)

    def _own_rows(self, content: dict[str, Any]) -> dict[str, Any]:
        """A plain checkpoint with the rows that this process owns."""
        for *path, shard in self._places(content):
            whole = content
            for name in path:
                whole = whole[name]
            if len(whole) == shard.partition.rows:  # another one is refused later
                content = replaced(content, "/".join(map(str, path)), shard.of(whole))
        return content

    def remove_checkpoint(self, filepath: _PATH) -> None:
        """Removes a checkpoint and its rows."""
        super().remove_checkpoint(filepath)
        if self.is_global_zero:
            remove_unnamed(Path(filepath).parent)


def is_sharded(strategy: Any) -> bool:
    """Whether a value of `trainer.strategy`, as a config has it, is this strategy."""
    path = getattr(strategy, "class_path", strategy)
    return path in (NAME, BY_TORCHREC) or path == f"{__name__}.{ShardedStrategy.__name__}"


StrategyRegistry.register(NAME, ShardedStrategy, description="DDP with shared tables")
StrategyRegistry.register(
    BY_TORCHREC,
    ShardedStrategy,
    description="DDP with tables that TorchRec shares",
    backend="torchrec",
)
