"""What tests of listening sessions share."""

import pandas as pd
from support.preparation import ready

from zoo.data.batch import concatenate

START, END, CONTEXT = (
    "hist_user_behavior_reason_start",
    "hist_user_behavior_reason_end",
    "context_type",
)


def logs_of(root):
    files = sorted((root / "session_logs/training_set").iterdir())
    return pd.concat([pd.read_csv(f, dtype=str) for f in files], ignore_index=True)


def tracks_of(root):
    return pd.read_csv(root / "track_features/tf_0.csv", dtype=str)


def whole(loader):
    """All its batches joined in one, with row numbers."""
    loader.with_row = True
    return concatenate(list(loader))


def batches(data, split):
    """All batches of a split joined in one, and the ids of its sessions."""
    ready(data).setup("fit")
    joined = whole(getattr(data, f"{split}_dataloader")())
    ids = pd.read_csv(data.path, dtype=str).session_id.drop_duplicates().to_numpy()
    return joined, ids[joined.row]


def prepared_bytes(data):
    ready(data)
    names = ("encoder/encoder.json", "encoder/tracks.npy", "encoder/track_ids.parquet")
    names += tuple(f"{split}/sessions.npy" for split in ("train", "val", "test"))
    return {name: (data.folder / name).read_bytes() for name in names}


def first_session(logs):
    """Row labels of the first session of at least six rows."""
    long = logs[logs.session_length.astype(int) >= 6]
    return logs.index[logs.session_id == long.session_id.iloc[0]]


def swapped(rows, mine):
    position = rows.loc[mine, "session_position"].to_numpy().copy()
    position[[2, 3]] = position[[3, 2]]
    rows.loc[mine, "session_position"] = position
    return rows
