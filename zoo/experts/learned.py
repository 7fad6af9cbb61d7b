"""Subsets that are learned from data: which of them, and why."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from zoo.data.batch import Batch, take
from zoo.data.errors import ZooError
from zoo.data.schema import JOINER, Schema
from zoo.experts.growth import Choice, Growth, choose, grow, kept
from zoo.experts.masked import Judge, MaskedNetwork, NetworkConfig, train
from zoo.experts.parts import Of, parts_of, subsets_of
from zoo.nn.numbers import Bins


@dataclass(frozen=True)
class LearnConfig:
    """What is to be learned.

    Attributes:
        size: Largest number of subsets, that of all fields included.
        of: What the parts are; see `zoo.experts.parts.parts_of`.
        tolerance: Nats of logloss that a subset may miss and still be sufficient.
        least: Share of all fields that a subset must save in the mean prediction.
        gain: Nats of validation logloss that a part more must gain, for larger ones to be tried.
        seed: Seed of the network, of the masks, and of which rows choose.
        network: The network and its training.
    """

    size: int = 6
    of: Of | None = None
    tolerance: float = 0.02
    least: float = 0.03
    gain: float = 1e-4
    seed: int = 0
    network: NetworkConfig = field(default_factory=NetworkConfig)

    def __post_init__(self) -> None:
        for name, value, good, rule in (
            ("size", self.size, self.size >= 2, "at least 2"),
            ("tolerance", self.tolerance, self.tolerance > 0, "more than 0"),
            ("least", self.least, 0 < self.least < 1, "between 0 and 1"),
            ("epochs", self.network.epochs, self.network.epochs >= 1, "at least 1"),
            (
                "embedding_dim",
                self.network.embedding_dim,
                self.network.embedding_dim >= 1,
                "at least 1",
            ),
        ):
            if not good:
                raise ZooError(f"{name} must be {rule}, got {value}")


@dataclass(frozen=True)
class Learned:
    """Subsets, and the steps that led to them.

    Attributes:
        subsets: The option `subsets`.
        parts: Names of the parts.
        growth: The best subset of each size.
        choices: What was added to the lattice, and taken from it.
        logloss: Mean logloss of nothing but the share of positives, and of all parts.
        fields: Number of all fields.
        rows: Number of rows that chose.
    """

    subsets: dict[str, list[str]]
    parts: tuple[str, ...]
    growth: Sequence[Growth]
    choices: Sequence[Choice]
    logloss: tuple[float, float]
    fields: int
    rows: int

    def name(self, subset: frozenset[int]) -> str:
        """`a x b` of a subset of parts."""
        return JOINER.join(self.parts[part] for part in sorted(subset))


Shown = Callable[[str], None]


def learn(
    schema: Schema,
    batches: Callable[[], Iterable[Batch]],
    rows: Batch,
    config: LearnConfig,
    *,
    quantiles: Callable[[int], np.ndarray] | None = None,
    rate: float = 1.0,
    shown: Shown = lambda said: None,
) -> Learned:
    """Learns a lattice of subsets.

    Args:
        schema: Fields of the batches.
        batches: Gives the training rows of a pass.
        rows: Validation rows with labels: one half chooses the network's best pass and teaches
            what subsets miss, the other half chooses the subsets.
        config: What is to be learned.
        quantiles: Gives quantiles of the numbers, as `ZooDataModule.numerical_quantiles` does.
        rate: Share of the negatives that are among the training rows.
        shown: Takes a line for each step.

    Raises:
        ZooError: where there are fewer than two parts, or too few rows.
    """
    parts = parts_of(schema, config.of)
    if len(parts) < 2:
        raise ZooError("subsets needs at least two groups, or fields: give --of fields")
    rows = take(rows, rows.labelled)
    if len(rows.label) < 20:
        raise ZooError(f"subsets needs at least 20 validation rows, got {len(rows.label)}")
    generator = torch.Generator().manual_seed(config.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        network = MaskedNetwork(schema, parts, config.network, rate).to(rows.label.device)
    encoding = network.embedding.encoding
    if isinstance(encoding, Bins) and quantiles is not None:
        encoding.fit(quantiles(network.embedding.bins))
    half = torch.rand(len(rows.label), generator=generator).to(rows.label.device) < 0.5
    judged, choosing = take(rows, half), take(rows, ~half)

    def told(epoch: int, loss: float) -> None:
        shown(f"pass {epoch}: logloss of rows that show some of their parts {loss:.4f}")

    train(network, batches, judged, config.network, config.seed, told)
    judge = Judge(network, choosing)
    every = frozenset(range(len(parts)))
    ends = judge.mean(judge(frozenset()).logloss), judge.mean(judge(every).logloss)
    growth = grow(judge, len(parts), config.gain)
    sizes = [len(fields) for fields in parts.values()]
    choices = choose(judge, sizes, config.size - 1, config.tolerance, config.least)
    names = tuple(parts)
    unions = [[names[part] for part in sorted(subset)] for subset in kept(choices)]
    subsets = subsets_of(unions, schema, parts)
    return Learned(subsets, names, growth, choices, ends, sum(sizes), len(choosing.label))
