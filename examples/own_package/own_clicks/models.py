"""Two models: a shipped one with a change, and one of an own architecture."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from zoo import CTRModule, Schema, WideDeep
from zoo.nn.embedding import Embedded


class Tempered(WideDeep):
    """Wide & Deep whose deep part has a temperature.

        logit = b + sum_f w_f(x_f) + v^T MLP([e_1, .., e_F, x]) / temperature

    Args:
        schema: Fields of the batches and their cardinalities.
        temperature: Number that the deep part's logit is divided by.
        hidden_units: Widths of the deep network's layers.
        shared: Options of `WideDeep`.
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        temperature: float = 1.0,
        hidden_units: Sequence[int] = (8,),
        **shared: Any,
    ) -> None:
        super().__init__(schema, hidden_units=hidden_units, **shared)
        self.temperature = temperature

    def interact(self, embedded: Embedded) -> Tensor:
        """[B] the deep part."""
        return super().interact(embedded) / self.temperature


class Products(CTRModule):
    """A small network over the inner products of all embeddings.

        logit = b + sum_f w_f(x_f) + v^T relu(W [<e_f, e_g>]_{f,g})

    Args:
        schema: Fields of the batches and their cardinalities.
        units: Number of hidden units.
        shared: Options of `CTRModule`.
    """

    def __init__(self, schema: Schema | Mapping[str, Any], units: int = 4, **shared: Any) -> None:
        super().__init__(schema, **shared)
        self.inner = nn.Sequential(nn.Linear(self.embedding.n_fields**2, units), nn.ReLU())
        self.head = nn.Linear(units, 1)

    def interact(self, embedded: Embedded) -> Tensor:
        """[B] what the products add to the first-order logit."""
        products = embedded.vectors @ embedded.vectors.transpose(1, 2)
        return self.head(self.inner(products.flatten(1))).squeeze(1)
