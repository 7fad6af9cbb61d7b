"""Wide & Deep (Cheng et al. 2016)."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from zoo.ctr.base import CTRModule
from zoo.data.schema import Schema
from zoo.nn.embedding import Embedded
from zoo.nn.linear import Head
from zoo.nn.mlp import deep_part


class WideDeep(CTRModule):
    """Linear model and deep network side by side.

        logit = b + sum_f w_f(x_f) + v^T MLP([e_1, .., e_F, x])

    with embeddings e_f, first-order weights w_f and numerical values x (Cheng et al., *Wide &
    Deep Learning for Recommender Systems*, DLRS 2016, equation 3; the wide part takes every
    field, and crosses where the data have them). Layers of 1024, 512 and 256 as in its Figure 4.

    Args:
        schema: Fields of the batches and their cardinalities; see `Schema`.
        hidden_units: Widths of the deep network's layers.
        dropout: Share of the deep network's activations that training drops.
        batch_norm: Normalise before each activation.
        shared: Options of `CTRModule`.
    """

    one_size = False

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        hidden_units: Sequence[int] = (1024, 512, 256),
        dropout: float = 0.0,
        batch_norm: bool = False,
        **shared: Any,
    ) -> None:
        super().__init__(schema, **shared)
        self.deep = deep_part(self.embedding.flat_dim, hidden_units, dropout, batch_norm)
        self.head = Head(hidden_units[-1])

    def interact(self, embedded: Embedded) -> Tensor:
        """[B] deep part."""
        return self.head(self.deep(embedded.flat))
