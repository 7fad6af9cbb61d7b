"""AutoInt (Song et al. 2019).

Shapes: B batch, F fields, D width of a field's representation, A attention width over all
heads, H heads.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import scaled_dot_product_attention

from zoo.ctr.base import CTRModule
from zoo.data.batch import Batch
from zoo.data.errors import require
from zoo.data.schema import Schema
from zoo.nn.embedding import Embedded
from zoo.nn.linear import Head, onednn_products, takes_onednn
from zoo.nn.mlp import deep_part

ROWS_PER_CHUNK = 512  # on a CPU: what lies between the products stays in its cache


class _Interact(torch.autograd.Function):
    """[B, F, D], [H * D, D], [A, H * D], [A, D] -> [B, F, A]: an interacting layer on a CPU.

    The heads' matrices are multiplied with each other first, not with the rows:

        <W_q^h e_m, W_k^h e_k> = <(W_q^h W_k^h^T)^T e_m, e_k>
        sum_k alpha^h_{m,k} W_v^h e_k = W_v^h sum_k alpha^h_{m,k} e_k

    Then all heads of a row are one matrix, which nothing needs to transpose or copy, and one
    pass sums the gradient of e. Every product has the width D of the input instead of A / H.
    Rows go through all products chunk by chunk, so that what lies between stays in the cache.
    """

    @staticmethod
    @onednn_products()
    def forward(ctx: Any, x: Tensor, scores: Tensor, values: Tensor, residual: Tensor) -> Tensor:
        out = x.new_empty(*x.shape[:2], len(values))
        saved = []
        for e, target in zip(x.split(ROWS_PER_CHUNK), out.split(ROWS_PER_CHUNK), strict=True):
            flat = e.view(-1, x.shape[2])
            projected = (flat @ scores.t()).view(len(e), -1, x.shape[2])
            alpha = torch.bmm(projected, e.transpose(1, 2)).softmax(-1)
            mixed = torch.bmm(alpha, e).view(len(flat), -1)
            result = (mixed @ values.t()).addmm_(flat, residual.t())
            torch.clamp_min(result.view_as(target), 0, out=target)
            saved += [projected, alpha, mixed]
        ctx.save_for_backward(x, scores, values, residual, out, *saved)
        return out

    @staticmethod
    @once_differentiable
    @onednn_products()
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x, scores, values, residual, out, *saved = ctx.saved_tensors
        dx = torch.empty_like(x)
        dscores, dvalues, dresidual = (torch.zeros_like(w) for w in (scores, values, residual))
        chunks = (t.split(ROWS_PER_CHUNK) for t in (x, dx, out, gradient))
        for e, de, o, g, projected, alpha, mixed in zip(
            *chunks, saved[::3], saved[1::3], saved[2::3], strict=True
        ):
            flat, dflat = e.view(-1, x.shape[2]), de.view(-1, x.shape[2])
            g = torch.ops.aten.threshold_backward(g, o, 0).reshape(len(flat), -1)
            dmixed = g @ values
            joined = dmixed.view_as(projected)
            dalpha = torch.bmm(joined, e.transpose(1, 2))
            dscore = torch.ops.aten._softmax_backward_data(dalpha, alpha, -1, dalpha.dtype)
            dprojected = torch.bmm(dscore, e).view_as(mixed)
            torch.bmm(alpha.transpose(1, 2), joined, out=de)
            de.baddbmm_(dscore.transpose(1, 2), projected)
            dflat.addmm_(dprojected, scores).addmm_(g, residual)
            dscores.addmm_(dprojected.T, flat)
            dvalues.addmm_(g.T, mixed)
            dresidual.addmm_(g.T, flat)
        return dx, dscores, dvalues, dresidual


class InteractingLayer(nn.Module):
    """Multi-head self-attention between fields, [B, F, D] -> [B, F, A].

        alpha^h_{m,k} = softmax_k <W_q^h e_m, W_k^h e_k>                    (equation 5)
        e'_m = relu([sum_k alpha^h_{m,k} W_v^h e_k]_h + W_res e_m)          (equations 6 to 8)

    The scores are not divided by the square root of the heads' width, as in the paper.

    Args:
        width: Width of a field's representation that enters the layer, D.
        attention_dim: Width of a field's representation that leaves it, A.
        heads: Number of heads, H.
        residual: Add W_res e_m.
    """

    def __init__(self, width: int, attention_dim: int, heads: int, residual: bool) -> None:
        super().__init__()
        self.heads = heads
        self.residual = residual
        # query, key, value and, with residual, W_res, side by side
        self.weight = nn.Parameter(torch.empty(width, attention_dim * (4 if residual else 3)))
        nn.init.normal_(self.weight, std=0.05)

    def _project(self, x: Tensor) -> tuple[Tensor, ...]:
        """Query, key, value and, with residual, W_res e, each [B, H, F, A / H]."""
        projected = x @ self.weight
        parts = (4 if self.residual else 3, self.heads, -1)
        return projected.unflatten(2, parts).permute(2, 0, 3, 1, 4).unbind(0)

    def _joined(self) -> tuple[Tensor, Tensor, Tensor]:
        """The matrices of `_Interact`."""
        query, key, value, *rest = self.weight.chunk(4 if self.residual else 3, 1)
        residual = rest[0].T if rest else torch.zeros_like(value.T)
        query, key, value = (part.unflatten(1, (self.heads, -1)) for part in (query, key, value))
        scores = torch.einsum("dha,eha->hed", query, key).flatten(0, 1)
        values = torch.block_diag(*value.unbind(1)).T
        # oneDNN is slow on what is neither contiguous nor its transpose
        return scores.contiguous(), values.contiguous(), residual.contiguous()

    def forward(self, x: Tensor) -> Tensor:
        """The new representations."""
        width, columns = self.weight.shape
        narrow = self.heads * width <= columns // 2  # else the joined matrices cost too much
        if narrow and takes_onednn(x, self.weight):
            return _Interact.apply(x.contiguous(), *self._joined())
        query, key, value, *residual = self._project(x)
        mixed = scaled_dot_product_attention(query, key, value, scale=1.0)
        return torch.relu(sum(residual, mixed)).transpose(1, 2).flatten(2)

    def attention(self, x: Tensor) -> Tensor:
        """[B, H, F, F] the weights alpha, rows summing to one."""
        query, key, *_ = self._project(x)
        return (query @ key.transpose(2, 3)).softmax(-1)


class AutoInt(CTRModule):
    """Self-attention between fields, and a deep network beside it (AutoInt+).

        logit = b + u^T [e^L_1, .., e^L_F] + v^T MLP([e_1, .., e_F, x])

    where e^L are the embeddings after L interacting layers (Song et al., *AutoInt: Automatic
    Feature Interaction Learning via Self-Attentive Neural Networks*, CIKM 2019, equations 4 to
    9 and section 5.5; on Criteo three layers of width 64 with two heads, and for AutoInt+ two
    deep layers of 400). Numerical fields are embedded, value times vector; the deep part takes
    their values too.

    Args:
        schema: Fields of the batches and their cardinalities; see `Schema`.
        attention_layers: Number of interacting layers.
        attention_dim: Width of a layer over all heads; null keeps that of the embeddings.
        heads: Number of heads of a layer; they divide its width.
        residual: Add a projection of a layer's input to its output.
        hidden_units: Widths of the deep network's layers; null leaves the deep part out.
        dropout: Share of the deep network's activations that training drops.
        batch_norm: Normalise before each activation.
        first_order: Add sum_f w_f(x_f) to the logit.
        embed_numerical: Give numerical fields an embedding too, value times vector.
        shared: Options of `CTRModule`.
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        attention_layers: int = 3,
        attention_dim: int | None = 64,
        heads: int = 2,
        residual: bool = True,
        hidden_units: Sequence[int] | None = (400, 400),
        dropout: float = 0.0,
        batch_norm: bool = False,
        first_order: bool = False,
        embed_numerical: bool = True,
        **shared: Any,
    ) -> None:
        super().__init__(schema, first_order=first_order, embed_numerical=embed_numerical, **shared)
        width = self.embedding.embedding_dim
        attention_dim = attention_dim or width
        require(attention_layers >= 1, "attention_layers must be at least 1", attention_layers)
        require(heads >= 1, "heads must be at least 1", heads)
        require(attention_dim % heads == 0, f"heads must divide the width {attention_dim}", heads)
        widths = [width] + [attention_dim] * (attention_layers - 1)
        self.attention_layers = nn.ModuleList(
            InteractingLayer(w, attention_dim, heads, residual) for w in widths
        )
        fields = self.embedding.n_fields
        self.attention_head = Head(fields * attention_dim)
        self.deep = None
        if hidden_units is not None:
            self.deep = deep_part(self.embedding.flat_dim, hidden_units, dropout, batch_norm)
            self.head = Head(hidden_units[-1])

    def interact(self, embedded: Embedded) -> Tensor:
        """[B] attention and deep part."""
        x = embedded.vectors
        for layer in self.attention_layers:
            x = layer(x)
        logits = self.attention_head(x.flatten(1))
        if self.deep is not None:
            logits = logits + self.head(self.deep(embedded.flat))
        return logits

    def rectified(self) -> list[tuple[str, nn.Module]]:
        """Also the interacting layers."""
        layers = enumerate(self.attention_layers, 1)
        return [*((f"layer {i} of attention_layers", m) for i, m in layers), *super().rectified()]

    @torch.no_grad()
    def attention(self, batch: Batch) -> tuple[tuple[str, ...], list[Tensor]]:
        """Names of F fields, and [B, H, F, F] of each layer alpha_{m,k}.

        How much the representation of field m (row) takes from field k (column).
        """
        x, weights = self.embedding(batch).vectors, []
        for layer in self.attention_layers:
            weights.append(cast(InteractingLayer, layer).attention(x))
            x = layer(x)
        fields = self.schema.embedded(self.embedding.embeds_numerical)
        return tuple(field.name for field in fields), weights
