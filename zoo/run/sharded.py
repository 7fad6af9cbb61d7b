"""A strategy of training in which each process owns a part of the tables of embeddings."""

from typing import Any

import torch
from pytorch_lightning.strategies import DDPStrategy, StrategyRegistry
from torch import nn

from zoo.nn.embedding import FusedEmbedding

NAME = "sharded"


class ShardedStrategy(DDPStrategy):
    """DDP whose processes share the tables of embeddings: each owns a part of the rows.

    A process holds 1 / P of each table and of what the optimizer keeps of it. Processes send each
    other the rows of their batches and the gradients of these. All else is as with DDP, and so are
    the steps, up to the rounding of sums.

    A checkpoint is a small file, and a folder beside it in which each process writes its rows; any
    number of processes goes on from it.

    Args:
        options: Options of Lightning's `DDPStrategy`.
    """

    strategy_name = NAME

    @property
    def tables(self) -> dict[str, FusedEmbedding]:
        """The embeddings whose tables are shared, by the names of these."""
        model = self.lightning_module
        assert model is not None
        found = ((path, m) for path, m in model.named_modules() if isinstance(m, FusedEmbedding))
        return {f"{path}.table": module for path, module in found if len(module.table)}

    def setup_environment(self) -> None:
        """Connects the processes, and lets each keep its rows: before a callback copies them."""
        super().setup_environment()
        seed = self.broadcast(torch.initial_seed())
        for number, embedding in enumerate(self.tables.values()):
            if embedding.shard is None:
                embedding.share(self.global_rank, self.world_size, self.root_device, seed + number)

    def _setup_model(self, model: nn.Module) -> Any:
        """Lets DDP leave the tables alone."""
        model._ddp_params_and_buffers_to_ignore = [*self.tables]  # type: ignore[assignment]
        return super()._setup_model(model)


StrategyRegistry.register(NAME, ShardedStrategy, description="DDP with shared tables")
