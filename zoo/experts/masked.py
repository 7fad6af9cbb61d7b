"""One network that predicts from any parts of the input: which subsets are sufficient?

In training, each row shows a random subset S of its parts; the others are zeros, and a flag for
each part says which. So one network stands for those of all subsets (as in Covert, Lundberg & Lee,
*Understanding global feature contributions with additive importance measures*, NeurIPS 2020,
section 3.2, and Jethani et al., *FastSHAP*, ICLR 2022, section 3). A second network over its
features, on rows that the first has not learned from, says what a subset misses:

    d(x_S) = E[BCE(y, p(x_S)) - BCE(y, p(x)) | x_S]     nats that all parts save

as the gate of sufficiency learns it (`zoo.experts.sufficiency`).

Shapes: B batch, A parts, F fields, W columns of the embedded fields, U hidden units of all layers.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.data.batch import Batch, chunks
from zoo.data.schema import Schema
from zoo.experts.parts import Parts
from zoo.experts.sufficiency import poisson_cost
from zoo.models.measures import batch_mean
from zoo.nn.numbers import encoding_of
from zoo.nn.sized import embedding_of

WHOLE = 0.25  # share of the training rows that show all parts
LEAST, MOST = 1e-4, 20.0  # nats, bounds of d
PROGRESS = 5e-4  # nats that a pass must gain to count as progress
MASKS = 4  # subsets of each training row in a step
STEP = 1024  # rows of a step of the second network
CHUNK = 4096  # rows that are scored at once


@dataclass(frozen=True)
class NetworkConfig:
    """The networks and their training.

    Attributes:
        embedding_dim: Size of the embedding vectors.
        hidden_units: Widths of the layers.
        dropout: Share of the activations that training drops.
        learning_rate: Learning rate of Adam.
        weight_decay: Weight decay of AdamW.
        epochs: Largest number of passes over the training rows.
        patience: Number of passes without progress after which training stops.
        steps: Number of steps of the second network.
        bins: Number of quantile bins of a number.
    """

    embedding_dim: int = 8
    hidden_units: Sequence[int] = (128, 64)
    dropout: float = 0.1
    learning_rate: float = 0.003
    weight_decay: float = 0.01
    epochs: int = 10
    patience: int = 2
    steps: int = 1500
    bins: int = 20


class MaskedNetwork(nn.Module):
    """A perceptron over the parts of the input that a mask shows, and what they miss.

    Args:
        schema: Fields of the batches.
        parts: The fields of each part; a cross field is shown with all that it crosses.
        config: Its sizes.
        rate: Share of the negatives that are among the training rows.
    """

    needed: Tensor
    field: Tensor

    def __init__(self, schema: Schema, parts: Parts, config: NetworkConfig, rate: float) -> None:
        super().__init__()
        encoding = encoding_of("piecewise_linear", len(schema.numerical), config.bins)
        options = {"first_order": False, "embed_numerical": False, "init_std": 0.1}
        dim = config.embedding_dim
        self.embedding = embedding_of(schema, dim, None, encoding=encoding, **options)
        owners = {field: a for a, fields in enumerate(parts.values()) for field in fields}
        needed = torch.zeros(len(schema.fields), len(parts))
        field_of = torch.zeros(self.embedding.flat_dim, dtype=torch.long)
        for f, field in enumerate(schema.fields):
            for name in schema.crossed(field) or (field.name,):
                needed[f, owners[name]] = 1
            field_of[self.embedding.columns(schema, [field.name])] = f
        self.register_buffer("needed", needed, persistent=False)
        self.register_buffer("field", field_of, persistent=False)
        widths = (self.embedding.flat_dim + len(parts), *config.hidden_units)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.head = nn.Linear(widths[-1], 1)
        self.dropout = nn.Dropout(config.dropout)
        units = sum(config.hidden_units) + len(parts)
        last = nn.Linear(32, 1)
        nn.init.constant_(last.bias, math.log(LEAST) / 2)
        self.missing = nn.Sequential(nn.Linear(units, 32), nn.ReLU(), last)
        self.shift = math.log(rate)

    def features(self, flat: Tensor, mask: Tensor) -> Tensor:
        """[B, A + U] the masks and the hidden units of all layers.

        Args:
            flat: [B, W] embedded fields.
            mask: [B, A] 1 where a part is shown, else 0.
        """
        shown = (mask @ self.needed.T >= self.needed.sum(1) - 0.5).to(flat.dtype)
        x = torch.cat((flat * shown[:, self.field], mask), 1)
        found = [mask]
        for layer in self.layers:
            x = self.dropout(functional.relu(layer(x)))
            found.append(x)
        return torch.cat(found, 1)

    def logits(self, features: Tensor) -> Tensor:
        """[B] logits of the training rows, of `features`."""
        return self.head(features[:, -self.head.in_features :]).squeeze(1)

    def forward(self, batch: Batch, mask: Tensor) -> Tensor:
        """[B] logits of the training rows, with some parts of each row."""
        return self.logits(self.features(self.embedding(batch).flat, mask))

    @torch.no_grad()
    def scored(self, flat: Tensor, label: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B] BCE of the labels, `features`, and [B] logits of all rows, in evaluation."""
        features = self.features(flat, mask)
        logits = self.logits(features) + self.shift
        losses = functional.binary_cross_entropy_with_logits(logits, label, reduction="none")
        return losses, features, logits


