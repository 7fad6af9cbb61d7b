"""AutoInt (Song et al. 2019).

Shapes: B batch, F fields, D width of a field's representation, A attention width over all
heads, H heads.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from zoo.ctr.base import CTRModule, require
from zoo.ctr.deep import deep_part
from zoo.embedding import Embedded
from zoo.schema import Schema


class InteractingLayer(nn.Module):
    """Multi-head self-attention between fields, [B, F, D] -> [B, F, A].

        alpha^h_{m,k} = softmax_k <W_q^h e_m, W_k^h e_k>                    (equation 5)
        e'_m = relu([sum_k alpha^h_{m,k} W_v^h e_k]_h + W_res e_m)          (equations 6 to 8)

    The scores are not divided by the square root of the heads' width, as in the paper.

    Args:
        width: D.
        attention_dim: A.
        heads: H.
        residual: add W_res e_m.
    """

    def __init__(self, width: int, attention_dim: int, heads: int, residual: bool) -> None:
        super().__init__()
        self.heads = heads
        self.residual = residual
        # query, key, value and, with residual, W_res, side by side
        self.weight = nn.Parameter(torch.empty(width, attention_dim * (4 if residual else 3)))
        nn.init.normal_(self.weight, std=0.05)

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Query, key and value, each [B, H, F, A / H], and the residual [B, F, A]."""
        parts = (x @ self.weight).chunk(4 if self.residual else 3, -1)
        split = (part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts[:3])
        return (*split, parts[3] if self.residual else None)

    def forward(self, x: Tensor) -> Tensor:
        """The new representations."""
        query, key, value, residual = self._project(x)
        mixed = scaled_dot_product_attention(query, key, value, scale=1.0)
        mixed = mixed.transpose(1, 2).flatten(2)
        return torch.relu(mixed if residual is None else mixed + residual)

    def attention(self, x: Tensor) -> Tensor:
        """[B, H, F, F] the weights alpha, rows summing to one."""
        query, key, *_ = self._project(x)
        return (query @ key.transpose(2, 3)).softmax(-1)


class AutoInt(CTRModule):
    """Self-attention between fields, and a deep network beside it (AutoInt+).

        logit = b + v^T [e^L_1, .., e^L_F, MLP([e_1, .., e_F, x])]

    where e^L are the embeddings after L interacting layers (Song et al., *AutoInt: Automatic
    Feature Interaction Learning via Self-Attentive Neural Networks*, CIKM 2019, equations 4 to
    9 and section 5.5; on Criteo three layers of width 64 with two heads, and for AutoInt+ two
    deep layers of 400). Numerical fields are embedded, value times vector; the deep part takes
    their values too.

    Args:
        schema: of the batches.
        attention_layers: number of interacting layers.
        attention_dim: width of a layer over all heads; None keeps that of the embeddings.
        heads: of a layer; they divide its width.
        residual: add a projection of a layer's input to its output.
        hidden_units: widths of the deep network's layers; null leaves the deep part out.
        dropout: share of the deep network's activations that training drops.
        batch_norm: normalise before each activation.
        first_order: add sum_f w_f(x_f) to the logit.
        embed_numerical: numerical fields also get a vector, value times vector.
        shared: the options of `CTRModule`.
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
        out = self.embedding.n_fields * attention_dim
        self.deep = None
        if hidden_units is not None:
            self.deep = deep_part(self.embedding.flat_dim, hidden_units, dropout, batch_norm)
            out += hidden_units[-1]
        self.head = nn.Linear(out, 1, bias=False)

    def interact(self, embedded: Embedded) -> Tensor:
        """[B] attention and deep part."""
        x = embedded.vectors
        for layer in self.attention_layers:
            x = layer(x)
        parts = [x.flatten(1)]
        if self.deep is not None:
            parts.append(self.deep(embedded.flat()))
        return self.head(torch.cat(parts, 1)).squeeze(1)

    @torch.no_grad()
    def attention(self, embedded: Embedded) -> list[Tensor]:
        """[B, H, F, F] of each layer: how much field m (row) takes from field k (column)."""
        x, weights = embedded.vectors, []
        for layer in self.attention_layers:
            weights.append(layer.attention(x))
            x = layer(x)
        return weights
