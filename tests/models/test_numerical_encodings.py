"""Numbers as piecewise-linear encodings or learned bins, in all models of rows."""

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from sklearn.metrics import roc_auc_score
from support.resuming import QUIET
from support.small_checkpoints import MODELS, small

from datamodules.prepared.arrays import Arrays
from datamodules.prepared.batched import BatchedDataModule
from datamodules.tabular.loader import BatchLoader
from zoo import Field, Schema, ZooError
from zoo.data.batch import Batch
from zoo.inspect import load

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")
SCHEMA = Schema((Field("n0", "numerical"), Field("m", "numerical"), Field("c", "categorical", 4)))
ROW_MODELS = [
    "WideDeep",
    "DeepFM",
    "DCN",
    "xDeepFM",
    "AutoInt",
    "FiBiNET",
    "InterHAt",
    "InterpretableMLP",
]
ENCODINGS = ["piecewise_linear", "learned_bins"]
ROWS = 4096


class Waves(BatchedDataModule):
    """Rows whose odds go up and down with the first number, eight times."""

    schema = SCHEMA

    def __init__(self):
        super().__init__(256)
        random = np.random.default_rng(0)
        place = random.random((ROWS, 2))
        self.logits = 3 * np.cos(8 * np.pi * place[:, 0])
        label = random.random(ROWS) < 1 / (1 + np.exp(-self.logits))
        self.numbers = np.exp(3 * place).astype(np.float32)
        ids = random.integers(0, 4, (ROWS, 1)).astype(np.int32)
        self.arrays = Arrays(self.numbers, ids, label.astype(np.float32), np.arange(ROWS))

    def loader(self, split, **options):
        """The same rows for all splits."""
        return BatchLoader(self.arrays, 256, device=torch.device("cpu"), **options)

    @property
    def batch(self):
        """All rows."""
        return Batch(*(torch.from_numpy(getattr(self.arrays, part)) for part in Batch._fields[:3]))


def fit(model, data, epochs=1, **options):
    trainer = pl.Trainer(max_epochs=epochs, **QUIET, **options)
    trainer.fit(model, datamodule=data)
    return trainer


def auc(model, data):
    with torch.no_grad():
        return roc_auc_score(data.arrays.label, model.eval()(data.batch).numpy())


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("name", ROW_MODELS)
def test_every_model_of_rows_takes_them(name, encoding, tmp_path):
    data, options = Waves(), {"numerical_encoding": encoding, "numerical_bins": 5}
    model = small(name, SCHEMA, **options)
    trainer = fit(model, data, enable_checkpointing=False)
    edges = np.quantile(data.numbers, np.arange(6) / 5, axis=0, method="inverted_cdf")
    np.testing.assert_array_equal(model.embedding.encoding.bin_edges, edges.T)
    trainer.save_checkpoint(tmp_path / "model.ckpt")
    loaded = MODELS[name].load_from_checkpoint(tmp_path / "model.ckpt").eval()
    assert torch.equal(loaded(data.batch), model.eval()(data.batch))
    # other rows do not move them: the weights belong to these edges
    other = Waves()
    other.numbers *= 7
    fit(loaded.train(), other, enable_checkpointing=False)
    np.testing.assert_array_equal(loaded.embedding.encoding.bin_edges, edges.T)
    found = load(tmp_path / "model.ckpt")
    assert not any("encoding" in warning for warning in found.warnings)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_goes_up_and_down_is_learned_where_a_plain_value_fails(encoding):
    found = {}
    for how in ("none", encoding):
        data = Waves()
        options = {"hidden_units": [16], "numerical_encoding": how, "learning_rate": 0.05}
        model = small("WideDeep", SCHEMA, **options)
        fit(model, data, epochs=10, enable_checkpointing=False)
        found[how] = auc(model, data)
    ceiling = roc_auc_score(data.arrays.label, data.logits)
    assert found["none"] < 0.6, found
    assert found[encoding] > ceiling - 0.02 > 0.85, found


def test_attention_between_embedded_numbers_takes_them_too():
    data = Waves()
    options = {"hidden_units": None, "learning_rate": 0.05, "embedding_std": 0.1}
    model = small("AutoInt", SCHEMA, numerical_encoding="piecewise_linear", **options)
    fit(model, data, epochs=6, enable_checkpointing=False)
    assert auc(model, data) > 0.8


def test_without_a_datamodule_there_are_no_quantiles():
    data = Waves()
    model = small("WideDeep", SCHEMA, numerical_encoding="piecewise_linear")
    trainer = pl.Trainer(max_epochs=1, enable_checkpointing=False, **QUIET)
    with pytest.raises(ZooError, match="numerical_encoding needs the quantiles of the training"):
        trainer.fit(model, data.loader("train"), data.loader("val"))
