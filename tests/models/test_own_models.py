"""Models as somebody else may write them: what is not as the contract says is one sentence."""

import pytest
import pytorch_lightning as pl
from support.own_data import RowsInMemory

from zoo import RowModule, ZooError


class LogitsInAColumn(RowModule):
    """Whose logits would be broadcast against the labels."""

    def forward(self, batch):
        """[B, 1]."""
        return self.embedding(batch).vectors.sum((1, 2)).unsqueeze(1)


class Rule(RowModule):
    """Without parameters."""

    def __init__(self, schema):
        super().__init__(schema)
        del self.embedding

    def forward(self, batch):
        """[B]."""
        return batch.numerical[:, 0]

    def setup(self, stage):
        """As there is no embedding, nothing."""


class Frozen(LogitsInAColumn):
    """Whose parameters are all frozen."""

    def __init__(self, schema):
        super().__init__(schema)
        self.requires_grad_(False)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (LogitsInAColumn, r"gives logits of the shape \[20, 1\], but the labels have \[20\]"),
        (Rule, "Rule has no parameter to train: a rule without any overrides training_step and"),
        (Frozen, "Frozen has no parameter to train"),
    ],
)
def test_a_model_that_cannot_be_trained(model, message):
    data = RowsInMemory()
    trainer = pl.Trainer(max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False)
    with pytest.raises(ZooError, match=message):
        trainer.fit(model(data.schema), data)
