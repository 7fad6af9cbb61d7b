"""Many explained predictions: what fields and interactions add to their logits on average."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from rich.text import Text

from zoo.data.schema import JOINER
from zoo.inspect.explained_row import ExplainedRow
from zoo.inspect.page import Section
from zoo.inspect.shown import Shown
from zoo.inspect.table import clean, text_table, titled

SHOWN = 20  # fields, and interactions
COLUMNS = ("fields", "found in", "mean |contribution|", "mean contribution", "mean share")
Sums = defaultdict[tuple[str, ...], np.ndarray]


@dataclass
class ExplainedRows(Shown):
    """The means of many explained predictions, added one by one: the rows are not kept.

    Attributes:
        model: Name of the model.
        source: Where the rows are from.
        count: Number of predictions.
        exact: Whether all are exact.
        r2: Sums of the three R^2.
        sums: By fields the count, and sums of |contribution|, contribution and share.
    """

    model: str
    source: str
    count: int = 0
    exact: bool = True
    r2: np.ndarray = field(default_factory=lambda: np.zeros(3))
    sums: Sums = field(default_factory=lambda: defaultdict(lambda: np.zeros(4)))

    def add(self, row: ExplainedRow) -> None:
        """Adds a prediction."""
        self.count += 1
        self.exact &= row.exact
        self.r2 += [row.r2.all, row.r2.fields, row.r2.with_interactions]
        for c in row.contributions:
            self.sums[c.fields] += [1, abs(c.contribution), c.contribution, c.share or 0.0]

    def means(self, interactions: bool) -> list[tuple[str, int, float, float, float]]:
        """Of each field, or interaction, its name, in how many predictions it was found, and means
        over all predictions of |contribution|, contribution and share, largest |contribution|
        first."""
        rows = [
            (JOINER.join(fields), int(sums[0]), *(sums[1:] / self.count).tolist())
            for fields, sums in self.sums.items()
            if (len(fields) > 1) == interactions
        ]
        return sorted(rows, key=lambda row: (-row[2], row[0]))

    @property
    def title(self) -> str:
        """The title of a page that begins with it."""
        return f"{self.model}: {self.count:,} predictions of {self.source}"

    def heading(self) -> Iterator[Text]:
        """How well they are explained."""
        yield Text(clean(self.title), "bold")
        if self.exact:
            yield Text("each exactly the sum of the terms of the model and a constant\n")
            return
        everything, fields, shown = self.r2 / self.count
        yield Text(
            f"mean R^2 on fresh copies of each row: fields {fields:.3f}, with interactions "
            f"{shown:.3f}, all that was fitted {everything:.3f}\n"
        )

    def sections(self) -> Iterator[Section]:
        """The means of fields, and of interactions."""
        for name, interactions in (("fields", False), ("interactions", True)):
            means = self.means(interactions)
            cells = (
                (fields, count, f"{size:.4f}", f"{signed:+.4f}", f"{share:.4f}")
                for fields, count, size, signed, share in means[:SHOWN]
            )
            if means:
                title = titled(f"contributions of {name}", len(means), SHOWN)
                yield Section(name, [text_table(title, COLUMNS, cells)])
