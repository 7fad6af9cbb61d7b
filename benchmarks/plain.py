"""The click-through models in plain PyTorch, and a plain loop that trains them.

What a careful engineer writes without a library of models or a trainer: one table for all fields,
`torch.nn` modules, an optimizer of torch, rows that stay on the device. `gpu.py` compares with it.

Shapes: B batch, C categorical fields, N numerical ones, D embedding, F * D + N the flat input.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, scaled_dot_product_attention

from zoo.ctr.base import CTRModule
from zoo.data.batch import Batch
from zoo.data.schema import Schema


def perceptron(widths: Sequence[int]) -> nn.Sequential:
    """Layers with ReLU, then one number without a bias."""
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 1, bias=False))


class Plain(nn.Module):
    """Wide & Deep: bias, first-order part, and a deep network. The others add a part to it.

    Args:
        schema: Fields of the rows.
        dim: Size of embeddings.
        hidden: Widths of the deep network's layers.
        sparse: Whether the table has sparse gradients.
    """

    def __init__(self, schema: Schema, dim: int, hidden: Sequence[int], sparse: bool) -> None:
        super().__init__()
        sizes = torch.tensor([field.cardinality for field in schema.categorical])
        self.register_buffer("offsets", sizes.cumsum(0) - sizes)
        self.dim, self.fields = dim, len(sizes)
        self.width = self.fields * dim + len(schema.numerical)
        self.table = nn.Embedding(int(sizes.sum()), dim + 1, sparse=sparse)
        nn.init.normal_(self.table.weight, std=1e-4)
        self.numbers = nn.Linear(len(schema.numerical), 1)
        self.deep = perceptron([self.width, *hidden])

    def added(self, vectors: Tensor, flat: Tensor) -> Tensor | float:
        """[B] what the architecture adds."""
        return 0.0

    def forward(self, numerical: Tensor, ids: Tensor) -> Tensor:
        """[B] logits."""
        rows = self.table(ids + self.offsets)
        vectors, weights = rows[..., : self.dim], rows[..., self.dim]
        flat = torch.cat((vectors.flatten(1), numerical), 1)
        logits = self.numbers(numerical) + self.deep(flat)
        return logits.squeeze(1) + weights.sum(1) + self.added(vectors, flat)


class PlainFM(Plain):
    """DeepFM."""

    def added(self, vectors: Tensor, flat: Tensor) -> Tensor:
        """Sum of the products of all pairs of embeddings."""
        return (vectors.sum(1).square() - vectors.square().sum(1)).sum(1) / 2


class PlainCross(Plain):
    """DCN with six cross layers of the vector form."""

    def __init__(self, *given: object) -> None:
        super().__init__(*given)
        self.kernels = nn.Parameter(torch.randn(6, self.width) * 0.01)
        self.biases = nn.Parameter(torch.zeros(6, self.width))
        self.head = nn.Linear(self.width, 1, bias=False)

    def added(self, vectors: Tensor, flat: Tensor) -> Tensor:
        """The cross layers."""
        x = flat
        for kernel, bias in zip(self.kernels, self.biases, strict=True):
            x = flat * (x @ kernel).unsqueeze(1) + bias + x
        return self.head(x).squeeze(1)


class PlainCIN(Plain):
    """xDeepFM with three layers of 200 maps, of which halves go on."""

    def __init__(self, *given: object) -> None:
        super().__init__(*given)
        self.layers = nn.ModuleList(
            nn.Linear(maps * self.fields, 200) for maps in (self.fields, 100, 100)
        )
        self.head = nn.Linear(400, 1, bias=False)

    def added(self, vectors: Tensor, flat: Tensor) -> Tensor:
        """The interaction network."""
        x0 = x = vectors.transpose(1, 2)  # [B, D, fields]
        read = []
        for k, layer in enumerate(self.layers):
            out = layer((x.unsqueeze(3) * x0.unsqueeze(2)).flatten(2)).relu()
            x, out = (out, out) if k == 2 else out.chunk(2, 2)
            read.append(out.sum(1))
        return self.head(torch.cat(read, 1)).squeeze(1)


class PlainAttention(Plain):
    """AutoInt with three layers of two heads, of the embeddings' width."""

    def __init__(self, *given: object) -> None:
        super().__init__(*given)
        self.layers = nn.ModuleList(nn.Linear(self.dim, 4 * self.dim, bias=False) for _ in range(3))
        self.head = nn.Linear(self.fields * self.dim, 1, bias=False)

    def added(self, vectors: Tensor, flat: Tensor) -> Tensor:
        """The interacting layers."""
        x = vectors
        for layer in self.layers:
            *parts, residual = layer(x).chunk(4, 2)
            query, key, value = (p.unflatten(2, (2, -1)).transpose(1, 2) for p in parts)
            mixed = scaled_dot_product_attention(query, key, value, scale=1.0)
            x = (mixed.transpose(1, 2).flatten(2) + residual).relu()
        return self.head(x.flatten(1)).squeeze(1)


