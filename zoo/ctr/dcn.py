"""Deep & Cross Network (Wang et al. 2017) and its matrix form, DCN-V2 (Wang et al. 2021).

Shapes: B batch, W width of the flat input (F * D + N).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from zoo.ctr.base import CTRModule
from zoo.data.errors import require
from zoo.data.schema import Schema
from zoo.models.description import Description, FieldGrid
from zoo.nn.embedding import Embedded
from zoo.nn.linear import Head, head, linear
from zoo.nn.mlp import deep_part
from zoo.nn.numbers import bins_of
from zoo.nn.sized import flat_columns


class _Recurrence(torch.autograd.Function):
    """[B, L], [L] -> [B]: a_L of a_{l+1} = a_l g_l + o_l, a_0 = 1; one gradient for all layers."""

    @staticmethod
    def forward(ctx: Any, growth: Tensor, offsets: Tensor) -> Tensor:
        """The last of the numbers."""
        factors, (first, *others) = growth.unbind(1), offsets.unbind(0)
        scales = [factors[0] + first]
        for factor, offset in zip(factors[1:], others, strict=True):
            scales.append(torch.addcmul(offset, scales[-1], factor))
        ctx.save_for_backward(growth, *scales[:-1])
        return scales[-1]

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The gradients of both."""
        growth, *scales = ctx.saved_tensors
        gradients = [gradient]
        for factor in growth.unbind(1)[:0:-1]:
            gradients.append(gradients[-1] * factor)
        first, *others = reversed(gradients)
        through = torch.stack((first, *others), 1)
        of_growth = torch.stack((first, *(g * a for g, a in zip(others, scales, strict=True))), 1)
        return of_growth, through.sum(0)


class CrossNetwork(nn.Module):
    """Cross layers over the flat input, [B, W] -> [B, W].

        vector:  x_{l+1} = x_0 (x_l^T w_l) + b_l + x_l      (DCN, equation 3)
        matrix:  x_{l+1} = x_0 * (W_l x_l + b_l) + x_l      (DCN-V2, equation 1)

    Every layer of the vector form is x_l = a_l x_0 + c_l with a number a_l of each row and a
    vector c_l of all rows (by induction; compare xDeepFM, Lian et al. 2018, theorem 2.1):

        a_{l+1} = a_l (1 + x_0^T w_l) + c_l^T w_l,   c_{l+1} = c_l + b_l,   a_0 = 1,  c_0 = 0

    so one product of x_0 with all w_l and L numbers a row give what L passes over [B, W] would; and
    one with v as well, <v, x_L>: a_L <v, x_0> + <v, c_L> has the form of a further layer.

    Args:
        width: Width of the input, W.
        layers: Number of cross layers.
        parameterization: Form of the layers, `vector` or `matrix`.
    """

    adds: Tensor
    earlier: Tensor

    def __init__(self, width: int, layers: int, parameterization: str) -> None:
        super().__init__()
        self.is_matrix = parameterization == "matrix"
        self.kernels = nn.Parameter(torch.empty(layers, width, width if self.is_matrix else 1))
        self.bias = nn.Parameter(torch.zeros(layers, width))
        # which biases c_l is the sum of, and whether a layer adds what enters it
        earlier = torch.ones(layers + 1, layers).tril(-1)
        self.register_buffer("earlier", earlier, persistent=False)
        self.register_buffer("adds", (torch.arange(layers + 1) < layers).float(), persistent=False)
        # the output grows with the product of all 1 + x_0^T w_l: start close to the identity
        nn.init.normal_(self.kernels, std=0.01)

    def forward(self, x0: Tensor) -> Tensor:
        """Applies all layers."""
        if self.is_matrix:
            return self._matrix(x0)
        kernels = self.kernels.squeeze(2)
        scale = self._scale(x0, kernels, len(kernels))
        return torch.addcmul(self.bias.sum(0), scale.unsqueeze(1), x0)

    def project(self, x0: Tensor, weight: Tensor) -> Tensor:
        """[B] <v, x_L> of a weight v [1, W]; in the vector form no x_l is made for it."""
        if self.is_matrix:
            return head(self._matrix(x0), weight)
        kernels = torch.cat((self.kernels.squeeze(2), weight))
        return self._scale(x0, kernels, len(kernels))

    def _scale(self, x0: Tensor, kernels: Tensor, layers: int) -> Tensor:
        growth = linear(x0, kernels) + self.adds[:layers]
        offsets = (self.earlier[:layers] @ self.bias * kernels).sum(1)
        return _Recurrence.apply(growth, offsets)

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
        self.cross_head = Head(width)
        self.head = Head(hidden_units[-1])

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
        cross = self.cross.project(embedded.flat, self.cross_head.weight)
        return cross + self.head(self.deep(embedded.flat))
