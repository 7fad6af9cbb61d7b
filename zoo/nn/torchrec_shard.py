"""A table that is shared by TorchRec, whose rows FBGEMM looks up and steps.

Shapes: U distinct ids of a batch, C columns.
"""

import logging
import warnings
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.autograd.function import once_differentiable
from torch.optim import Optimizer

from zoo.data.partition import Partition
from zoo.nn.shard import Shard, of_each_row

# fbgemm 1.x goes with torch 2.(x + 5); what torchrec says it needs would replace torchmetrics
RELEASE = f"1.{int(torch.__version__.split('.')[1]) - 5}.0"
FBGEMM = "fbgemm-gpu" if torch.version.cuda else "fbgemm-gpu-cpu"
COMMAND = (
    f"pip install --no-deps torchrec=={RELEASE} {FBGEMM}=={RELEASE} tensordict pyre-extensions "
    "typing-inspect pyvers orjson importlib_metadata zipp mypy_extensions"
)
MODULES = (
    "torchrec",
    "torchrec.distributed.embedding",
    "torchrec.distributed.sharding_plan",
    "torchrec.distributed.types",
    "fbgemm_gpu.split_embedding_configs",
)
TABLE, IDS = "table", "ids"  # names that TorchRec asks for
# what FBGEMM keeps of a table, by the names of torch's optimizers
KEPT = {"adagrad": ("sum",), "sgd": ()}


def is_installed() -> bool:
    """Whether TorchRec and FBGEMM are there; neither is imported."""
    return find_spec("torchrec") is not None and find_spec("fbgemm_gpu") is not None


class TorchRecShard(Shard):
    """The rows of a table that this process owns, in TorchRec's `EmbeddingCollection`.

    Sharded by rows, of which each process has the same number, at the positions of `Partition`.
    FBGEMM steps the rows in the backward pass, in one kernel, as the optimizer would that they
    `join`. `rows` and `kept` are views of its memory, whose width is a multiple of 4.

    Args:
        partition: Which process owns which row.
        part: Number of this process.
        columns: Number of columns of the table, C.
        device: Where the rows lie.
        optimizer: How rows are stepped: `adagrad` or `sgd`, as torch's without options do.

    Attributes:
        rows: [rows of this process, C] the rows.
        kept: What the optimizer keeps of them, by torch's names.
    """

    def __init__(
        self,
        partition: Partition,
        part: int,
        columns: int,
        device: torch.device,
        optimizer: str,
    ) -> None:
        super().__init__(partition, part)
        self.columns = columns
        self.optimizer = optimizer
        self._joined: tuple[Optimizer, int, Tensor] | None = None
        for chatty in ("torchrec", "torch.fx._symbolic_trace"):
            logging.getLogger(chatty).setLevel(logging.ERROR)
        drawing = [device] if device.type == "cuda" else []
        # FBGEMM draws values, which are replaced
        with torch.random.fork_rng(drawing), warnings.catch_warnings(action="ignore"):
            self._rec = import_module("torchrec")
            self._collection = _collection(partition, columns, device, optimizer)
        (self._kernel,) = (
            kernel
            for lookup in self._collection._lookups
            for kernel in (module.emb_module for module in lookup._emb_modules)
        )
        wide = self._kernel.split_embedding_weights()[0]
        self.rows = wide[: len(self), :columns]
        states = self._kernel.split_optimizer_states()[0] if KEPT[optimizer] else []
        self.kept = {
            name: state.view(wide.shape)[: len(self), :columns]
            for name, state in zip(KEPT[optimizer], states, strict=True)
        }

    def allocated(self, columns: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        """[rows of this process, C] the rows, in the memory of FBGEMM."""
        return self.rows

    def holds(self, table: Tensor) -> bool:
        """Whether a table is in the memory of FBGEMM: not once it was moved to another device."""
        pointers = [t.untyped_storage().data_ptr() for t in (table, self.rows)]
        return pointers[0] == pointers[1]

    def join(self, optimizer: Optimizer, table: Tensor) -> None:
        """Lets FBGEMM step the rows as an optimizer would, with the learning rate that it has.

        What the optimizer keeps of them lies in FBGEMM's memory from now on, where a checkpoint
        finds it.

        Args:
            optimizer: Which has the table among its parameters, and will find no gradient of it.
            table: The rows of this process, as a parameter.
        """
        groups = enumerate(optimizer.param_groups)
        number = next(n for n, group in groups if any(p is table for p in group["params"]))
        self._joined = optimizer, number, table
        self._follow()

    def _follow(self) -> None:
        """Takes from the optimizer what has changed: its rate, and a state that was loaded."""
        if self._joined is None:
            return
        optimizer, number, table = self._joined
        group, state = optimizer.param_groups[number], optimizer.state[table]
        self._kernel.set_learning_rate(float(group["lr"]))
        if "eps" in group:
            self._kernel.update_hyper_parameters({"eps": group["eps"]})
        for name, kept in self.kept.items():
            if state[name] is not kept:
                state[name] = kept.copy_(state[name])

    def count_step(self) -> None:
        """Counts a step where the optimizer would."""
        if self._joined is not None:
            optimizer, _, table = self._joined
            state = optimizer.state[table]
            if "step" in state:
                state["step"] += 1

    def _rows_at(self, table: Tensor, positions: Tensor, sparse: bool) -> Tensor:
        """[U, C] rows; their gradient steps the rows of this process."""
        if not self.holds(table) or self._joined is None:  # as where nothing is trained
            return super()._rows_at(table, positions, sparse)
        if torch.is_grad_enabled():  # the backward pass steps with the rate of the forward pass
            self._follow()
        lengths = torch.full((1,), len(positions), dtype=torch.int32, device=positions.device)
        asked = self._rec.KeyedJaggedTensor(keys=[IDS], values=positions, lengths=lengths)
        return _Narrow.apply(self._collection(asked).wait()[IDS].values(), self)


class _Narrow(torch.autograd.Function):
    """The first columns, whose gradient may be sparse."""

    @staticmethod
    def forward(ctx: Any, wide: Tensor, shard: TorchRecShard) -> Tensor:
        ctx.shard, ctx.padded = shard, wide.shape[1] - shard.columns
        return wide[:, : shard.columns].contiguous()

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, rows: Tensor
    ) -> tuple[Tensor | None, ...]:
        ctx.shard.count_step()  # which FBGEMM makes next
        return nn.functional.pad(of_each_row(rows), (0, ctx.padded)), None


def _collection(partition: Partition, columns: int, device: torch.device, optimizer: str) -> Any:
    """TorchRec's sharded collection of one table."""
    rec, sharding, plans, types, fbgemm = map(import_module, MODULES)
    table = rec.EmbeddingConfig(
        name=TABLE,
        num_embeddings=partition.rows_per_part * partition.parts,
        embedding_dim=-(-columns // 4) * 4,
        feature_names=[IDS],
    )
    steps = fbgemm.EmbOptimType[f"EXACT_{optimizer.upper()}"]
    sharder = sharding.EmbeddingCollectionSharder({"optimizer": steps})
    whole = rec.EmbeddingCollection(tables=[table], device=torch.device("meta"))
    plan = plans.construct_module_sharding_plan(
        whole,
        {TABLE: plans.row_wise(compute_kernel="fused")},
        sharder,
        local_size=partition.parts,
        world_size=partition.parts,
        device_type=device.type,
    )
    group = types.ShardingEnv.from_process_group(distributed.group.WORLD)
    return sharder.shard(whole, plan, group, device)
