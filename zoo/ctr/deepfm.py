"""DeepFM (Guo et al. 2017)."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from zoo._deepctr import layers
from zoo.ctr.base import CTRModule
from zoo.ctr.deep import deep_part
from zoo.embedding import Embedded
from zoo.schema import Schema


class DeepFM(CTRModule):
    """Factorisation machine and deep network over the same embeddings.

        logit = b + sum_f w_f(x_f) + sum_{f<g} <e_f, e_g> + v^T MLP([e_1, .., e_F, x])

    with embeddings e_f, first-order weights w_f and numerical values x (Guo et al.,
    *DeepFM: A Factorization-Machine based Neural Network for CTR Prediction*, IJCAI 2017,
    equations 1 to 4). Numerical fields take part in the FM only if `embed_numerical`.

    Args:
        schema: of the batches.
        hidden_units: widths of the deep network's layers.
        dropout: share of the deep network's activations that training drops.
        batch_norm: normalise before each activation.
        shared: the options of `CTRModule`.
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        hidden_units: Sequence[int] = (400, 400, 400),
        dropout: float = 0.0,
        batch_norm: bool = False,
        **shared: Any,
    ) -> None:
        super().__init__(schema, **shared)
        self.fm = layers.FM()
        self.deep = deep_part(self.embedding.flat_dim, hidden_units, dropout, batch_norm)
        self.head = nn.Linear(hidden_units[-1], 1, bias=False)

    def interact(self, embedded: Embedded) -> Tensor:
        """[B] FM and deep part."""
        logit = self.fm(embedded.vectors) + self.head(self.deep(embedded.flat()))
        return logit.squeeze(1)
