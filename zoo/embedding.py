"""Embeddings of all fields, in one table.

Shapes: B batch, N numerical fields, C categorical fields, F embedded fields, D embedding.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from zoo.schema import Batch, Schema


class Embedded(NamedTuple):
    """A batch as the interaction parts of the models take it.

    Attributes:
        vectors: [B, F, D] embeddings; F = C, or N + C (numerical first) where numerical fields
            are embedded.
        linear: [B] first-order part, sum_f w_f(x_f) over all fields.
        numerical: [B, N] values.
    """

    vectors: Tensor
    linear: Tensor
    numerical: Tensor

    def flat(self) -> Tensor:
        """[B, F * D + N] vectors and values side by side, as the deep parts take them."""
        return torch.cat((self.vectors.flatten(1), self.numerical), 1)


class _LookUp(torch.autograd.Function):
    """Rows of the table, split into vectors [B, C, D] and weights [B, C].

    As `embedding` and two slices, whose gradients would each fill a tensor of the size of all
    rows before they are added.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, ids: Tensor, sparse: bool) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(ids)
        ctx.shape, ctx.sparse = table.shape, sparse
        rows = nn.functional.embedding(ids, table)
        return rows[..., :-1].contiguous(), rows[..., -1].contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, vectors: Tensor, weights: Tensor) -> tuple[Tensor, None, None]:
        (ids,) = ctx.saved_tensors
        ids = ids.flatten()
        rows = torch.cat((vectors, weights.unsqueeze(2)), 2).flatten(0, 1)
        if ctx.sparse:
            # without the explicit choice, torch warns at every step
            gradient = torch.sparse_coo_tensor(
                ids.unsqueeze(0), rows, ctx.shape, check_invariants=False
            )
            return gradient, None, None
        return (
            torch.ops.aten.embedding_dense_backward(rows, ids, ctx.shape[0], -1, False),
            None,
            None,
        )


class FusedEmbedding(nn.Module):
    """Embedding vectors and first-order weights of every field.

    All categorical fields share one table of `sum(cardinalities)` rows; the last of its
    `embedding_dim + 1` columns is the first-order weight, so that one look-up and one sparse
    gradient serve both:

        e_c = V[offset_c + x_c, :D],   w_c = V[offset_c + x_c, D]

    Numerical fields enter as values, with a weight each in the first-order part; as fields
    too if `embed_numerical`: e_n = x_n * V_n (AutoInt, Song et al. 2019, equation 4). Without
    `first_order` there are no weights, and the table has D columns.

    Args:
        schema: of the batches.
        embedding_dim: D.
        embed_numerical: also embed numerical fields.
        first_order: make the first-order part.
        init_std: standard deviation of all initial weights.

    Attributes:
        sparse: whether the table's gradient is sparse; the values of the gradient are the same.
    """

    offsets: Tensor

    def __init__(
        self,
        schema: Schema,
        embedding_dim: int,
        embed_numerical: bool = False,
        first_order: bool = True,
        init_std: float = 0.0001,
    ) -> None:
        super().__init__()
        self.embedding_dim = embedding_dim
        self.sparse = False
        cardinalities = torch.tensor([field.cardinality for field in schema.categorical])
        offsets = torch.cumsum(cardinalities, 0) - cardinalities
        self.register_buffer("offsets", offsets.long(), persistent=False)
        rows = sum(field.cardinality for field in schema.categorical)
        self.table = nn.Parameter(torch.empty(rows, embedding_dim + first_order))
        self.n_numerical = len(schema.numerical)
        self.numerical_weight = nn.Parameter(torch.empty(self.n_numerical)) if first_order else None
        self.numerical_vectors = (
            nn.Parameter(torch.empty(len(schema.numerical), embedding_dim))
            if embed_numerical and schema.numerical
            else None
        )
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=init_std)

    def forward(self, batch: Batch) -> Embedded:
        """Looks up a batch."""
        ids = batch.categorical + self.offsets
        if self.numerical_weight is None:
            vectors = nn.functional.embedding(ids, self.table, sparse=self.sparse)
            linear = batch.numerical.new_zeros(len(ids))
        else:
            vectors, weights = _LookUp.apply(self.table, ids, self.sparse)
            linear = weights.sum(1) + batch.numerical @ self.numerical_weight
        if self.numerical_vectors is not None:
            numerical = batch.numerical.unsqueeze(2) * self.numerical_vectors
            vectors = torch.cat((numerical, vectors), 1)
        return Embedded(vectors, linear, batch.numerical)

    @property
    def n_fields(self) -> int:
        """F."""
        embedded = 0 if self.numerical_vectors is None else len(self.numerical_vectors)
        return len(self.offsets) + embedded

    @property
    def flat_dim(self) -> int:
        """Width of `Embedded.flat`."""
        return self.n_fields * self.embedding_dim + self.n_numerical
