"""InterHAt (Li et al. 2020).

Shapes: B batch, F fields, D embedding, H heads, K orders.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import relu, scaled_dot_product_attention

from zoo.ctr.base import CTRModule
from zoo.data.batch import Batch
from zoo.data.errors import require
from zoo.data.schema import Schema
from zoo.models.gates import Gate
from zoo.nn.embedding import Embedded
from zoo.nn.linear import Head, linear
from zoo.nn.mlp import deep_part


class _OfEach(nn.Linear):
    """W x + b of each field of each row, [B, F, in] -> [B, F, out], as a product of matrices."""

    def forward(self, input: Tensor) -> Tensor:
        """The products."""
        return linear(input.flatten(0, 1), self.weight, self.bias).unflatten(0, input.shape[:2])


class _Rectified(_OfEach):
    """relu(W x + b)."""

    def forward(self, input: Tensor) -> Tensor:
        """The units."""
        return super().forward(input).relu()


class SelfAttention(nn.Module):
    """Multi-head self-attention between fields, [B, F, D] -> [B, F, D].

        a^h_{m,k} = softmax_k <W_q^h e_m, W_k^h e_k> / sqrt(A / H)
        e'_m = norm(e_m + relu(W_m [sum_k a^h_{m,k} W_v^h e_k]_h))

    Without W_m where the heads are of the width D together; norm is a layer's.

    Args:
        dim: Size of an embedding, D.
        attention_dim: Width over all heads, A.
        heads: Number of heads, H.
        dropout: Share of what is added to e_m that training drops.
    """

    def __init__(self, dim: int, attention_dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.project = _OfEach(dim, 3 * attention_dim, bias=False)  # query, key, value
        for matrix in self.project.weight.detach().chunk(3):
            nn.init.xavier_uniform_(matrix)
        self.joined = None
        if attention_dim != dim:
            self.joined = _OfEach(attention_dim, dim, bias=False)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(dim)

    def _project(self, x: Tensor) -> tuple[Tensor, ...]:
        """Query, key and value, each [B, H, F, A / H]."""
        parts = self.project(x).unflatten(2, (3, self.heads, -1))
        return parts.permute(2, 0, 3, 1, 4).unbind(0)

    def forward(self, x: Tensor) -> Tensor:
        """The new representations."""
        query, key, value = self._project(x)
        mixed = scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        if self.joined is not None:
            mixed = self.joined(mixed)
        return self.norm(x + self.dropout(relu(mixed)))

    def attention(self, x: Tensor) -> Tensor:
        """[B, H, F, F] the weights a, rows summing to one."""
        query, key, _ = self._project(x)
        return (query @ key.transpose(2, 3) / query.shape[3] ** 0.5).softmax(-1)


class FeedForward(nn.Module):
    """A network for each field beside the field, [.., D] -> [.., D]: norm(x + W_2 relu(W_1 x)).

    Args:
        dim: Width of input and output, D.
        width: Width between.
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.widen = _Rectified(dim, width)
        self.narrow = _OfEach(width, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """The sum."""
        return self.norm(x + self.narrow(self.widen(x)))


class Aggregation(nn.Module):
    """A weighted mean, [B, F, D] -> [B, D], and the weights, [B, F].

        a_j = softmax_j c^T relu(W x_j + b),   u = sum_j a_j x_j

    Args:
        dim: Width of what is weighed, D.
        width: Width of the hidden layer.
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.hidden = _Rectified(dim, width)
        self.context = nn.Linear(width, 1, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and weights."""
        weights = self.context(self.hidden(x)).squeeze(2).softmax(1)
        return torch.bmm(weights.unsqueeze(1), x).squeeze(1), weights


class InterHAt(CTRModule):
    """Hierarchical attention: an attention over the fields for each order, and one over the orders.

        logit = b + v^T MLP(u),   u = sum_k a_k u_k,   u_k = sum_j a_{k,j} x_{k,j}
        x_{k+1,j} = u_k * x_{1,j} + x_{k,j},   x_1 = FFN(Attention(e_1, .., e_F))

    over the fields j, where x_{k,j} holds interactions of field j of up to k fields, and the
    weights are a = softmax(c^T relu(W x + b)) (Li, Cheng, Chen, Chen & Wang, *Interpretable
    Click-Through Rate Prediction through Hierarchical Attention*, WSDM 2020, section 3).
    Numerical fields are embedded, value times vector.

    Args:
        schema: Fields of the batches and their cardinalities; see `Schema`.
        orders: Number of orders: an interaction is of so many fields at most.
        attention_dim: Width of the self-attention over all heads; null keeps that of the
            embeddings.
        heads: Number of heads of the self-attention; they divide its width.
        hidden_dim: Width of the hidden layers of the feed-forward network and of the attentions
            over fields and orders; null takes four times that of the embeddings.
        hidden_units: Widths of the deep network's layers.
        dropout: Share of the activations of the deep network, and of what the self-attention adds,
            that training drops.
        batch_norm: Normalise before each activation of the deep network.
        first_order: Add sum_f w_f(x_f) to the logit.
        embed_numerical: Give numerical fields an embedding too, value times vector.
        shared: Options of `CTRModule`.
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        orders: int = 3,
        attention_dim: int | None = 64,
        heads: int = 2,
        hidden_dim: int | None = None,
        hidden_units: Sequence[int] = (400, 400),
        dropout: float = 0.0,
        batch_norm: bool = False,
        first_order: bool = False,
        embed_numerical: bool = True,
        **shared: Any,
    ) -> None:
        super().__init__(schema, first_order=first_order, embed_numerical=embed_numerical, **shared)
        dim = self.embedding.embedding_dim
        attention_dim = dim if attention_dim is None else attention_dim
        hidden_dim = 4 * dim if hidden_dim is None else hidden_dim
        require(orders >= 1, "orders must be at least 1", orders)
        require(heads >= 1, "heads must be at least 1", heads)
        require(attention_dim >= 1, "attention_dim must be at least 1", attention_dim)
        require(attention_dim % heads == 0, f"heads must divide the width {attention_dim}", heads)
        require(hidden_dim >= 1, "hidden_dim must be at least 1", hidden_dim)
        fields = self.embedding.n_fields
        require(fields > 0, "embed_numerical must be true where no field is categorical", False)
        self.self_attention = SelfAttention(dim, attention_dim, heads, dropout)
        self.feed_forward = FeedForward(dim, hidden_dim)
        self.aggregations = nn.ModuleList(Aggregation(dim, hidden_dim) for _ in range(orders))
        # of a single order there is nothing to weigh
        self.over_orders = Aggregation(dim, hidden_dim) if orders > 1 else None
        self.deep = deep_part(dim, hidden_units, dropout, batch_norm)
        self.head = Head(hidden_units[-1])

    def interact(self, embedded: Embedded) -> Tensor:
        """[B] deep part."""
        return self.head(self.deep(self._aggregated(embedded.vectors)[0]))

    def _aggregated(self, vectors: Tensor) -> tuple[Tensor, list[Tensor]]:
        """[B, D] the mean over the orders; [B, F] the weights of each, [B, K] those of the last."""
        first = x = self.feed_forward(self.self_attention(vectors))
        means: list[Tensor] = []
        weights: list[Tensor] = []
        for aggregate in self.aggregations:
            if means:
                x = means[-1].unsqueeze(1) * first + x
            mean, weight = aggregate(x)
            means.append(mean)
            weights.append(weight)
        if self.over_orders is None:
            return means[0], weights
        mean, weight = self.over_orders(torch.stack(means, 1))
        return mean, [*weights, weight]

    def rectified(self) -> list[tuple[str, nn.Module]]:
        """Also the layers within the attentions."""
        found: list[tuple[str, nn.Module]] = [("feed_forward", self.feed_forward.widen)]
        for order, aggregate in enumerate(self.aggregations, 1):
            found.append((f"attention of order {order}", cast(Aggregation, aggregate).hidden))
        if self.over_orders is not None:
            found.append(("attention over orders", self.over_orders.hidden))
        return [*found, *super().rectified()]

    @torch.no_grad()
    def attention(self, batch: Batch) -> tuple[tuple[str, ...], list[Tensor]]:
        """Names of F fields, and [B, H, F, F] the weights of the self-attention.

        How much the representation of a field (row) takes from each field (column).
        """
        vectors = self.embedding(batch).vectors
        return self._names(), [self.self_attention.attention(vectors)]

    @torch.no_grad()
    def gates(self, batch: Batch) -> list[Gate]:
        """The attention over the fields at each order, and that over the orders."""
        _, weights = self._aggregated(self.embedding(batch).vectors)
        orders = len(self.aggregations)
        reading = (
            "The longer a bar, the more of what is read at this order is of the field{}; the "
            "bars sum to one."
        )
        found = []
        for order, weight in enumerate(weights[:orders], 1):
            most = f" and its interactions of up to {order} fields" if order > 1 else ""
            title = f"attention over fields, order {order}"
            found.append(Gate(title, reading.format(most), self._names(), weight))
        if self.over_orders is not None:
            names = tuple(f"order {order}" for order in range(1, orders + 1))
            said = (
                "The longer a bar, the more the prediction takes from this order; they sum to one."
            )
            found.append(Gate("attention over orders", said, names, weights[orders]))
        return found

    def _names(self) -> tuple[str, ...]:
        fields = self.schema.embedded(self.embedding.embeds_numerical)
        return tuple(field.name for field in fields)
