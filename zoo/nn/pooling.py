"""One vector of a list of ids: mean, sum, or attention to a candidate.

Shapes: B batch, M fields of lists, L values of all lists together, C categorical fields,
D embedding.
"""

from collections.abc import Mapping
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from zoo.data.errors import ZooError
from zoo.data.schema import Schema
from zoo.nn.mlp import deep_part

Pooling = Literal["mean", "sum", "attention"]
ATTENTION_UNITS = (80, 40)  # widths of DIN's public code


class ActivationUnit(nn.Module):
    """How much a value k matters for a candidate q: a(q, k) = v^T MLP([q, k, q - k, q * k]) + c.

    Zhou et al., *Deep Interest Network for Click-Through Rate Prediction*, KDD 2018, section 4.3.

    Args:
        embedding_dim: Size of each vector, D.
    """

    def __init__(self, embedding_dim: int) -> None:
        super().__init__()
        self.hidden = deep_part(4 * embedding_dim, ATTENTION_UNITS, 0.0, False)
        self.head = nn.Linear(ATTENTION_UNITS[-1], 1)

    def forward(self, candidate: Tensor, value: Tensor) -> Tensor:
        """[L, D], [L, D] -> [L]."""
        pairs = (candidate, value, candidate - value, candidate * value)
        return self.head(self.hidden(torch.cat(pairs, 1))).squeeze(1)


class ListPooling(nn.Module):
    """One embedding vector and first-order weight of each list.

        mean       (1 / n) sum_k e_k
        sum        sum_k e_k
        attention  sum_k a(e_q, e_k) e_k, with e_q the vector of the field whose vocabulary it is

    and the mean of the first-order weights, but with `sum` their sum. That of an empty list is
    zero. Attention is not normalised, so that the intensity of an interest is kept (Zhou et al.
    2018, equation 3).

    Args:
        schema: Fields of the batches; see `Schema`.
        embedding_dim: Size of each vector, D.
        pooling: How lists are pooled: of all fields, or by name; fields without a name are `mean`.

    Raises:
        ZooError: where attention has no candidate, or a field is none of the schema's lists.
    """

    is_sum: Tensor

    def __init__(
        self, schema: Schema, embedding_dim: int, pooling: Pooling | Mapping[str, Pooling]
    ) -> None:
        super().__init__()
        names = [field.name for field in schema.lists]
        chosen = dict.fromkeys(names, pooling) if isinstance(pooling, str) else dict(pooling)
        if isinstance(pooling, str) and pooling not in get_args(Pooling):
            raise _unknown(pooling)
        for name, how in chosen.items():
            if name not in names:
                lists = f"these are {', '.join(names)}" if names else "the data have none"
                raise ZooError(f"pooling: {name!r} is not a field of lists; {lists}")
            if how not in get_args(Pooling):
                raise _unknown(how)
        self.dim = embedding_dim
        is_sum = torch.tensor([chosen.get(name) == "sum" for name in names], dtype=torch.bool)
        self.register_buffer("is_sum", is_sum, persistent=False)
        units, self.candidates = {}, {}
        categorical = [field.name for field in schema.categorical]
        for m, field in enumerate(schema.lists):
            if chosen.get(field.name) == "attention":
                if field.vocabulary not in categorical:
                    raise ZooError(
                        f"pooling: attention of the field {field.name!r} is to a candidate: give "
                        "it, in data.fields, the vocabulary of a categorical field"
                    )
                self.candidates[m] = categorical.index(field.vocabulary)
                units[str(m)] = ActivationUnit(embedding_dim)
        self.units = nn.ModuleDict(units)

    def forward(self, rows: Tensor, number: Tensor, lengths: Tensor, vectors: Tensor) -> Tensor:
        """[B, M, columns] pooled rows of the table.

        Args:
            rows: [L, columns] vector, and first-order weight if there is one, of each value.
            number: [L] number of the list of each value, b * M + m.
            lengths: [B, M] lengths of the lists.
            vectors: [B, C, D] vectors of the categorical fields.
        """
        shape = (*lengths.shape, rows.shape[1])
        if self.candidates:
            weights = self._attention(rows[:, : self.dim], number, lengths, vectors)
            rows = torch.cat((rows[:, : self.dim] * weights.unsqueeze(1), rows[:, self.dim :]), 1)
        total = rows.new_zeros(lengths.numel(), rows.shape[1]).index_add(0, number, rows)
        counts = lengths.clamp(min=1).masked_fill(self.is_sum, 1)
        return total.view(shape) / counts.unsqueeze(2)

    def _attention(self, keys: Tensor, number: Tensor, lengths: Tensor, vectors: Tensor) -> Tensor:
        """[L] the weight of each value's vector; of a mean, 1, for the mean is taken in the end."""
        row, field = number // lengths.shape[1], number % lengths.shape[1]
        weights = keys.new_ones(keys.shape[0])
        for m, candidate in self.candidates.items():
            unit = self.units[str(m)]
            if torch.compiler.is_exporting():  # whose shapes may not depend on what lists hold
                found = unit(vectors[row, candidate], keys) * lengths[row, m]
                weights = torch.where(field == m, found, weights)
                continue
            mine = (field == m).nonzero().squeeze(1)
            at = row[mine]
            found = unit(vectors[at, candidate], keys.index_select(0, mine))
            # what the mean will divide by
            found = found * lengths[at, m]
            weights = weights.index_put((mine,), found.to(weights.dtype))
        return weights


def _unknown(how: object) -> ZooError:
    return ZooError(f"pooling must be one of {', '.join(get_args(Pooling))}, got {how!r}")
