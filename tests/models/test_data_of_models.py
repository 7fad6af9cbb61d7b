"""What models refuse of the data that they are given."""

import pytest
import pytorch_lightning as pl
from support.small_checkpoints import QUIET, ROWS, row_batch, small
from torch.utils.data import DataLoader

from zoo import Field, Schema, ZooDataModule, ZooError


class OneRow(ZooDataModule):
    """A batch of one row, and one whose id, the last of its file, is beyond the schema."""

    schema = ROWS

    def train_dataloader(self):
        """The good batch, then the other."""
        good = row_batch()
        ids = good.categorical.clone()
        ids[-1, 0] = 7  # the first id of the field behind it, in a table of all fields
        return DataLoader([good, good._replace(categorical=ids)], batch_size=None)

    def val_dataloader(self):
        """A good batch."""
        return DataLoader([row_batch()], batch_size=None)


@pytest.mark.parametrize("bare", [False, True], ids=["datamodule", "dataloader"])
def test_an_id_beyond_the_schema_is_found_in_any_batch(bare):
    """It would be the embedding of another field, without a word."""
    data = OneRow()
    trainer = pl.Trainer(**QUIET, max_epochs=1, accelerator="cpu", limit_train_batches=2)
    loaders = {"train_dataloaders": data.train_dataloader()}
    loaders["val_dataloaders"] = data.val_dataloader()
    rows = loaders if bare else {"datamodule": data}
    with pytest.raises(ZooError, match=r"holds the id 7 of the field \[red\]c0"):
        trainer.fit(small("DeepFM"), **rows)


def test_data_of_another_schema_are_refused_before_the_first_batch():
    fields = [*ROWS.fields[:2], Field("<b>c1</b>", "categorical", 99, "item"), ROWS.fields[3]]
    trainer = pl.Trainer(**QUIET, max_epochs=1, accelerator="cpu")
    with pytest.raises(ZooError, match=r"made for another schema than that of these data: field <"):
        trainer.fit(small("DeepFM", Schema(tuple(fields))), OneRow())
