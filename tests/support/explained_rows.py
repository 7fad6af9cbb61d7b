"""What tests of explained rows share."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from support.small_checkpoints import ROWS

from zoo import Batch, SessionBatch

CROSS = ROWS.fields[3].name


def rows(count=200, schema=ROWS):
    random = torch.Generator().manual_seed(1)
    ids = [torch.randint(f.cardinality, (count, 1), generator=random) for f in schema.categorical]
    numbers = torch.randn(count, len(schema.numerical), generator=random)
    labels = (torch.rand(count, generator=random) < 0.4).float()
    return Batch(numbers, torch.cat(ids, 1), labels)


def sessions(count=20, past=4, future=3, seed=1):
    """Sessions of unequal length, some of whose labels are not known."""
    random = torch.Generator().manual_seed(seed)
    seen, real = (
        torch.arange(most) < torch.randint(1, most + 1, (count, 1), generator=random)
        for most in (past, future)
    )
    real[0] = True
    label = torch.randint(2, (count, future), generator=random).float()
    label[0, 0] = torch.nan
    return SessionBatch(
        torch.randint(2, (count, past, 3), generator=random).float() * seen.unsqueeze(2),
        seen,
        torch.rand(count, future, 2, generator=random) * real.unsqueeze(2),
        real,
        label.masked_fill(~real, 0),
    )


def encoder(folder):
    """A run's encoder, which names some values."""
    (folder / "crosses/0000").mkdir(parents=True)
    fields, values = ["[red]c0[/red]", "<b>c1</b>"], ["six", "<i>two</i>"]
    table = {"field": fields, "value": values, "id": [6, 2], "count": [1, 1]}
    pq.write_table(pa.table(table), folder / "vocabulary.parquet")
    cross = {"format": 1, "members": fields, "edges": {}, "cardinality": 5}
    (folder / "crosses/0000/cross.json").write_text(json.dumps(cross))
    table = {"m0": [6, 0], "m1": [2, 9], "id": [2, 3], "count": [1, 1]}
    pq.write_table(pa.table(table), folder / "crosses/0000/vocabulary.parquet")
    return folder
