"""MADEX over a sample of rows: surrogate networks, the interactions in them, and a permuted null.

Tsang et al., ICLR 2020, section 4.1 and Algorithm 1.

Shapes: N samples, d features.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zoo.data.batch import Batch
from zoo.data.errors import ZooError
from zoo.data.files import write_text
from zoo.glider.detector import PERMUTATIONS, Detector, Result, damaged, permuted
from zoo.glider.perturb import generator
from zoo.glider.scoring import NotFinite, score_each
from zoo.glider.surrogates.madex import DETECTORS, Explanation, MadexConfig, explain
from zoo.glider.surrogates.training import networks_at_once

LEFT_OUT = "left_out"
NEIGHBOURS, SURROGATES = 1, 2  # what a generator is for


class MadexDetector(Detector):
    """Explains chunks of instances by surrogate networks, trained side by side."""

    suffix = ".json"
    config: MadexConfig

    def chunk_on(self, device: torch.device, processes: int) -> int:
        """Number of instances at once: on a GPU what its memory holds, and a share for each."""
        if device.type != "cuda":
            return self.chunk
        features = len(self.neighbours.centre(self.instance(0)))
        surrogate = self.config.surrogate or DETECTORS[self.config.detector]
        most = networks_at_once(surrogate, features, self.config.samples, device)
        return min(most, -(-len(self.instances.label) // processes))

    def write(self, file: Path, indices: Sequence[int]) -> None:
        """Explains some instances into a file."""
        results = [asdict(result) for result in self.explain(indices)]
        explained = {result["instance"] for result in results}
        left_out = [{"instance": i, LEFT_OUT: True} for i in indices if i not in explained]
        write_text(file, json.dumps([*results, *left_out]))

    def explain(self, indices: Sequence[int]) -> list[Result]:
        """The results of some instances, given by their numbers.

        An instance around which the black box gives NaN or infinite scores is left out.
        """
        samples = {i: (x, y) for i, x, y in self._samples(indices) if not isinstance(y, NotFinite)}
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

    def _samples(self, indices: Sequence[int]) -> Iterator[tuple[int, Tensor, Tensor | NotFinite]]:
        """The number of each instance, [N, d] masks around it, and [N] the scores of their rows."""
        masks: list[Tensor] = []

        def rows() -> Iterator[Batch]:
            for i in indices:
                random = generator(NEIGHBOURS, self.seed, i)
                x, drawn = self.neighbours.draw(self.instance(i), sum(self.config.samples), random)
                masks.append(x)
                yield drawn

        found = score_each(self.scores, rows())
        try:
            for place, y in enumerate(found):
                yield indices[place], masks[place], y
        except ZooError as error:
            raise ZooError(f"around instance {indices[len(masks) - 1]}, {error}") from error

    def _explain(
        self, indices: Sequence[int], x: Tensor, y: Tensor, turn: int
    ) -> list[Explanation]:
        """MADEX of samples [K, N, d] and their scores [K, N]; `turn` numbers the permutations."""
        x, y = x.to(self.device), y.to(self.device)
        generators = [generator(SURROGATES, self.seed, i, turn) for i in indices]
        return explain(x, y, torch.ones_like(x[:, 0]), self.config, generators)


def _features(explanation: Explanation) -> list[tuple[int, ...]]:
    return [candidate.features for candidate in explanation.interactions]


def read_results(folder: Path) -> tuple[list[Result], int]:
    """All results of a detection, and the number of the instances that were left out.

    Raises:
        ZooError: Where a file is damaged.
    """
    results, left_out = [], 0
    for file in sorted(folder.glob(f"*{MadexDetector.suffix}")):
        try:
            rows = json.loads(file.read_bytes())
            found = [_result(row) for row in rows if LEFT_OUT not in row]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise damaged(file) from error
        results += found
        left_out += len(rows) - len(found)
    return results, left_out


def _result(row: dict[str, Any]) -> Result:
    return Result(
        instance=row["instance"],
        found=[tuple(features) for features in row["found"]],
        null=[[tuple(features) for features in null] for null in row["null"]],
        fidelity=tuple(row["fidelity"]),
    )
