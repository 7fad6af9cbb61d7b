"""`experts.py cost`: a training step of the experts beside plain and dense networks."""

import argparse
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from common import console, make_table
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional

from zoo import Batch, Field, InterpretableMLP, Schema
from zoo.nn.embedding import Embedded


class DenseMasked(nn.Module):
    """A dense layer whose weights are multiplied with a mask [outputs, inputs].

    Where `stopped`, another mask, is given, no gradient flows back through those weights.
    """

    def __init__(self, mask: Tensor, stopped: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("mask", mask.float())
        self.register_buffer("stopped", None if stopped is None else stopped.float())
        self.weight = nn.Parameter(torch.randn(mask.shape) * mask.shape[1] ** -0.5)
        self.bias = nn.Parameter(torch.zeros(len(mask)))

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs] -> [B, outputs]."""
        y = functional.linear(x, self.weight * self.mask, self.bias)
        if self.stopped is None:
            return y
        return y + functional.linear(x.detach(), self.weight * self.stopped)


class DenseExperts(InterpretableMLP):
    """Equation 14 with whole matrices, with or without the stops."""

    def __init__(self, *args: Any, stops: bool, **options: Any) -> None:
        super().__init__(*args, **options)
        experts, units = len(self.lattice), options["hidden_units"]
        first = torch.zeros(experts, units[0], self.embedding.flat_dim)
        for i, fields in enumerate(self.lattice.fields):
            first[i, :, self.embedding.columns(self.schema, fields)] = 1
        layers = [DenseMasked(first.flatten(0, 1))]
        for a, b in pairwise([*units, 1]):
            mask = self.lattice.block_mask([b] * experts, [a] * experts)
            own = torch.block_diag(*[torch.ones(b, a)] * experts).bool()
            layers.append(DenseMasked(mask & own, mask & ~own) if stops else DenseMasked(mask))
        self.layers = nn.ModuleList(layers)
        self.head = None

    def outputs_of(self, embedded: Embedded) -> Tensor:
        """[B, H] outputs of the experts."""
        x = embedded.flat
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.layers[-1](x)


def movielens_schema() -> Schema:
    """The fields of MovieLens 1M."""
    fields = [Field("user", "categorical", 6042, "user")]
    for name, size in (("gender", 4), ("age", 9), ("occupation", 23)):
        fields.append(Field(name, "categorical", size, "user_profile"))
    fields += [Field("item", "categorical", 3708, "item")]
    fields += [Field("year", "categorical", 83, "item_profile")]
    fields += [Field(f"genre:{i}", "numerical", group="item_profile") for i in range(18)]
    return Schema(tuple(fields))


def stepper(model: InterpretableMLP, batch: Batch) -> Callable[[], None]:
    """One training step of a model."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        model.training_step(batch).backward()
        optimizer.step()

    return step


def kept_bytes(model: InterpretableMLP, batch: Batch) -> int:
    """Of what a forward pass keeps for the backward pass, parameters left out."""
    parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def pack(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        loss = model.training_step(batch)
    del loss
    return sum(kept.values())


def network_size(model: InterpretableMLP) -> int:
    """Parameters without the embeddings."""
    return sum(p.numel() for n, p in model.named_parameters() if not n.startswith("embedding."))


def equal_units(schema: Schema, size: int) -> list[int]:
    """Hidden units w, w/2, w/4, w/8 of a plain network of about `size` parameters."""
    shared = {"embedding_dim": 64, "train_metrics": False}
    candidates = [[8 * w, 4 * w, 2 * w, w] for w in range(8, 129)]
    sizes = [
        network_size(InterpretableMLP(schema, hidden_units=units, **shared)) for units in candidates
    ]
    return min(zip(sizes, candidates, strict=True), key=lambda pair: abs(pair[0] - size))[1]


def run_cost(options: argparse.Namespace, folder: Path) -> None:
    """Steps of the four, by turns."""
    torch.manual_seed(0)
    torch.set_flush_denormal(True)  # a batch known by heart leaves gradients that slow down some
    schema, rows = movielens_schema(), options.batch_size
    subsets = {"content": ["user_profile", "item_profile"]}
    subsets["user"] = [*subsets["content"], "user"]
    subsets["movie"] = [*subsets["content"], "item"]
    subsets["both"] = ["*"]
    shared = {"embedding_dim": 64, "train_metrics": False}
    sizes = torch.tensor([f.cardinality for f in schema.categorical])
    ids = (torch.rand(rows, len(sizes)) * sizes).int()
    numbers = torch.randint(2, (rows, len(schema.numerical))).float()
    label = torch.randint(2, (rows,)).float()
    batch = Batch(numbers, ids, label, row=torch.arange(rows))
    units = [128, 64, 32, 16]
    experts = InterpretableMLP(schema, subsets=subsets, hidden_units=units, **shared)
    plain_units = equal_units(schema, network_size(experts))
    models = {
        "experts": experts,
        f"plain {plain_units}": InterpretableMLP(schema, hidden_units=plain_units, **shared),
    }
    for name, more in (("auxiliary", {"auxiliary": 1.0}), ("sufficiency", {"gate": "sufficiency"})):
        models[f"experts, {name}"] = InterpretableMLP(
            schema, subsets=subsets, hidden_units=units, **shared, **more
        )
    for name, stops in (("dense times masks", True), ("dense, no stops", False)):
        models[name] = DenseExperts(
            schema, stops=stops, subsets=subsets, hidden_units=units, **shared
        )
    steps = {name: stepper(model, batch) for name, model in models.items()}
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for repeat in track(range(options.repeats + 1), "repeats", console=console):
        for name, step in steps.items():
            start = time.perf_counter()
            for _ in range(options.steps):
                step()
            if repeat:  # the first warms up
                seconds[name].append((time.perf_counter() - start) / options.steps)
    table = make_table(
        f"a training step of {rows} rows", "", "ms", "ratio", "parameters", "kept for backward, MB"
    )
    for name, model in models.items():
        median = statistics.median(seconds[name])
        ratio = statistics.median(seconds["experts"]) / median
        kept = kept_bytes(model, batch) / 1e6
        table.add_row(
            name, f"{1000 * median:.2f}", f"{ratio:.2f}", f"{network_size(model):,}", f"{kept:.1f}"
        )
    console.print(table)
