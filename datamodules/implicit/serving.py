"""What scores pairs of user and item without this project: the encoded fields of both.

The plan is what `zoo/export/readers/pairs.py` goes by:

    columns    names of the raw columns
    tables     which table each is looked up in: `user` or `item`

Shapes: U users, I items, C_u, C_i categorical fields of a user and an item, N numerical fields.
"""

from typing import Any

import numpy as np

from datamodules.implicit.pairs import Tables
from zoo.data.serving import Column

UNKNOWN_ID = 10**18 - 1  # of a user or an item, as good as certainly
COLUMNS = (
    Column("user", "number", "id of the user; whole, of 18 digits at most"),
    Column("movie", "number", "id of the movie; whole, of 18 digits at most"),
)


def plan_of() -> dict[str, Any]:
    """What a reader goes by."""
    tables = dict(zip((column.name for column in COLUMNS), ("user", "item"), strict=True))
    return {"columns": [*tables], "tables": tables}


def arrays_of(tables: Tables) -> dict[str, np.ndarray]:
    """The tables in the order of their ids; a row behind these is of the unknown.

    `user_ids` int64 [U], `user` int32 [U + 1, C_u], `item_ids` int64 [I], `item` int32 [I + 1, C_i]
    and `item_numbers` float32 [I + 1, N].
    """
    more = tables.with_unknown()
    users, items = np.argsort(tables.user_ids), np.argsort(tables.item_ids)
    return {
        "user_ids": tables.user_ids[users],
        "user": more.user[np.append(users, -1)],
        "item_ids": tables.item_ids[items],
        "item": more.item[np.append(items, -1)],
        "item_numbers": more.item_numbers[np.append(items, -1)],
    }


def examples_of(tables: Tables) -> list[dict[str, Any]]:
    """Ten raw rows: known and unknown users and items, numbers as text, and what is no number."""
    users, items = tables.user_ids[:3].tolist(), tables.item_ids[-3:].tolist()
    pairs = [(user, item) for user in (users * 2)[:2] for item in (items * 2)[:2]]
    pairs += [
        (users[0], UNKNOWN_ID),
        (UNKNOWN_ID, items[0]),
        (UNKNOWN_ID, UNKNOWN_ID),
        (str(users[-1]), f" 0{items[-1]} "),
        (None, items[0]),
        (users[0], "a title"),
    ]
    return [dict(zip((c.name for c in COLUMNS), pair, strict=True)) for pair in pairs]
