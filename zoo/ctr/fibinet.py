"""FiBiNET (Huang et al. 2019).

Shapes: B batch, F fields, D embedding, P = F * (F - 1) / 2 pairs of fields.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.linalg import vector_norm

from zoo.ctr.base import CTRModule
from zoo.data.batch import Batch
from zoo.data.errors import require
from zoo.data.schema import JOINER, Schema
from zoo.models.description import Description, FieldPairs
from zoo.models.gates import Gate
from zoo.nn.embedding import Embedded
from zoo.nn.linear import Head, linear
from zoo.nn.mlp import deep_part

Bilinear = Literal["all", "each", "interaction"]


class _Rectified(nn.Linear):
    """relu(W x)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)
        nn.init.xavier_uniform_(self.weight)

    def forward(self, input: Tensor) -> Tensor:
        """The units."""
        return super().forward(input).relu()


class SENET(nn.Module):
    """The weights that a row gives to its fields, [B, F, D] -> [B, F].

        z_f = mean_d e_{f,d}
        a = relu(W_2 relu(W_1 z))

    W_2 starts without negative numbers: a field whose weight began at zero in every row would
    stay there, since ReLU gives it no gradient.

    Args:
        n_fields: Number of fields, F.
        reduction: Number of fields for each unit of the layer between.
    """

    def __init__(self, n_fields: int, reduction: int) -> None:
        super().__init__()
        units = max(1, n_fields // reduction)
        self.squeeze = _Rectified(n_fields, units)
        self.excite = _Rectified(units, n_fields)
        with torch.no_grad():
            self.excite.weight.abs_()

    def forward(self, vectors: Tensor) -> Tensor:
        """The weights, at least zero."""
        return self.excite(self.squeeze(vectors.mean(2)))


class BilinearInteraction(nn.Module):
    """The interaction of every two fields, [B, F, D] -> [B, P, D].

        p_{ij} = (W e_i) * e_j,   i < j

    with one matrix W for `all`, W_i of the first field for `each`, W_{ij} of the pair for
    `interaction`.

    Args:
        n_fields: Number of fields, F.
        dim: Size of an embedding, D.
        kind: Which matrices there are.

    Attributes:
        weight: [M * D, D] the M matrices, those of pairs in the order (1, 2), (1, 3), .., (2, 3).
    """

    def __init__(self, n_fields: int, dim: int, kind: Bilinear) -> None:
        super().__init__()
        pairs = n_fields * (n_fields - 1) // 2
        matrices = {"all": 1, "each": n_fields - 1, "interaction": pairs}[kind]
        self.kind, self.dim = kind, dim
        self.weight = nn.Parameter(torch.empty(matrices * dim, dim))
        for matrix in self.weight.detach().split(dim):
            nn.init.xavier_uniform_(matrix)

    def forward(self, vectors: Tensor) -> Tensor:
        """The interactions, pairs in the order of the matrices."""
        found = [
            linear(first, weight).unflatten(1, (-1, self.dim)) * others
            for weight, (first, others) in zip(
                self._of_fields(vectors.shape[1]), _with_later(vectors), strict=True
            )
        ]
        return torch.cat(found, 1)

    def _of_fields(self, fields: int) -> Sequence[Tensor]:
        """Of each field but the last the matrices of its pairs, below each other."""
        if self.kind == "all":
            return [self.weight] * (fields - 1)
        if self.kind == "each":
            return self.weight.split(self.dim)
        return self.weight.split([later * self.dim for later in range(fields - 1, 0, -1)])


def _with_later(x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Each field [B, D] of [B, F, D] but the last, with those behind it [B, .., D]."""
    others = x
    for _ in range(x.shape[1] - 1):  # cut one by one, for a gradient that is no whole x each
        first, others = others.tensor_split([1], 1)
        yield first.squeeze(1), others


class FiBiNET(CTRModule):
    """A deep network over bilinear interactions of fields, which are weighed by each row.

        logit = b + sum_f w_f(x_f) + v^T MLP([a_i a_j p_ij, p_ij, x]),   p_ij = (W_ij e_i) * e_j

    over all pairs i < j, with embeddings e_f, first-order weights w_f, numerical values x, and the
    weights a = relu(W_2 relu(W_1 z)) that SENET gives the fields of a row by the means z of their
    embeddings (Huang, Zhang & Zhang, *FiBiNET: Combining Feature Importance and Bilinear feature
    Interaction for Click-Through Rate Prediction*, RecSys 2019; on Criteo three deep
    layers of 400). The interactions of embeddings a_f e_f are a_i a_j p_ij, so both halves are made
    at once. Numerical fields have interactions only if `embed_numerical`.

    Args:
        schema: Fields of the batches and their cardinalities; see `Schema`.
        bilinear: Matrices of the interactions: `all`, one for all pairs; `each`, one for the first
            field of a pair; `interaction`, one for each pair.
        reduction: Number of fields for each unit of SENET's layer between.
        hidden_units: Widths of the deep network's layers.
        dropout: Share of the deep network's activations that training drops.
        batch_norm: Normalise before each activation.
        embedding_std: Standard deviation of the initial embeddings, whose products are all that
            the deep network sees of the fields.
        shared: Options of `CTRModule`.
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        bilinear: Bilinear = "interaction",
        reduction: int = 3,
        hidden_units: Sequence[int] = (400, 400, 400),
        dropout: float = 0.0,
        batch_norm: bool = False,
        embedding_std: float = 0.01,
        **shared: Any,
    ) -> None:
        super().__init__(schema, embedding_std=embedding_std, **shared)
        kinds = ("all", "each", "interaction")
        require(bilinear in kinds, f"bilinear must be one of {', '.join(kinds)}", bilinear)
        require(reduction >= 1, "reduction must be at least 1", reduction)
        fields, dim = self.embedding.n_fields, self.embedding.embedding_dim
        require(
            fields >= 2,
            "embed_numerical must be true where fewer than two other fields have embeddings, as "
            "FiBiNET joins pairs; numbers have them then: fields with embeddings must be two",
            fields,
        )
        self.senet = SENET(fields, reduction)
        self.bilinear = BilinearInteraction(fields, dim, bilinear)
        numbers = self.embedding.flat_dim - fields * dim
        width = fields * (fields - 1) * dim + numbers
        self.deep = deep_part(width, hidden_units, dropout, batch_norm)
        self.head = Head(hidden_units[-1])

    @classmethod
    def describe(cls, schema: Schema, options: Mapping[str, Any]) -> Description:
        """Also the matrices of pairs, where each has one."""
        described = super().describe(schema, options)
        if options["bilinear"] != "interaction":
            return described
        reading = (
            "The brighter a cell above the diagonal, the larger the matrix that joins the field of "
            "the row with that of the column."
        )
        names = tuple(field.name for field in schema.embedded(options["embed_numerical"]))
        pairs = FieldPairs("bilinear weights", reading, "bilinear.weight", names)
        return replace(described, pairs=(pairs,))

    def interact(self, embedded: Embedded) -> Tensor:
        """[B] deep part."""
        weights = _pair_weights(self.senet(embedded.vectors))
        pairs = self.bilinear(embedded.vectors)
        _, fields, dim = embedded.vectors.shape
        numbers = embedded.flat[:, fields * dim :]
        both = torch.cat((pairs * weights, pairs), 1).flatten(1)
        return self.head(self.deep(torch.cat((both, numbers), 1)))

    def rectified(self) -> list[tuple[str, nn.Module]]:
        """Also the layers of SENET."""
        layers = (("layer 1 of senet", self.senet.squeeze), ("layer 2 of senet", self.senet.excite))
        return [*layers, *super().rectified()]

    @torch.no_grad()
    def gates(self, batch: Batch) -> list[Gate]:
        """The weights of SENET, and how large the interaction of each pair is.

        The latter is the norm of what the deep part is given of it, |p_ij| sqrt(1 + (a_i a_j)^2).
        """
        vectors = self.embedding(batch).vectors
        weights = self.senet(vectors)
        sizes = vector_norm(self.bilinear(vectors), dim=2)
        sizes = sizes * (1 + _pair_weights(weights).squeeze(2).square()).sqrt()
        fields = [field.name for field in self.schema.embedded(self.embedding.embeds_numerical)]
        pairs = tuple(map(JOINER.join, combinations(fields, 2)))
        return [
            Gate(
                "weights of SENET",
                "The longer a bar, the more the interactions of the field are raised; of a field "
                "at zero they enter the deep part as they are, and no second time.",
                tuple(fields),
                weights,
            ),
            Gate(
                "bilinear interactions",
                "The longer a bar, the larger the numbers that the deep part is given of the pair.",
                pairs,
                sizes,
            ),
        ]


def _pair_weights(weights: Tensor) -> Tensor:
    """[B, F] -> [B, P, 1] a_i a_j of each pair."""
    return torch.cat([a.unsqueeze(1) * b for a, b in _with_later(weights.unsqueeze(2))], 1)
