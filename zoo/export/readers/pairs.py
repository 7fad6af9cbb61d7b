"""Pairs of user and item -> the inputs of a model, by `datamodules.implicit.serving`."""

import re
from typing import Any

import numpy as np

from zoo.export.readers.common import Served

ID = re.compile(r" *([0-9]{1,18}) *")


class Model(Served):
    """Scores pairs, which are dicts, a dict of columns or a frame: ids of a user and an item each.

    One that is not known is scored as such.
    """

    def __call__(self, rows: Any) -> dict[str, Any]:
        """The outputs of each pair, NaN where it has a `problem`."""
        columns, problem = self.columns(rows)
        places = {}
        for column, part in self.plan["tables"].items():
            numbers = np.full(len(problem), -1, np.int64)
            for i, value in enumerate(columns[column]):
                text = str(value).removesuffix(".0" if isinstance(value, float) else "")
                if match := ID.fullmatch(text):
                    numbers[i] = int(match[1])
                else:
                    problem[i] = problem[i] or f"{column} cannot be {value!r:.99}"
            ids = self.arrays[f"{part}_ids"]  # ascending
            place = np.minimum(np.searchsorted(ids, numbers), len(ids) - 1)
            places[part] = np.where(ids[place] == numbers, place, len(ids))  # the last is unknown
        ids = [self.arrays[part][place] for part, place in places.items()]
        numerical = self.arrays["item_numbers"][places["item"]]
        categorical = np.concatenate(ids, 1).astype(np.int64)
        return self.scored({"numerical": numerical, "categorical": categorical}, problem)
