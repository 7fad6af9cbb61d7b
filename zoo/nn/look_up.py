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
        embedded = 0 if numerical_vectors is None else len(numerical_vectors)
        rows = nn.functional.embedding(ids, table)
        if off is not None:
            rows.masked_fill_(off.unsqueeze(2), 0)
        fields = embedded + ids.shape[1]
        flat = rows.new_empty(len(ids), fields * dim + numerical.shape[1])
        vectors = flat[:, : fields * dim].unflatten(1, (fields, dim))
        if numerical_vectors is not None:
            vectors[:, :embedded] = numerical.unsqueeze(2) * numerical_vectors
        vectors[:, embedded:] = rows[..., :dim]
        flat[:, fields * dim :] = numerical
        of_lists = None if values is None else nn.functional.embedding(values, table)
        return flat, vectors, rows[..., dim:].sum((1, 2)), of_lists

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
            split = flat.shape[1] - numerical.shape[1]
            direct = flat[:, split:]
            mine = flat[:, :split].unflatten(1, (-1, ctx.dim))
            vectors = mine if vectors is None else mine + vectors
        if vectors is None:  # the model takes the first-order part alone
            zeros: Tensor = numerical.new_zeros(len(ids), embedded + ids.shape[1], ctx.dim)
            vectors = zeros
        touched = ids.flatten() if values is None else torch.cat((ids.flatten(), values))
        gradients = vectors.new_empty(len(touched), ctx.shape[1])
        rows = gradients[: ids.numel()].view(*ids.shape, ctx.shape[1])
        _fill(gradients[ids.numel() :], of_lists)
        rows[..., : ctx.dim] = vectors[:, embedded:]
        _fill(rows[..., ctx.dim :], None if weights is None else weights[:, None, None])
        if off is not None:
            rows.masked_fill_(off.unsqueeze(2), 0)
        if frozen is not None:
            gradients[:, : ctx.dim].masked_fill_(frozen[touched].unsqueeze(1), 0)
        if numerical_vectors is not None:
            dnumerical_vectors = torch.einsum("bn,bnd->nd", numerical, vectors[:, :embedded])
        if ctx.needs_input_grad[2]:
            dnumerical = torch.zeros_like(numerical) if direct is None else direct
            if numerical_vectors is not None:
                dnumerical = dnumerical + (vectors[:, :embedded] * numerical_vectors).sum(2)
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


def _fill(part: Tensor, values: Tensor | None) -> None:
    """Gives a part of a tensor values; None is zeros, of which no number is copied to a GPU."""
    if not part.numel():
        return
    if values is None:
        part.zero_()
    else:
        part.copy_(values)


def _table_gradient(ctx: Any, ids: Tensor, rows: Tensor) -> Tensor:
    """The gradient of the table, from [R] its rows and [R, columns] what is added to each."""
    if ctx.sparse:
        # without an explicit choice torch warns; torch 2.11 does not take the argument for one
        with torch.sparse.check_sparse_tensor_invariants(False):
            ids = ids.unsqueeze(0)
            return torch.sparse_coo_tensor(ids, rows, ctx.shape, check_invariants=False)
    return torch.ops.aten.embedding_dense_backward(rows, ids, ctx.shape[0], -1, False)
