"""Explains a sample of rows, on as many processes as the trainer has.

Tsang et al., ICLR 2020, section 4.1 and Algorithm 1.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities import move_data_to_device
from torch import Tensor

from zoo.data.batch import AnyBatch, Batch, concatenate, take
from zoo.data.errors import ZooError
from zoo.glider.perturb import OnOff

NO_CHUNK = -1
PERMUTATIONS = 3  # what a generator is for


@dataclass(frozen=True)
class Result:
    """What was found at one instance.

    Attributes:
        instance: Number of the instance.
        found: Features of each interaction in the scores.
        null: Features of each interaction in permuted scores, for each permutation.
        fidelity: R^2 of the whole surrogate, of main effects, and of these with the
            interactions.
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
        neighbours: How rows around an instance are made.
        config: How they are explained.
        folder: Folder of the results.
        permutations: Number of explanations of permuted scores for each instance.
        seed: Seed of all that is random.

    Attributes:
        chunk: Number of instances that are explained at once.
        suffix: Suffix of the files of results.
    """

    chunk: int = 32
    suffix: ClassVar[str]

    def __init__(
        self,
        scores: Callable[[Batch], Tensor],
        instances: Batch,
        neighbours: OnOff,
        config: Any,
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

    def chunk_starts(self, processes: int) -> list[int]:
        """The number of the first instance of every chunk; one for each process at least."""
        starts = list(range(0, len(self.instances.label), self.chunk))
        return starts + [NO_CHUNK] * (processes - len(starts))  # Lightning would fail without

    def predict_step(self, first: Tensor) -> None:
        """Explains the chunk that begins at an instance, unless that has been done."""
        start = int(first)
        file = self.folder / f"{start:08d}{self.suffix}"
        if start != NO_CHUNK and not file.exists():
            last = min(start + self.chunk, len(self.instances.label))
            self.write(file, range(start, last))

    def chunk_on(self, device: torch.device, processes: int) -> int:
        """Number of instances that are explained at once on a device of each of the processes."""
        del device, processes
        return self.chunk

    @abstractmethod
    def write(self, file: Path, indices: Sequence[int]) -> None:
        """Explains some instances, given by their numbers, into a file that appears when whole."""

    def instance(self, i: int) -> Batch:
        """A batch of one instance, on the device of the detector."""
        return move_data_to_device(take(self.instances, slice(i, i + 1)), self.device)


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


def damaged(file: Path) -> ZooError:
    """What is said of a file of results that cannot be read."""
    return ZooError(
        f"{file} is damaged: remove it and repeat the command, which explains its rows again"
    )


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


def sample_positions(rows: int, count: int, seed: int) -> np.ndarray:
    """[count] the positions of some rows, drawn without replacement, ascending.

    Args:
        rows: Number of all rows.
        count: Number of rows to draw.
        seed: Seed of the draw.
    """
    return np.sort(np.random.default_rng(seed).choice(rows, count, replace=False))


def rows_at(batches: Iterable[AnyBatch], positions: np.ndarray) -> AnyBatch:
    """Some of the rows of all batches, by their positions, ascending."""
    parts, first = [], 0
    for batch in batches:
        last = first + len(batch.label)
        index = torch.from_numpy(positions[(positions >= first) & (positions < last)] - first)
        parts.append(take(batch, index.to(batch.label.device)))
        first = last
    return concatenate(parts)
