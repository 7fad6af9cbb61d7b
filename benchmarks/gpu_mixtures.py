"""Mixtures of experts on a device, through `Trainer.fit` and as a plain loop over experts.

The MLP has the fields and subsets of MovieLens, with four layers in each expert; the recurrent
network and the Transformer are those of `configs/sessions`, on random sessions of 20 tracks.

Shapes: B batch, H experts.
"""

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import Any

import torch
import yaml
from common import PROJECT
from experts_cost import movielens_schema
from gpu_contestants import fit_seconds, timed
from gpu_rows import draw_rows
from pytorch_lightning.utilities import move_data_to_device
from sessions_speed import Loop, make_batch, make_schema, make_step
from torch import Tensor, nn

import zoo
from zoo.data.batch import Batch
from zoo.experts.mixture import gem_loss, log_selection

SUBSETS = {
    "content": ["user_profile", "item_profile"],
    "user": ["user_profile", "item_profile", "user"],
    "movie": ["user_profile", "item_profile", "item"],
    "both": ["*"],
}
UNITS = (128, 64, 32, 16)
OPTIONS = {"subsets": SUBSETS, "hidden_units": list(UNITS), "embedding_dim": 64}
NAMES = ("InterpretableMLP", "InterpretableTransformer", "InterpretableGRU")


class LoopMLP(nn.Module):
    """An `InterpretableMLP` as a loop over its experts, in plain PyTorch."""

    def __init__(self, model: zoo.InterpretableMLP) -> None:
        super().__init__()
        lattice, embedding = model.lattice, model.embedding
        self.below = lattice.below
        self.register_buffer("offsets", embedding.offsets.clone())
        self.register_buffer("inclusion", model.inclusion.clone())
        self.table = nn.Embedding(*embedding.table.shape)
        self.columns = [embedding.columns(model.schema, fields) for fields in lattice.fields]
        for i, columns in enumerate(self.columns):
            self.register_buffer(f"columns_{i}", torch.tensor(columns))
        first = [nn.Linear(len(columns), UNITS[0]) for columns in self.columns]
        rest = [
            [nn.Linear(a * (1 + len(inside)), b) for inside in self.below]
            for a, b in pairwise((*UNITS, 1))
        ]
        self.layers = nn.ModuleList(nn.ModuleList(layer) for layer in (first, *rest))

    def training_step(self, batch: Batch) -> Tensor:
        """The loss."""
        vectors = self.table(batch.categorical + self.offsets)
        flat = torch.cat((vectors.flatten(1), batch.numerical), 1)
        columns = [getattr(self, f"columns_{i}") for i in range(len(self.columns))]
        x = [e(flat[:, c]) for e, c in zip(self.layers[0], columns, strict=True)]
        for layer in list(self.layers)[1:]:
            x = [h.relu() for h in x]
            x = [
                expert(torch.cat([x[i], *(x[j].detach() for j in inside)], 1))
                for i, (expert, inside) in enumerate(zip(layer, self.below, strict=True))
            ]
        z = torch.cat(x, 1)
        return gem_loss(z, batch.label, log_selection(z.detach(), self.inclusion, "abs"))


class Repeated:
    """A loader of one batch, again and again."""

    def __init__(self, batch: Any, steps: int) -> None:
        self.batch, self.steps = batch, steps

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[Any]:
        return iter([self.batch] * self.steps)


def make(name: str, size: int, device: torch.device, **options: Any) -> tuple[Any, Any]:
    """A mixture, and a batch of rows or sessions on the device."""
    if name == "InterpretableMLP":
        schema = movielens_schema()
        return zoo.InterpretableMLP(schema, **OPTIONS, **options), draw_rows(schema, size, device)
    file = name.replace("Interpretable", "interpretable_").lower()
    config = yaml.safe_load((PROJECT / f"configs/sessions/{file}.yaml").read_text())
    schema = make_schema()
    model = getattr(zoo, name)(schema, **config["model"]["init_args"], **options)
    return model, move_data_to_device(make_batch(schema, size), device)


def mixture_seconds(
    name: str, contestant: str, size: int, device: torch.device, steps: int, repeats: int
) -> list[float]:
    """Seconds of a step of a mixture, or of the plain loop; several of them."""
    options = {"cuda_graphs": False} if "not recorded" in contestant else {}
    model, batch = make(name, size, device, **options)
    if contestant == "plain loop":
        loop = (LoopMLP if name == "InterpretableMLP" else Loop)(model).to(device)
        step = make_step(loop, batch)
        epoch = partial(_times, step, steps)
        return [seconds / steps for seconds in timed(epoch, device, repeats)]
    found = fit_seconds(model, Repeated(batch, steps), device, "tf32", repeats + 1)[1:]
    return [seconds / steps for seconds in found]


def _times(step: Any, count: int) -> None:
    for _ in range(count):
        step()
