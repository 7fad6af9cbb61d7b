"""MADEX over a sample of rows, on as many processes as the trainer has.

Tsang et al., ICLR 2020, section 4.1 and Algorithm 1.

Shapes: N samples, d features.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities import move_data_to_device
from torch import Tensor

from zoo.data.batch import Batch, concatenate, take
from zoo.data.errors import ZooError
from zoo.data.files import write_text
from zoo.glider.madex import Explanation, MadexConfig, explain
from zoo.glider.perturb import NotFinite, OnOff, generator, score
from zoo.glider.walsh import SharedMasks
from zoo.glider.walsh_search import WalshConfig

INSTANCES_PER_CHUNK = 32
NO_CHUNK = -1
LEFT_OUT = "left_out"
NEIGHBOURS, SURROGATES, PERMUTATIONS = range(1, 4)  # what a generator is for


@dataclass(frozen=True)
class Result:
    """What was found at one instance.

    Attributes:
        instance: Number of the instance.
        found: Features of each interaction in the scores.
        null: Features of each interaction in permuted scores, for each permutation.
        fidelity: R^2 of network, main effects and interactions; see `Explanation.fidelity`.
    """

    instance: int
    found: list[tuple[int, ...]]
    null: list[list[tuple[int, ...]]]
    fidelity: tuple[float, float, float]


class Detector(LightningModule):
    """Explains chunks of instances, on as many processes as the trainer has.

    Every chunk's results go to a file of its own, so that an interrupted detection goes on where
    it stopped.

    Args:
        scores: The black box, a function from a `Batch` to logits.
        instances: Rows to explain.
        neighbours: How to draw rows around an instance.
        config: How MADEX samples, detects and stops, or how Walsh coefficients are estimated.
        folder: Folder of the results.
        permutations: Number of explanations of permuted scores for each instance.
        seed: Seed of neighbours, surrogates and permutations.
    """

    def __init__(
        self,
        scores: Callable[[Batch], Tensor],
        instances: Batch,
        neighbours: OnOff,
        config: MadexConfig | WalshConfig,
        folder: Path,
        permutations: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.scores = scores
        self.instances = instances
        self.neighbours = neighbours
        self.config = config
        self.folder = folder
        self.permutations = permutations
        self.seed = seed
        self._shared: SharedMasks | None = None

    def chunk_starts(self, processes: int) -> list[int]:
        """The number of the first instance of every chunk; one for each process at least."""
        starts = list(range(0, len(self.instances.label), INSTANCES_PER_CHUNK))
        return starts + [NO_CHUNK] * (processes - len(starts))  # Lightning would fail without

    def predict_step(self, first: Tensor) -> None:
        """Explains the chunk that begins at an instance, unless that has been done."""
        start = int(first)
        file = self.folder / f"{start:08d}.json"
        if start == NO_CHUNK or file.exists():
            return
        indices = range(start, min(start + INSTANCES_PER_CHUNK, len(self.instances.label)))
        results = [asdict(result) for result in self.explain(indices)]
        explained = {result["instance"] for result in results}
        left_out = [{"instance": i, LEFT_OUT: True} for i in indices if i not in explained]
        write_text(file, json.dumps([*results, *left_out]))

    def explain(self, indices: Sequence[int]) -> list[Result]:
        """The results of some instances, given by their numbers.

        An instance around which the black box gives NaN or infinite scores is left out.
        """
        if isinstance(self.config, WalshConfig):
            return [*self._regressed(indices, self.config)]
        samples = {}
        for i in indices:
            with suppress(NotFinite):
                samples[i] = self._samples(i)
        if not samples:
            return []
        indices = list(samples)
        x, y = map(torch.stack, zip(*samples.values(), strict=True))
        found = self._explain(indices, x, y, 0)
        nulls = []
        for turn in range(1, self.permutations + 1):
            shuffled = [
                permuted(x[j], y[j], generator(PERMUTATIONS, self.seed, i, turn))
                for j, i in enumerate(indices)
            ]
            nulls.append(self._explain(indices, x, torch.stack(shuffled), turn))
        return [
            Result(
                instance=i,
                found=_features(found[j]),
                null=[_features(null[j]) for null in nulls],
                fidelity=found[j].fidelity,
            )
            for j, i in enumerate(indices)
        ]

    def _regressed(self, indices: Sequence[int], config: WalshConfig) -> Iterator[Result]:
        """The same by Walsh regression, on masks that all instances share."""
        if self._shared is None:
            features = len(self.neighbours.centre(self._instance(0)))
            self._shared = SharedMasks(features, config, self.seed)
        masks, x = self._shared, self._shared.masks
        for i in indices:
            try:
                y = masks.scores(self.scores, self._instance(i), self.neighbours)
            except NotFinite:
                continue
            found, null = masks.explain(y), []
            for turn in range(1, self.permutations + 1):
                random = generator(PERMUTATIONS, self.seed, i, turn)
                null.append(masks.explain(permuted(x, torch.from_numpy(y), random).numpy()))
            every, linear, joined = found.r2
            sets = [[c.features for c in each.interactions] for each in (found, *null)]
            yield Result(i, sets[0], sets[1:], (every, linear, joined))

    def _instance(self, i: int) -> Batch:
        return move_data_to_device(take(self.instances, slice(i, i + 1)), self.device)

    def _samples(self, i: int) -> tuple[Tensor, Tensor]:
        """[N, d] masks around an instance, and [N] the scores of their rows."""
        assert isinstance(self.config, MadexConfig)
        instance, random = self._instance(i), generator(NEIGHBOURS, self.seed, i)
        x, rows = self.neighbours.draw(instance, sum(self.config.samples), random)
        try:
            return x, score(self.scores, rows)
        except NotFinite:
            raise
        except ZooError as error:
            raise ZooError(f"around instance {i}, {error}") from error

    def _explain(
        self, indices: Sequence[int], x: Tensor, y: Tensor, turn: int
    ) -> list[Explanation]:
        """MADEX of samples [K, N, d] and their scores [K, N]; `turn` numbers the permutations."""
        assert isinstance(self.config, MadexConfig)
        x, y = x.to(self.device), y.to(self.device)
        generators = [generator(SURROGATES, self.seed, i, turn) for i in indices]
        return explain(x, y, torch.ones_like(x[:, 0]), self.config, generators)


def _features(explanation: Explanation) -> list[tuple[int, ...]]:
    return [candidate.features for candidate in explanation.interactions]


def permuted(x: Tensor, y: Tensor, random: torch.Generator) -> Tensor:
    """[N] scores without interactions: the additive part of y, and its residuals shuffled.

    Of on/off features x [N, d], every additive function is linear, so least squares finds it.
    What is detected in these scores is what noise of that size around these main effects yields.

    Args:
        x: [N, d] on/off features.
        y: [N] their scores.
        random: Random numbers of the permutation.
    """
    design = torch.cat((torch.ones(len(x), 1), x), 1).double()
    additive = design @ torch.linalg.lstsq(design, y.double().unsqueeze(1), driver="gelsd").solution
    residual = y - additive.squeeze(1)
    return (additive.squeeze(1) + residual[torch.randperm(len(y), generator=random)]).float()


def read_results(folder: Path) -> tuple[list[Result], int]:
    """All results of a detection, and the number of the instances that were left out."""
    found = [row for file in sorted(folder.glob("*.json")) for row in json.loads(file.read_text())]
    rows = [row for row in found if LEFT_OUT not in row]
    results = [
        Result(
            instance=row["instance"],
            found=[tuple(features) for features in row["found"]],
            null=[[tuple(features) for features in null] for null in row["null"]],
            fidelity=tuple(row["fidelity"]),
        )
        for row in rows
    ]
    return results, len(found) - len(rows)


def check_instances(instances: int, rows: int, fields: int) -> None:
    """Refuses a detection that is impossible.

    Args:
        instances: Number of rows to explain.
        rows: Number of rows that there are.
        fields: Number of fields that are switched on and off.

    Raises:
        ZooError: Where there are too few instances, rows or fields.
    """
    if instances < 1:
        raise ZooError(f"instances must be at least 1, got {instances}")
    if instances > rows:
        raise ZooError(
            f"instances: {instances} rows are asked for, the validation split has {rows}"
        )
    if fields < 2:
        raise ZooError("an interaction needs two fields, these data have one")


def sample_rows(batches: Iterable[Batch], rows: int, count: int, seed: int) -> Batch:
    """Some of the rows of all batches, drawn without replacement, in their order.

    Args:
        batches: All rows, in batches.
        rows: Number of rows of all batches.
        count: Number of rows to draw.
        seed: Seed of the draw.
    """
    chosen = np.sort(np.random.default_rng(seed).choice(rows, count, replace=False))
    parts, first = [], 0
    for batch in batches:
        last = first + len(batch.label)
        index = torch.from_numpy(chosen[(chosen >= first) & (chosen < last)] - first)
        parts.append(take(batch, index.to(batch.label.device)))
        first = last
    return concatenate(parts)
