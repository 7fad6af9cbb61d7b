"""The table of users, which the data of some services have beside sessions and tracks.

Shapes: K users, N features.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from datamodules.prepared.form import first_line
from datamodules.prepared.rejected import Rejected
from datamodules.sessions.tables import Form, RawTable, open_table, read_table
from zoo.data.errors import ZooError

USER_ID = "user_id"


def users_form(features: Sequence[str]) -> Form:
    """The table of users with these features."""
    return Form("user", "users", USER_ID, tuple(features), {})


def read_users(
    files: list[Path], features: Sequence[str] | None, work: Path, rejected: Rejected
) -> RawTable:
    """Reads the files of the user table.

    Args:
        files: The files.
        features: Columns that are features; None is all of the first file but the ids.
        work: A folder to write into.
        rejected: Counts the rows.

    Raises:
        ZooError: where a file cannot be used, or a feature is a number of no user.
    """
    if features is None:
        features = [name for name in first_line(files[0]).split(",") if name != USER_ID]
    if not features:
        raise ZooError(f"{files[0]}: the user table has no features beside {USER_ID} (data.users)")
    table = read_table(users_form(features), files, work, rejected)
    given = ~np.isnan(table.features).all(0)
    if not given.all():
        name = features[int(given.argmin())]
        raise ZooError(
            f"{files[0]}: column {name} of the user table holds no number; name the columns that "
            "do in data.user_features"
        )
    return table


def open_users(features: Sequence[str], folder: Path) -> tuple[pa.Array, np.ndarray]:
    """Ids [K] and normalised features float32 [K + 1, N] of an encoder."""
    return open_table(users_form(features), folder)
