"""DeepFM (Guo et al. 2017)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.linalg import vector_norm

from zoo.ctr.base import CTRModule
from zoo.data.schema import Schema
from zoo.nn.embedding import Embedded
from zoo.nn.linear import Head
from zoo.nn.mlp import deep_part


class _PairwiseProducts(torch.autograd.Function):
    """[B, F, D] -> [B]: sum_{f<g} <e_f, e_g> = (|sum_f e_f|^2 - sum_f |e_f|^2) / 2.

    Its gradient for e_f is sum_g e_g - e_f, one pass over the embeddings where that of the
    formula, taken term by term, needs four.
    """

    @staticmethod
    def forward(ctx: Any, vectors: Tensor) -> Tensor:
        total = vectors.sum(1, keepdim=True)
        ctx.save_for_backward(vectors, total)
        return (total.square().sum((1, 2)) - vector_norm(vectors, dim=(1, 2)).square()) / 2

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: Tensor
    ) -> Tensor:
        vectors, total = ctx.saved_tensors
        scale = gradient.view(-1, 1, 1)
        return torch.addcmul(total * scale, vectors, scale, value=-1)


class DeepFM(CTRModule):
    """Factorisation machine and deep network over the same embeddings.

        logit = b + sum_f w_f(x_f) + sum_{f<g} <e_f, e_g> + v^T MLP([e_1, .., e_F, x])

    with embeddings e_f, first-order weights w_f and numerical values x (Guo et al.,
    *DeepFM: A Factorization-Machine based Neural Network for CTR Prediction*, IJCAI 2017,
    equations 1 to 4). Numerical fields take part in the FM only if `embed_numerical`.

    Args:
        schema: Fields of the batches and their cardinalities; see `Schema`.
        hidden_units: Widths of the deep network's layers.
        dropout: Share of the deep network's activations that training drops.
        batch_norm: Normalise before each activation.
        shared: Options of `CTRModule`.
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        hidden_units: Sequence[int] = (400, 400, 400),
        dropout: float = 0.0,
        batch_norm: bool = False,
        **shared: Any,
    ) -> None:
        super().__init__(schema, **shared)
        self.deep = deep_part(self.embedding.flat_dim, hidden_units, dropout, batch_norm)
        self.head = Head(hidden_units[-1])

    def interact(self, embedded: Embedded) -> Tensor:
        """[B] FM and deep part."""
        deep = self.head(self.deep(embedded.flat))
        return _PairwiseProducts.apply(embedded.vectors) + deep
