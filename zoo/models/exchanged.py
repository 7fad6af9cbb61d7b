"""Tables whose gradients processes exchange row by row, where DDP would exchange whole tables."""

from collections.abc import Sequence
from typing import Any

from pytorch_lightning import LightningModule
from torch import Tensor, distributed

from zoo.nn.clipping import clip_by_norm, clip_by_value
from zoo.nn.embedding import FusedEmbedding
from zoo.nn.exchange import gathered


class RowExchange(LightningModule):
    """A module some of whose parameters have sparse gradients, under `DDPStrategy`.

    DDP leaves these parameters alone: their gradients become the mean over all processes once in
    each step, as those of the others do, and in the beginning all processes take those of the
    first.
    """

    def __init__(self, *options: Any, **more: Any) -> None:
        super().__init__(*options, **more)
        self._row_hooks: list[Any] = []
        self._exchanged: list[str] = []
        self._ddp_params_and_buffers_to_ignore: list[str] = []  # as DDP calls it
        self._rows_become_dense = False

    def exchange_rows(self, names: Sequence[str], dense: bool = False) -> None:
        """Begins to exchange the gradients of parameters, given by their names.

        To be called in `setup`, before DDP looks at the parameters.

        Args:
            names: Names of parameters whose gradients are sparse.
            dense: Make these gradients dense when they have been exchanged, for optimizers and
                whatever else takes whole tables alone.
        """
        self._exchanged = self._ddp_params_and_buffers_to_ignore = [*names]
        self._rows_become_dense = dense
        parameters = [self.get_parameter(name) for name in names]
        self._row_hooks = [p.register_post_accumulate_grad_hook(self._exchange) for p in parameters]

    def _exchange(self, table: Tensor) -> None:
        """Exchanges a gradient; while gradients of several batches are accumulated, the last."""
        wrapped: Any = self.trainer.strategy.model
        if wrapped.require_backward_grad_sync and table.grad is not None:  # as DDP decides it
            mean = gathered(table.grad)
            table.grad = mean.to_dense() if self._rows_become_dense else mean

    def on_fit_start(self) -> None:
        """Gives all processes the parameters of the first."""
        super().on_fit_start()
        for name in self._exchanged:
            distributed.broadcast(self.get_parameter(name).data, 0)

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips gradients, sparse ones too, which Lightning leaves to torch, that cannot."""
        largest, parameters = gradient_clip_val or 0.0, [*self.parameters()]
        shared = [m.table for m in self.modules() if isinstance(m, FusedEmbedding) and m.is_shared]
        is_sparse = any(p.grad is not None and p.grad.is_sparse for p in parameters)
        if largest <= 0 or not (shared or is_sparse):
            super().configure_gradient_clipping(
                optimizer, gradient_clip_val, gradient_clip_algorithm
            )
        elif gradient_clip_algorithm == "value":
            clip_by_value(parameters, largest)
        else:
            clip_by_norm(parameters, largest, shared)

    def teardown(self, stage: str) -> None:
        """Leaves the gradients as they are again."""
        super().teardown(stage)
        for hook in self._row_hooks:
            hook.remove()
        self._row_hooks, self._exchanged, self._ddp_params_and_buffers_to_ignore = [], [], []
