"""Walsh regression over a sample of rows, on masks that all of them share.

Shapes: R rows, N masks, M held-out masks, P sets that are fitted to all rows.
"""

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any
from zipfile import BadZipFile
from zlib import error as ZlibError

import numpy as np
import torch

from zoo.data.files import atomic_file
from zoo.glider.contexts import strengths
from zoo.glider.detector import PERMUTATIONS, Detector, damaged, permuted
from zoo.glider.perturb import generator
from zoo.glider.scoring import NotFinite
from zoo.glider.walsh import SharedMasks, WalshFit
from zoo.glider.walsh.fit import Set
from zoo.glider.walsh.search import WalshConfig

# what numpy raises of a file that is cut, has other arrays, or holds Python objects
DAMAGED = (BadZipFile, ZlibError, EOFError, KeyError, TypeError, ValueError)


@dataclass(frozen=True)
class WalshRows:
    """What was found around rows.

    Attributes:
        instance: [R] numbers of the rows.
        variance: [R] variances of their scores.
        fidelity: [R, 3] R^2 of all coefficients, of the main effects, and of these with the
            interactions.
        values: [R, P] coefficients of the sets that are fitted to all rows.
        residuals: [R, N] what the fits leave of the scores of the masks.
        rests: [R, M] what they leave of those of the held-out masks.
        sets: Of each row, `further` and `kept` ([features, coefficient, error] each), `tried` and,
            for each permutation, `null` (features).
        contexts: [R, C] strengths of all pairs in the contexts (see `zoo.glider.contexts`), no
            columns where these were not looked at.
    """

    instance: np.ndarray
    variance: np.ndarray
    fidelity: np.ndarray
    values: np.ndarray
    residuals: np.ndarray
    rests: np.ndarray
    contexts: np.ndarray
    sets: list[dict[str, Any]]

    @classmethod
    def of(
        cls,
        indices: Sequence[int],
        found: Sequence[WalshFit],
        null: Sequence[list[list[Set]]],
        contexts: Sequence[np.ndarray] | None = None,
    ) -> "WalshRows":
        """Those of some instances, given by their numbers.

        Args:
            indices: The numbers.
            found: What was found around each.
            null: What was found in permuted scores of each.
            contexts: Strengths of the pairs of each in the contexts; None where these were not
                looked at.
        """
        fits = [each.fit for each in found]
        return cls(
            np.array(indices, np.int64),
            np.array([each.variance for each in found]),
            np.array([each.shown.r2 for each in found]),
            np.array([fit.values[: len(fit.base)] for fit in fits]),
            np.array([fit.residual for fit in fits], np.float32),
            np.array([fit.rest for fit in fits], np.float32),
            np.array(contexts or np.empty((len(found), 0)), np.float32),
            [_sets(each, of_each) for each, of_each in zip(found, null, strict=True)],
        )

    @classmethod
    def joined(cls, parts: Iterable["WalshRows"]) -> "WalshRows":
        """All rows of several parts."""
        parts = [part for part in parts if len(part.instance)]
        *arrays, _ = [[getattr(part, field.name) for part in parts] for field in fields(cls)]
        sets = [row for part in parts for row in part.sets]
        return cls(*map(np.concatenate, arrays), sets)  # pyright: ignore[reportCallIssue]

    def write(self, file: Path, left_out: Sequence[int]) -> None:
        """Writes them to a file that appears when it is whole."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "sets"}
        text = json.dumps(self.sets)
        with atomic_file(file) as partial, partial.open("wb") as stream:
            np.savez(stream, **arrays, sets=np.array(text), left_out=np.array(left_out, np.int64))

    @classmethod
    def read(cls, folder: Path) -> tuple["WalshRows | None", int]:
        """All rows of a folder, None where there are none, and the number of those left out."""
        parts, left_out = [], 0
        for file in sorted(folder.glob(f"*{WalshDetector.suffix}")):
            try:
                with file.open("rb") as stream, np.load(stream, allow_pickle=False) as content:
                    left_out += len(content["left_out"])
                    arrays = [content[field.name] for field in fields(cls)]
                sets = json.loads(str(arrays.pop()))
            except DAMAGED as error:
                raise damaged(file) from error
            parts.append(cls(*arrays, sets))  # pyright: ignore[reportCallIssue]
        return cls.joined(parts) if any(len(part.instance) for part in parts) else None, left_out


class WalshDetector(Detector):
    """Explains chunks of instances by Walsh regression."""

    suffix = ".npz"
    config: WalshConfig
    contexts: bool = False  # whether pairs are also looked at with all other fields on, and off

    @cached_property
    def masks(self) -> SharedMasks:
        """The masks of all instances, on all processes the same."""
        return SharedMasks(len(self.neighbours.centre(self.instance(0))), self.config, self.seed)

    def write(self, file: Path, indices: Sequence[int]) -> None:
        """Explains some instances into a file."""
        scores, contexts = self._scores(indices)
        y = np.stack([*scores.values()]) if scores else np.empty((0, len(self.masks.masks)))
        null = [self._null(i, y) for i, y in scores.items()]
        rows = WalshRows.of([*scores], self.masks.fits(y), null, contexts)
        rows.write(file, [i for i in indices if i not in scores])

    def _scores(self, indices: Sequence[int]) -> tuple[dict[int, np.ndarray], list[np.ndarray]]:
        """[1 + N + M] the scores of the masks of each instance, where they are finite, and [C] the
        strengths of its pairs in the contexts."""
        found, contexts = {}, []
        scored = self.masks.scores_each(self.scores, map(self.instance, indices), self.neighbours)
        for i, y in zip(indices, scored, strict=True):
            if isinstance(y, NotFinite):
                continue
            with suppress(NotFinite):
                of_pairs = np.empty(0)
                if self.contexts:
                    of_pairs = strengths(self.scores, self.instance(i), self.neighbours, y)
                found[i] = y
                contexts.append(of_pairs)
        return found, contexts

    def _null(self, i: int, y: np.ndarray) -> list[list[Set]]:
        """What is found in permuted scores of an instance, for each permutation."""
        x, null = self.masks.masks, []
        for turn in range(1, self.permutations + 1):
            random = generator(PERMUTATIONS, self.seed, i, turn)
            null.append(permuted(x, torch.from_numpy(y), random).double().numpy())
        return [found.kept for found in self.masks.fits(np.stack(null))] if null else []


def _sets(found: WalshFit, null: list[list[Set]]) -> dict[str, Any]:
    every = {s: [s, float(value), float(error)] for s, value, error in found.fit.rows()}
    further, kept = ([every[s] for s in sets] for sets in (found.fit.further, found.kept))
    return {"further": further, "kept": kept, "tried": found.tried, "null": null}
