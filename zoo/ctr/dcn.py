"""Deep & Cross Network (Wang et al. 2017) and its matrix form, DCN-V2 (Wang et al. 2021).

Shapes: B batch, W width of the flat input (F * D + N).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from zoo.ctr.base import CTRModule
from zoo.data.errors import require
from zoo.data.schema import Schema
from zoo.models.description import Description, FieldGrid
from zoo.nn.embedding import Embedded
from zoo.nn.linear import linear
from zoo.nn.mlp import deep_part
from zoo.nn.numbers import bins_of
from zoo.nn.sized import flat_columns


class CrossNetwork(nn.Module):
    """Cross layers over the flat input, [B, W] -> [B, W].

        vector:  x_{l+1} = x_0 (x_l^T w_l) + b_l + x_l      (DCN, equation 3)
        matrix:  x_{l+1} = x_0 * (W_l x_l + b_l) + x_l      (DCN-V2, equation 1)

    Every layer of the vector form is x_l = a_l x_0 + c_l with a number a_l of each row and a
    vector c_l of all rows (by induction; compare xDeepFM, Lian et al. 2018, theorem 2.1):

        a_{l+1} = a_l (1 + x_0^T w_l) + c_l^T w_l,   c_{l+1} = c_l + b_l,   a_0 = 1,  c_0 = 0

    so one product of x_0 with all w_l and L numbers a row give what L passes over [B, W] would.

    Args:
        width: Width of the input, W.
        layers: Number of cross layers.
        parameterization: Form of the layers, `vector` or `matrix`.
    """

    def __init__(self, width: int, layers: int, parameterization: str) -> None:
        super().__init__()
        self.is_matrix = parameterization == "matrix"
        self.kernels = nn.Parameter(torch.empty(layers, width, width if self.is_matrix else 1))
        self.bias = nn.Parameter(torch.zeros(layers, width))
        # the output grows with the product of all 1 + x_0^T w_l: start close to the identity
        nn.init.normal_(self.kernels, std=0.01)

    def forward(self, x0: Tensor) -> Tensor:
        """Applies all layers."""
        return self._matrix(x0) if self.is_matrix else self._vector(x0)

    def _vector(self, x0: Tensor) -> Tensor:
        kernels = self.kernels.squeeze(2)
        # c_l, the sum of the biases before layer l
        shifts = torch.cumsum(self.bias, 0) - self.bias
        growth = 1 + x0 @ kernels.T
        offsets = (shifts * kernels).sum(1)
        scale = torch.ones_like(growth[:, 0])
        for factor, offset in zip(growth.unbind(1), offsets, strict=True):
            scale = torch.addcmul(offset, scale, factor)
        return torch.addcmul(self.bias.sum(0), scale.unsqueeze(1), x0)

    def _matrix(self, x0: Tensor) -> Tensor:
        x = x0
        for kernel, bias in zip(self.kernels, self.bias, strict=True):
            x = torch.addcmul(x, x0, linear(x, kernel, bias))
        return x


class DCN(CTRModule):
    """Cross network and deep network over the same flat input.

        logit = b + u^T CrossNetwork(z) + v^T MLP(z),   z = [e_1, .., e_F, x]

    with embeddings e_f and numerical values x (Wang et al., *Deep & Cross Network for Ad Click
    Predictions*, ADKDD 2017, equations 3 and 5: six cross layers, two deep layers of 1024, no
    first-order part; the matrix form from Wang et al., *DCN V2*, WWW 2021).

    Args:
        schema: Fields of the batches and their cardinalities; see `Schema`.
        cross_layers: Number of cross layers.
        parameterization: Form of the cross layers: `vector` as in 2017, `matrix` as in 2021.
        hidden_units: Widths of the deep network's layers.
        dropout: Share of the deep network's activations that training drops.
        batch_norm: Normalise before each activation.
        first_order: Add sum_f w_f(x_f) to the logit.
        shared: Options of `CTRModule`.
    """

    one_size = False

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        cross_layers: int = 6,
        parameterization: Literal["vector", "matrix"] = "vector",
        hidden_units: Sequence[int] = (1024, 1024),
        dropout: float = 0.0,
        batch_norm: bool = False,
        first_order: bool = False,
        **shared: Any,
    ) -> None:
        super().__init__(schema, first_order=first_order, **shared)
        require(cross_layers >= 1, "cross_layers must be at least 1", cross_layers)
        require(
            parameterization in ("vector", "matrix"),
            "parameterization must be vector or matrix",
            parameterization,
        )
        width = self.embedding.flat_dim
        self.cross = CrossNetwork(width, cross_layers, parameterization)
        self.deep = deep_part(width, hidden_units, dropout, batch_norm)
        self.cross_head = nn.Linear(width, 1, bias=False)
        self.head = nn.Linear(hidden_units[-1], 1, bias=False)

    @classmethod
    def describe(cls, schema: Schema, options: Mapping[str, Any]) -> Description:
        """Also the weights with which the cross layers multiply the fields."""
        embedded = bool(options["embed_numerical"])
        sizes = options.get("embedding_dims")  # which earlier checkpoints do not name
        columns = flat_columns(schema, options["embedding_dim"], sizes, embedded, bins_of(options))
        if options["parameterization"] == "matrix":
            reading = (
                "The brighter a cell, the larger the weights with which this cross layer "
                "multiplies the field of the row by that of the column."
            )
        else:
            reading = (
                "The brighter a cell, the larger the weights with which that cross layer "
                "multiplies its input by the field."
            )
        places = {name: tuple(columns[name]) for name in (field.name for field in schema.fields)}
        grid = FieldGrid("cross weights", reading, "cross.kernels", places)
        return replace(super().describe(schema, options), grids=(grid,))

    def interact(self, embedded: Embedded) -> Tensor:
        """[B] cross and deep part."""
        cross = self.cross_head(self.cross(embedded.flat))
        return (cross + self.head(self.deep(embedded.flat))).squeeze(1)