def random_masks(rows: int, parts: int, generator: torch.Generator) -> Tensor:
    """[rows, A] which parts are shown: all in a quarter of the rows, else k of them at random.

    k is drawn with P(k) ~ log((k + 1) / k), k = 1 .. A, so that small subsets are shown often
    enough to be learned.
    """
    size = ((parts + 1.0) ** torch.rand(rows, 1, generator=generator)).long()
    size[torch.rand(rows, 1, generator=generator) < WHOLE] = parts
    place = torch.rand(rows, parts, generator=generator).argsort(1).argsort(1)
    return (place < size).float()


def train(
    network: MaskedNetwork,
    batches: Callable[[], Iterable[Batch]],
    judged: Batch,
    config: NetworkConfig,
    seed: int,
    shown: Callable[[int, float], None] = lambda epoch, loss: None,
) -> None:
    """Trains a network, keeps its best pass over the rows, then trains what says what is missing.

    Args:
        network: The network.
        batches: Gives the training rows of a pass, on the device of the network.
        judged: Other rows, by which the best pass is chosen, and what is missing is learned.
        config: How.
        seed: Seed of the masks.
        shown: Takes the number of a pass and its loss.
    """
    generator = torch.Generator().manual_seed(seed)
    parts = network.needed.shape[1]
    device = network.needed.device
    learned = [*network.embedding.parameters(), *network.layers.parameters()]
    optimizer = torch.optim.AdamW(
        [*learned, *network.head.parameters()],
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
    )
    masks = random_masks(len(judged.label), parts, generator).to(device)
    best, kept, worse = math.inf, deepcopy(network.state_dict()), 0
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0.05, config.epochs - 1 or 1)
    for epoch in range(1, config.epochs + 1):
        network.train()
        for batch in batches():
            # each row with several subsets: those of few parts are learned from few of them
            mask = random_masks(MASKS * len(batch.label), parts, generator).to(device)
            known = batch.labelled
            flat = network.embedding(batch).flat.repeat(MASKS, 1)
            logits = network.logits(network.features(flat, mask))
            losses = functional.binary_cross_entropy_with_logits(
                logits, batch.label.nan_to_num().repeat(MASKS), reduction="none"
            )
            weight = known.to(losses.dtype) if batch.weight is None else known * batch.weight
            optimizer.zero_grad()
            batch_mean(losses, weight.repeat(MASKS)).backward()
            optimizer.step()
        schedule.step()
        loss = _mean_loss(network.eval(), judged, masks)
        shown(epoch, loss)
        worse = 0 if loss < best - PROGRESS else worse + 1
        if loss < best:
            best, kept = loss, deepcopy(network.state_dict())
        if worse >= config.patience:
            break
    network.load_state_dict(kept)
    _learn_missing(network.eval(), judged, config, generator)


def _mean_loss(network: MaskedNetwork, rows: Batch, masks: Tensor) -> float:
    parts = zip(chunks(rows, CHUNK), masks.split(CHUNK), strict=True)
    losses = [network.scored(embedded(network, p), p.label, mask)[0] for p, mask in parts]
    return batch_mean(torch.cat(losses), rows.weight).item()


def _learn_missing(
    network: MaskedNetwork, rows: Batch, config: NetworkConfig, generator: torch.Generator
) -> None:
    """Fits d by Poisson regression; see `poisson_cost`."""
    optimizer = torch.optim.Adam(network.missing.parameters(), lr=0.005)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0.01, config.steps)
    device, parts = network.needed.device, network.needed.shape[1]
    flat = embedded(network, rows)
    whole = torch.cat(
        [
            network.scored(x, label, x.new_ones(len(x), parts))[0]
            for x, label in zip(flat.split(CHUNK), rows.label.split(CHUNK), strict=True)
        ]
    )
    for _ in range(config.steps):
        chosen = torch.randint(len(flat), (STEP,), generator=generator).to(device)
        mask = random_masks(len(chosen), parts, generator).to(device)
        losses, features, _ = network.scored(flat[chosen], rows.label[chosen], mask)
        log_d = network.missing(features).squeeze(1)
        cost = poisson_cost(losses - whole[chosen], log_d, LEAST, MOST)
        optimizer.zero_grad()
        batch_mean(cost, None if rows.weight is None else rows.weight[chosen]).backward()
        optimizer.step()
        schedule.step()


@torch.no_grad()
def embedded(network: MaskedNetwork, rows: Batch) -> Tensor:
    """[B, W] embedded fields of rows."""
    return torch.cat([network.embedding(part).flat for part in chunks(rows, CHUNK)])


@dataclass(frozen=True)
class SubsetScores:
    """What a network says of rows that show some of their parts.

    Attributes:
        logloss: [B] BCE of each row.
        missing: [B] nats that the other parts would save, d.
    """

    logloss: Tensor
    missing: Tensor


class Judge:
    """Says of any subset how well it predicts rows, and what it misses.

    Args:
        network: A trained network, in evaluation.
        rows: The rows.
    """

    def __init__(self, network: MaskedNetwork, rows: Batch) -> None:
        self.network, self.label, self.weight = network, rows.label, rows.weight
        self.flat = embedded(network, rows)
        self.known: dict[frozenset[int], SubsetScores] = {}

    def __call__(self, subset: frozenset[int]) -> SubsetScores:
        """Of a subset of the parts, by their numbers; it is scored once."""
        if subset not in self.known:
            mask = self.network.needed.new_zeros(len(self.label), self.network.needed.shape[1])
            mask[:, sorted(subset)] = 1
            with torch.no_grad():
                losses, features, _ = self.network.scored(self.flat, self.label, mask)
                missing = self.network.missing(features).squeeze(1).exp()
            self.known[subset] = SubsetScores(losses, missing)
        return self.known[subset]

    def mean(self, values: Tensor) -> float:
        """Mean over the rows, by their weights."""
        return batch_mean(values, self.weight).item()
