"""Rows of the one table of embeddings, in one pass forward and one backward.

Shapes: B batch, N numerical fields, C categorical fields, L values of all lists together,
D embedding, R rows that are looked up.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class LookUp(torch.autograd.Function):
    """Rows of the table as `Embedded.flat`, `vectors` and [B] the sum of the weights; and [L,
    columns] those of the values of lists, which are yet to be pooled.

    What `embedding`, slices and `cat` would give. Here `vectors` is a view of `flat`, and one
    pass joins the gradients of both, where each slice would fill a tensor of the size of all
    rows before they are added.
    """

    @staticmethod
    def forward(
        ctx: Any,
        table: Tensor,
        ids: Tensor,
        numerical: Tensor,
        numerical_vectors: Tensor | None,
        dim: int,
        sparse: bool,
        off: Tensor | None,
        values: Tensor | None,
        frozen: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """[B, F * D + N], [B, F, D], [B], and [L, columns] or None without lists."""
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(ids, numerical, numerical_vectors, off, values, frozen)
        ctx.shape, ctx.dim, ctx.sparse = table.shape, dim, sparse
        rows = nn.functional.embedding(ids, table)
        if off is not None:
            rows.masked_fill_(off.unsqueeze(2), 0)
        of_ids, weights = rows.split([dim, rows.shape[2] - dim], 2)
        join = _concatenated if torch.compiler.is_exporting() else _written
        flat, vectors = join(of_ids, numerical, numerical_vectors)
        of_lists = None if values is None else nn.functional.embedding(values, table)
        return flat, vectors, weights.sum((1, 2)), of_lists

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any,
        flat: Tensor | None,
        vectors: Tensor | None,
        weights: Tensor | None,
        of_lists: Tensor | None,
    ) -> tuple[Tensor | None, ...]:
        """The gradients of the table, the numbers and their vectors."""
        ids, numerical, numerical_vectors, off, values, frozen = ctx.saved_tensors
        dnumerical, dnumerical_vectors = None, None
        embedded = 0 if numerical_vectors is None else len(numerical_vectors)
        direct = None
        if flat is not None:
            width = numerical.shape[1]
            mine, direct = flat.split([flat.shape[1] - width, width], 1)
            mine = mine.view(len(ids), -1, ctx.dim)
            vectors = mine if vectors is None else mine + vectors
        if vectors is None:  # the model takes the first-order part alone
            zeros: Tensor = numerical.new_zeros(len(ids), embedded + ids.shape[1], ctx.dim)
            vectors = zeros
        of_numbers = vectors[:, :embedded] if embedded else None
        of_ids = vectors[:, embedded:] if embedded else vectors
        gradients = _beside(of_ids, weights, ctx.shape[1])
        if off is not None:
            gradients.masked_fill_(off.unsqueeze(2), 0)
        gradients, touched = gradients.flatten(0, 1), ids.flatten()
        if values is not None:
            if of_lists is None:
                of_lists = gradients.new_zeros(len(values), ctx.shape[1])
            gradients, touched = torch.cat((gradients, of_lists)), torch.cat((touched, values))
        if frozen is not None:
            gradients[:, : ctx.dim].masked_fill_(frozen[touched].unsqueeze(1), 0)
        if of_numbers is not None:
            dnumerical_vectors = torch.einsum("bn,bnd->nd", numerical, of_numbers)
        if ctx.needs_input_grad[2]:
            dnumerical = torch.zeros_like(numerical) if direct is None else direct
            if of_numbers is not None and numerical_vectors is not None:
                dnumerical = dnumerical + (of_numbers * numerical_vectors).sum(2)
        return (
            _table_gradient(ctx, touched, gradients),
            None,
            dnumerical,
            dnumerical_vectors,
            None,
            None,
            None,
            None,
            None,
        )


def _written(
    of_ids: Tensor, numerical: Tensor, numerical_vectors: Tensor | None
) -> tuple[Tensor, Tensor]:
    """[B, F * D + N] flat and, a view of it, [B, F, D] vectors, in one pass."""
    batch, ids, dim = of_ids.shape
    embedded = 0 if numerical_vectors is None else len(numerical_vectors)
    fields = embedded + ids
    flat = of_ids.new_empty(batch, fields * dim + numerical.shape[1])
    vectors = flat[:, : fields * dim].view(batch, fields, dim)
    if numerical_vectors is None:
        vectors.copy_(of_ids)
    else:
        vectors[:, :embedded] = numerical.unsqueeze(2) * numerical_vectors
        vectors[:, embedded:] = of_ids
    flat[:, fields * dim :] = numerical
    return flat, vectors


def _concatenated(
    of_ids: Tensor, numerical: Tensor, numerical_vectors: Tensor | None
) -> tuple[Tensor, Tensor]:
    """`_written`, for exported graphs, where a write into a part of a tensor takes ten nodes."""
    vectors = of_ids
    if numerical_vectors is not None:
        vectors = torch.cat((numerical.unsqueeze(2) * numerical_vectors, of_ids), 1)
    return torch.cat((vectors.flatten(1), numerical), 1), vectors


def _beside(vectors: Tensor, weights: Tensor | None, columns: int) -> Tensor:
    """[B, C, columns] gradients of the rows, of those of their vectors and of the sums [B]."""
    batch, fields, dim = vectors.shape
    if columns == dim:
        return vectors.clone(memory_format=torch.contiguous_format)
    if weights is None:
        weights = vectors.new_zeros(batch)
    return torch.cat((vectors, weights.view(-1, 1, 1).expand(batch, fields, 1)), 2)


def _table_gradient(ctx: Any, ids: Tensor, rows: Tensor) -> Tensor:
    """The gradient of the table, from [R] its rows and [R, columns] what is added to each."""
    if ctx.sparse:
        # without an explicit choice torch warns; torch 2.11 does not take the argument for one
        with torch.sparse.check_sparse_tensor_invariants(False):
            ids = ids.unsqueeze(0)
            return torch.sparse_coo_tensor(ids, rows, ctx.shape, check_invariants=False)
    return torch.ops.aten.embedding_dense_backward(rows, ids, ctx.shape[0], -1, False)
