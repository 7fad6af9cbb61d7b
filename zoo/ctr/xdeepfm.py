"""xDeepFM (Lian et al. 2018).

Shapes: B batch, F fields, D embedding, M feature maps that enter a layer, H that leave it,
R = B * D rows of the layers' matrix products.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from zoo.ctr.base import CTRModule
from zoo.data.errors import require
from zoo.data.schema import Schema
from zoo.nn.device import is_cpu
from zoo.nn.embedding import Embedded
from zoo.nn.linear import Head, onednn_products, sum_of_rows
from zoo.nn.mlp import deep_part

NUMBERS_PER_CHUNK = 1 << 20  # of outer products on a CPU: about what its cache holds
NUMBERS_ON_GPU = 1 << 28  # where the memory alone counts: 1 GB, and as much for a gradient


class _OuterProducts(torch.autograd.Function):
    """[R, M], [R, F], [H, M * F], [H] -> [R, H]: relu(W vec(x x_0^T) + b) of each row.

    The outer products, R * M * F numbers, are made chunk by chunk, and made again for the
    gradient: they neither fill the memory nor, on a CPU, leave its cache.
    """

    @staticmethod
    @onednn_products()
    def forward(ctx: Any, x: Tensor, x0: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The maps."""
        out = x.new_empty(x.shape[0], len(weight))
        for r in _chunks(x, x0):
            torch.addmm(bias, _outer(x[r], x0[r]), weight.t(), out=out[r]).relu_()
        ctx.save_for_backward(x, x0, weight, out)
        return out

    @staticmethod
    @once_differentiable
    @onednn_products()
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The gradients of the four arguments."""
        x, x0, weight, out = ctx.saved_tensors
        gradient = torch.ops.aten.threshold_backward(gradient, out, 0).contiguous()
        dx, dx0 = torch.empty_like(x), torch.empty_like(x0)
        dweight = weight.new_zeros(weight.shape[::-1])  # transposed, as its product is faster
        for r in _chunks(x, x0):
            dweight.addmm_(_outer(x[r], x0[r]).t(), gradient[r])
            douter = (gradient[r] @ weight).unflatten(1, (x.shape[1], -1))
            torch.bmm(douter, x0[r].unsqueeze(2), out=dx[r].unsqueeze(2))
            torch.bmm(x[r].unsqueeze(1), douter, out=dx0[r].unsqueeze(1))
        return dx, dx0, dweight.t(), sum_of_rows(gradient)


def _outer(x: Tensor, x0: Tensor) -> Tensor:
    return (x.unsqueeze(2) * x0.unsqueeze(1)).flatten(1)


def _chunks(x: Tensor, x0: Tensor) -> Iterator[slice]:
    numbers = NUMBERS_PER_CHUNK if is_cpu(x) else NUMBERS_ON_GPU
    rows = max(1, numbers // (x.shape[1] * x0.shape[1]))
    return (slice(start, start + rows) for start in range(0, len(x), rows))


class CompressedInteractionLayer(nn.Linear):
    """X^k of a `CompressedInteractionNetwork` from X^{k-1} and X^0, rows by maps.

    Args:
        maps: Number of feature maps that enter the layer, M.
        n_fields: Number of fields, F.
        size: Number of feature maps that leave the layer, H.
    """

    def __init__(self, maps: int, n_fields: int, size: int) -> None:
        super().__init__(maps * n_fields, size)

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]  # of two inputs
        self, x: Tensor, x0: Tensor
    ) -> Tensor:
        """[R, M], [R, F] -> [R, H]."""
        if torch.compiler.is_exporting():  # which has no chunks of batches of any size
            return super().forward(_outer(x, x0)).relu()
        return _OuterProducts.apply(x, x0, self.weight.to(x.dtype), self.bias.to(x.dtype))


class CompressedInteractionNetwork(nn.Module):
    """Explicit interactions of growing order, [B, F, D] -> [B, width].

        X^k_h = relu(b_h + sum_{i,j} W^k_{h,ij} X^{k-1}_i * X^0_j)      (equation 6)
        p_h = sum_d X^k_{h,d}                                           (equation 7)

    With `split_half`, half of the maps of every layer but the last feed the next layer, and the
    other half are read out; otherwise all maps do both.

    Args:
        n_fields: Number of fields, F.
        layer_sizes: Number of feature maps of each layer, H.
        split_half: Read out one half of a layer's maps, and feed the other to the next layer.

    Attributes:
        width: Number of maps that are read out.
    """

    def __init__(self, n_fields: int, layer_sizes: Sequence[int], split_half: bool) -> None:
        super().__init__()
        self.split_half = split_half
        self.layers = nn.ModuleList()
        self.width, maps = 0, n_fields
        for k, size in enumerate(layer_sizes, 1):
            self.layers.append(CompressedInteractionLayer(maps, n_fields, size))
            maps = size // 2 if split_half else size
            self.width += size - maps if split_half and k < len(layer_sizes) else size

    def forward(self, vectors: Tensor) -> Tensor:
        """Applies all layers and sums over the embedding."""
        batch, _, dim = vectors.shape
        if torch.is_autocast_enabled(vectors.device.type):  # which does not see into a Function
            vectors = vectors.to(torch.get_autocast_dtype(vectors.device.type))
        x0 = vectors.transpose(1, 2).reshape(batch * dim, -1)
        # a view, as torch.compile cannot take one tensor for two arguments
        x, read = x0.view_as(x0), []
        for k, layer in enumerate(self.layers, 1):
            out = layer(x, x0)
            if self.split_half and k < len(self.layers):
                x, out = out.chunk(2, 1)
                x = x.contiguous()
            else:
                x = out
            read.append(out.view(batch, dim, -1).sum(1))
        return torch.cat(read, 1)


class xDeepFM(CTRModule):
    """Compressed interaction network and deep network over the same embeddings.

        logit = b + sum_f w_f(x_f) + u^T CIN(e_1, .., e_F) + v^T MLP([e_1, .., e_F, x])

    with embeddings e_f, first-order weights w_f and numerical values x (Lian et al., *xDeepFM:
    Combining Explicit and Implicit Feature Interactions for Recommender Systems*, KDD 2018,
    equations 6 to 9; on Criteo three CIN layers of 200 and two deep layers of 400).

    Args:
        schema: Fields of the batches and their cardinalities; see `Schema`.
        cin_layers: Number of feature maps of each layer of the interaction network.
        split_half: Read out one half of a layer's maps, and feed the other to the next layer.
        hidden_units: Widths of the deep network's layers.
        dropout: Share of the deep network's activations that training drops.
        batch_norm: Normalise before each activation.
        shared: Options of `CTRModule`.
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        cin_layers: Sequence[int] = (200, 200, 200),
        split_half: bool = True,
        hidden_units: Sequence[int] = (400, 400),
        dropout: float = 0.0,
        batch_norm: bool = False,
        **shared: Any,
    ) -> None:
        super().__init__(schema, **shared)
        require(len(cin_layers) > 0, "cin_layers must name at least one layer", cin_layers)
        require(min(cin_layers) > 0, "cin_layers must be positive", cin_layers)
        require(
            not split_half or all(size % 2 == 0 for size in cin_layers[:-1]),
            "cin_layers must be even where split_half halves them",
            cin_layers,
        )
        fields = self.embedding.n_fields
        require(fields > 0, "embed_numerical must be true where no field is categorical", False)
        self.cin = CompressedInteractionNetwork(fields, cin_layers, split_half)
        self.cin_head = Head(self.cin.width)
        self.deep = deep_part(self.embedding.flat_dim, hidden_units, dropout, batch_norm)
        self.head = Head(hidden_units[-1])

    def rectified(self) -> list[tuple[str, nn.Module]]:
        """Also the layers of the interaction network."""
        layers = enumerate(self.cin.layers, 1)
        return [*((f"layer {i} of cin", layer) for i, layer in layers), *super().rectified()]

    def interact(self, embedded: Embedded) -> Tensor:
        """[B] interaction network and deep part."""
        explicit = self.cin_head(self.cin(embedded.vectors))
        return explicit + self.head(self.deep(embedded.flat))
