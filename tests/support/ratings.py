"""What tests of MovieLens share."""

import gzip
import zipfile

import numpy as np
from support.preparation import ready

from datamodules.implicit.pairs import Tables

USERS = ["1::F::1::10::48067", "2::M::56::16::70072", "3::M::25::15::55117"]
MOVIES = [f"{i}::Film {i} ({1990 + i})::Drama|War" for i in range(10, 20)]
MOVIES[0] = "10::Café: A :: Life (1990)::Comedy"
# (user, movie, time): user 1 ends with 14, user 2 (two of the last time) with 11, user 3 has two
RATINGS = [
    (1, 10, 5), (2, 12, 9), (1, 14, 9), (1, 12, 7), (2, 10, 3), (1, 11, 8), (2, 13, 1),
    (2, 11, 9), (3, 10, 1), (3, 15, 2), (1, 13, 0),
]  # fmt: skip


def write_zip(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, lines in members.items():
            archive.writestr(f"any/{name}", "".join(line + "\n" for line in lines).encode("latin1"))


def opened(data):
    """The datamodule, set up, and the original ids of training, validation and test rows."""
    ready(data).setup("fit")
    tables = Tables.open(data.folder / "encoder")
    splits = {}
    for split in ("train", "val", "test"):
        columns = [np.load(data.folder / split / f"{name}.npy") for name in ("user", "item")]
        splits[split] = (tables.user_ids[columns[0]], tables.item_ids[columns[1]])
    return tables, splits


def positives(data, splits, split):
    label = np.load(data.folder / split / "label.npy")
    user, item = splits[split]
    return dict(zip(user[label].tolist(), item[label].tolist(), strict=True))


def lists_file(tmp_path, *lines, name="lists.tsv"):
    path = tmp_path / name
    text = "".join(line + "\n" for line in ("user_id\tmovie_id\tnegatives", *lines))
    path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    return str(path)