PLAIN = {
    "WideDeep": Plain,
    "DeepFM": PlainFM,
    "DCN": PlainCross,
    "xDeepFM": PlainCIN,
    "AutoInt": PlainAttention,
}


def make_plain(
    name: str, schema: Schema, dim: int, hidden: Sequence[int], sparse: bool = False
) -> Plain:
    """The plain form of one of our models, with the settings of `train_throughput.py`."""
    return PLAIN[name](schema, dim, hidden, sparse)


@torch.no_grad()
def take_weights(plain: Plain, ours: CTRModule) -> None:
    """Gives a plain model the weights of ours."""
    own, weights = dict(plain.named_parameters()), dict(ours.named_parameters())
    pairs = {"table.weight": "embedding.table", "numbers.bias": "bias", "biases": "cross.bias"}
    pairs |= {"kernels": "cross.kernels", "numbers.weight": "embedding.numerical_weight"}
    deep = [key for key in weights if key.startswith("deep.linears.")] + ["head.weight"]
    pairs |= dict(zip((key for key in own if key.startswith("deep.")), deep, strict=True))
    for part in ("cin", "cross", "attention"):
        if f"{part}_head.weight" in weights:
            pairs["head.weight"] = f"{part}_head.weight"
    for key, parameter in own.items():
        if key.startswith("layers."):  # AutoInt keeps its matrices transposed
            _, k, kind = key.split(".")
            matrix = weights.get(f"attention_layers.{k}.weight")
            found = weights[f"cin.layers.{k}.{kind}"] if matrix is None else matrix.T
        else:
            found = weights[pairs[key]]
        parameter.copy_(found.reshape(parameter.shape))


def train_plainly(
    model: nn.Module, optimizer: torch.optim.Optimizer, rows: Batch, size: int, half: bool = False
) -> None:
    """An epoch over rows that lie on the device, in a random order; what is left over is not used.

    Args:
        model: The model.
        optimizer: Its optimizer.
        rows: All rows.
        size: Number of rows of a batch.
        half: Whether products are of bfloat16.
    """
    device = rows.label.device
    order = torch.randperm(len(rows.label), device=device)
    for picked in order[: len(order) // size * size].split(size):
        with torch.autocast(device.type, torch.bfloat16) if half else nullcontext():
            logits = model(rows.numerical[picked], rows.categorical[picked])
            loss = binary_cross_entropy_with_logits(logits, rows.label[picked].to(logits))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def trainer_of(name: str, schema: Schema, rows: Batch, size: int, **options: bool) -> Callable:
    """What trains a new plain model for another epoch, each time it is called."""
    half = options.pop("half", False)
    model = make_plain(name, schema, 16, (400, 400), **options).to(rows.label.device)
    optimizer = torch.optim.Adagrad(model.parameters(), lr=0.01)
    return lambda: train_plainly(model, optimizer, rows, size, half)
