"""What `predict` writes of data that recommend: the best items of each user.

Shapes: B pairs, R of them that are kept.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import torch
from pytorch_lightning import LightningModule, Trainer

from zoo.data.errors import ZooError
from zoo.data.module import ZooDataModule
from zoo.models.base import ZooModule
from zoo.run.predictions import PredictionWriter

LINES = 4096  # that are written at once; more would only lie about in memory


class RecommendationWriter(PredictionWriter):
    """Writes the `data.recommend` items of highest probability of each user, user by user.

    Columns: `row`, the number of the user in the file of users, or among all, from 0; `rank`, from
    1; the columns of the user and of the item; the model's `prediction_columns` without the label,
    float32. Of items of equal probability the first in the order of the items comes first, whatever
    the batches and processes. A malformed line, and a user to whom nothing is left to recommend,
    has a single line of nulls.

    Batches are pairs in any order within a user, whose last pair comes last; what is kept of a user
    is never more than that many pairs and a batch.
    """

    scored = "users with recommendations"

    def schema_of(self, model: ZooModule, data: ZooDataModule | None) -> pa.Schema:
        """The columns."""
        if data is None or data.recommended is None or not data.recommend:
            raise ZooError("data.recommend: these data set no `recommended` in their setup")
        self.count, self.recommended = data.recommend, data.recommended
        self.columns = [name for name in model.prediction_columns if name != "label"]
        self.waiting = _Pairs(np.zeros(0, np.int64), np.zeros((0, len(self.columns)), np.float32))
        self.lines: list[pa.Table] = []
        self.gathered = 0
        ranks = [pa.field("row", pa.int64()), pa.field("rank", pa.int64())]
        named = [*self.recommended.users.schema, *self.recommended.items.schema]
        return pa.schema([*ranks, *named, *((name, pa.float32()) for name in self.columns)])

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: dict[str, torch.Tensor],
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keeps the best pairs of each user so far, and writes those of users that are complete."""
        row = outputs["row"].cpu().numpy()
        values = torch.stack([outputs[name].float() for name in self.columns], 1).cpu().numpy()
        items = self.recommended.items.num_rows
        complete = row[row % items == items - 1] // items
        kept = ~_among(row, self.recommended.left_out) & ~np.isnan(values[:, 0])
        pairs = self.waiting.joined(_Pairs(row[kept], values[kept]))
        user, rank = pairs.ranked(items)
        pairs, user, rank = pairs.taken(chosen := rank <= self.count), user[chosen], rank[chosen]
        done = np.isin(user, complete)
        self.waiting = pairs.taken(~done)
        self.lines.append(self._lines(pairs.taken(done), rank[done]))
        self.gathered += len(self.lines[-1])
        if self.gathered >= LINES:
            self._write()

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Joins the parts of all ranks, with a line for each user without a recommendation."""
        self._write()
        super().on_predict_end(trainer, pl_module)

    def _lines(self, pairs: "_Pairs", rank: np.ndarray) -> pa.Table:
        """The lines of some pairs, user by user, by rank."""
        user, item = np.divmod(pairs.row, self.recommended.items.num_rows)
        order = np.lexsort((rank, user))
        user, item = user[order], item[order]
        of_users = self.recommended.users.take(pa.array(user))
        of_items = self.recommended.items.take(pa.array(item))
        arrays = [
            pa.array(self.recommended.rows[user]),
            pa.array(rank[order]),
            *of_users.columns,
            *of_items.columns,
            *(pa.array(column[order]) for column in pairs.values.T),
        ]
        return pa.Table.from_arrays(arrays, schema=self.schema)

    def _write(self) -> None:
        if self.lines:
            self.writer.write_table(pa.concat_tables(self.lines))
        self.lines, self.gathered = [], 0


class _Pairs:
    """Pairs by their numbers [R], and what is predicted of them [R, columns], probability first."""

    def __init__(self, row: np.ndarray, values: np.ndarray) -> None:
        self.row = row
        self.values = values

    def joined(self, other: "_Pairs") -> "_Pairs":
        return _Pairs(
            np.concatenate((self.row, other.row)), np.concatenate((self.values, other.values))
        )

    def taken(self, chosen: np.ndarray) -> "_Pairs":
        return _Pairs(self.row[chosen], self.values[chosen])

    def ranked(self, items: int) -> tuple[np.ndarray, np.ndarray]:
        """[R] the user of each pair, and [R] its rank from 1 among those of its user."""
        user = self.row // items
        order = np.lexsort((self.row, -self.values[:, 0], user))
        starts = np.searchsorted(user[order], user[order])  # where the user's pairs begin
        rank = np.empty(len(user), np.int64)
        rank[order] = np.arange(len(user)) - starts + 1
        return user, rank


def _among(row: np.ndarray, rising: np.ndarray) -> np.ndarray:
    """[B] bool: which of the numbers [B] are among others, which rise."""
    if not len(rising):
        return np.zeros(len(row), bool)
    place = np.searchsorted(rising, row).clip(max=len(rising) - 1)
    return rising[place] == row
