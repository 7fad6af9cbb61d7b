"""What tests of prepared data share."""

import numpy as np

from datamodules.prepared.arrays import ARRAYS, Arrays
from datamodules.prepared.folder import SPLITS


def ready(datamodule):
    """The datamodule, prepared."""
    datamodule.prepare_data()
    return datamodule


def prepared(datamodule):
    """{split: Arrays} of a datamodule."""
    ready(datamodule)
    return {split: Arrays.open(datamodule.folder / split) for split in SPLITS}


def predicted(datamodule):
    """The arrays that `predict` would score."""
    datamodule.setup("predict")
    arrays = datamodule.predict_dataloader().arrays
    return Arrays(*(np.array(getattr(arrays, array)) for array in ARRAYS))


def together(splits):
    """All rows of all splits as one `Arrays`, in file order."""
    columns = [np.concatenate([getattr(s, a) for s in splits.values()]) for a in ARRAYS]
    order = np.argsort(columns[-1])
    return Arrays(*(column[order] for column in columns))


def assert_same(mine, theirs):
    for split, array in ((s, a) for s in SPLITS for a in ARRAYS):
        np.testing.assert_array_equal(getattr(mine[split], array), getattr(theirs[split], array))


def with_cell(line, column, text, delimiter="\t"):
    cells = line.split(delimiter)
    cells[column] = text
    return delimiter.join(cells)


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
