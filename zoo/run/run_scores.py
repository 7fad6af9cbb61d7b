"""The scores of a run's checkpoint on a split, kept beside the run.

RUN/scores/<split>-<key>.npy holds a logit for each labelled row. The key is a checksum of the
checkpoint with its parts, of the version of this project, and of all that the batches hold: what
was kept of another checkpoint or of other rows is never taken.
"""

import hashlib
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zoo.data.checksums import checksum, checksums
from zoo.data.files import atomic_file
from zoo.data.module import ZooDataModule
from zoo.inspect.inspection import Inspection
from zoo.inspect.runs.rows import Rows, rows_of
from zoo.inspect.scores import check_schema, model_of
from zoo.inspect.with_data.quality import score_rows
from zoo.inspect.with_data.source import batches_of

SCORES = "scores"  # the folder of a run


def scored(
    found: Inspection, run: Path, data: ZooDataModule, split: str, fresh: bool = False
) -> tuple[Rows, Tensor]:
    """The labelled rows of a split, and [R] the logits that a checkpoint gives them.

    Args:
        found: The checkpoint's inspection.
        run: Its run directory, where the scores are kept if it can be written.
        data: Data of its schema.
        split: `val`, `test` or `predict`.
        fresh: Whether to score anew what is kept.

    Raises:
        ZooError: as `zoo.inspect.scores.score` does.
    """
    batches = batches_of(data, split)
    check_schema(found, data)
    seen = hashlib.sha256()

    def see(part: Tensor) -> None:
        seen.update(f"{part.dtype} {[*part.shape]}".encode())
        seen.update(part.contiguous().cpu().numpy().tobytes())

    rows = rows_of(batches, see)
    path = run / SCORES / f"{split}-{_key(found, seen.hexdigest())}.npy"
    kept = None if fresh else _kept(path, len(rows.labels))
    if kept is None:
        kept = score_rows(model_of(found), batches, ()).logits
        _keep(path, kept, split)
    return rows, kept


def _key(found: Inspection, rows: str) -> str:
    file = Path(found.file)
    parts = [checksums(folder) for folder in sorted(file.parent.glob(f"{file.stem}-*.shards"))]
    named = (checksum(file), parts, rows, version("interpretable-zoo"), torch.__version__)
    return hashlib.sha256(repr(named).encode()).hexdigest()[:24]


def _kept(path: Path, rows: int) -> Tensor | None:
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError):  # none, or damaged
        return None
    if found.shape != (rows,) or found.dtype != np.float32:
        return None
    return torch.from_numpy(np.array(found))


def _keep(path: Path, logits: Tensor, split: str) -> None:
    """Keeps the scores in place of others of the split, where the run can be written."""
    with suppress(OSError):
        path.parent.mkdir(exist_ok=True)
        with atomic_file(path) as partial, open(partial, "wb") as file:
            np.save(file, logits.numpy())
        for other in path.parent.glob(f"{split}-*.npy"):
            if other != path:
                other.unlink()
