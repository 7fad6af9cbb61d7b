"""What `predict` recommends from: users, items, and the pairs that are left out.

A pair of user u (of U) and item i (of I) has the number u * I + i, which is the `row` of its batch.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa


@dataclass(frozen=True)
class Recommended:
    """All pairs of some users and items.

    Attributes:
        users: Columns that name the users, U rows.
        items: Columns that name the items, I rows; of equal probability, the first comes first.
        rows: int64 [U], rising, the row of the file of users that each is; of all users, their
            number.
        left_out: int64, rising, numbers of the pairs that are not recommended.
    """

    users: pa.Table
    items: pa.Table
    rows: np.ndarray
    left_out: np.ndarray
