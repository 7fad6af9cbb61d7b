"""Embeddings that begin with vectors of a file, or are kept at them."""

import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytorch_lightning as pl
import torch
from support.own_data import RowsInMemory
from support.resuming import QUIET

from datamodules import Table
from datamodules.tabular.declared import TableField
from zoo import DeepFM, WideDeep, ZooError
from zoo.data.encoder import value_names

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")
DIM, ITEMS, KNOWN = 4, 12, 8


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clicks")
    random = np.random.default_rng(0)
    items = random.integers(0, ITEMS, 400)
    frame = pd.DataFrame({"item": items, "user": items % 3, "click": random.integers(0, 2, 400)})
    frame.to_parquet(folder / "clicks.parquet")
    fields = [TableField("user", "categorical"), TableField("item", "categorical")]
    made = Table(
        str(folder / "clicks.parquet"),
        label="click",
        fields=fields,
        prepared=str(folder / "prepared"),
        batch_size=64,
    )
    made.prepare_data()
    return made


@pytest.fixture(scope="module")
def vectors():
    """Of some of the items, and of some that never come."""
    random = np.random.default_rng(1)
    return {i: random.normal(size=DIM).astype(np.float32) for i in [*range(KNOWN), 50, 51]}


@pytest.fixture
def file(vectors, tmp_path):
    def write(names=("item", "vector"), found=vectors, kind=None):
        kind = kind or pa.list_(pa.float32())
        lists = pa.array([[*vector] for vector in found.values()], kind)
        pq.write_table(pa.table([pa.array([*found]), lists], names), tmp_path / "v.parquet")
        return str(tmp_path / "v.parquet")

    return write


def fit(model, data, checkpoint=None, **options):
    trainer = pl.Trainer(enable_checkpointing=False, **QUIET, **options)
    trainer.fit(model, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    return trainer


def made(data, spec=None, model=DeepFM, **options):
    torch.manual_seed(0)
    pretrained = None if spec is None else {"item": spec}
    options = {"embedding_dim": DIM, "hidden_units": [4], "learning_rate": 0.1, **options}
    return model(data.schema, pretrained=pretrained, **options)


def rows_of(model, data):
    """{item: its row of the table}."""
    named = value_names(data.encoder_folder, {"item": None})["item"]
    part, first = model.embedding.place("item")
    return {int(value): part.table[first + i].detach() for i, value in named.items() if i > 1}


@pytest.mark.parametrize("kind", [pa.list_(pa.float64()), pa.list_(pa.float32(), DIM)])
def test_found_values_begin_with_their_vectors_and_others_as_usual(
    kind, data, file, vectors, capsys
):
    path = file(kind=kind)
    model, plain = made(data, {"path": path}), made(data)
    before = model.embedding.table.detach().clone()
    assert torch.equal(before, plain.embedding.table)
    fit(model, data, max_steps=0)
    usual = rows_of(plain, data)
    for item, row in rows_of(model, data).items():
        wanted = usual[item].clone()
        if item < KNOWN:
            wanted[:DIM] = torch.from_numpy(vectors[item])
        assert torch.equal(row, wanted), item
    assert torch.equal(model.embedding.table[:5], before[:5])  # of the other field
    said = f"item: {KNOWN} of {ITEMS} values have a vector in {path} (trained on)"
    assert said in capsys.readouterr().err


def test_vectors_may_stand_in_columns_of_any_name(data, vectors, tmp_path):
    path = tmp_path / "columns.parquet"
    frame = pd.DataFrame.from_dict(vectors, orient="index", columns=[*"abcd"])
    frame.assign(name=frame.index.astype(str), other=3.5).to_parquet(path, index=False)
    spec = {"path": path, "value": "name", "vector": ["b", "a", "c", "d"]}
    model = made(data, spec)
    fit(model, data, max_steps=0)
    assert rows_of(model, data)[3][:DIM].tolist() == vectors[3][[1, 0, 2, 3]].tolist()


OPTIMIZERS = [{}, {"optimizer": "adamw"}, {"optimizer": "sgd", "sparse_gradients": False}]


@pytest.mark.parametrize("options", OPTIMIZERS)
def test_frozen_vectors_stay_and_all_else_is_trained(options, data, file, vectors):
    model = made(data, {"path": file(), "frozen": True}, **options)
    start = rows_of(model, data)
    start = {item: row.clone() for item, row in start.items()}
    fit(model, data, max_epochs=2)
    for item, row in rows_of(model, data).items():
        if item < KNOWN:
            assert row[:DIM].tolist() == vectors[item].tolist()
        else:
            assert (row[:DIM] != start[item][:DIM]).all()
        assert row[DIM] != start[item][DIM]  # the first-order weight


@pytest.mark.parametrize("frozen", [False, True])
def test_a_checkpoint_needs_the_file_no_more(frozen, data, file, tmp_path):
    path = file()
    model = made(data, {"path": path, "frozen": frozen})
    fit(model, data, max_epochs=1).save_checkpoint(tmp_path / "model.ckpt")
    loaded = DeepFM.load_from_checkpoint(tmp_path / "model.ckpt")
    assert torch.equal(loaded.embedding.table, model.embedding.table)
    resumed = made(data, {"path": path, "frozen": frozen})
    (tmp_path / "v.parquet").rename(tmp_path / "away.parquet")
    fit(loaded, data, max_steps=0)  # what it was trained to is kept
    assert torch.equal(loaded.embedding.table, model.embedding.table)
    (tmp_path / "away.parquet").rename(path)
    fit(resumed, data, tmp_path / "model.ckpt", max_epochs=2)
    moved = rows_of(resumed, data)[3] != rows_of(model, data)[3]
    assert moved.tolist() == [not frozen] * DIM + [True]


def test_their_size_may_be_that_of_one_field(data, file, vectors):
    model = made(data, {"path": file()}, WideDeep, embedding_dim=3, embedding_dims={"item": DIM})
    fit(model, data, max_steps=0)
    assert rows_of(model, data)[2][:DIM].tolist() == vectors[2].tolist()


MISTAKES = [
    (
        lambda file: {"path": file(found={i: [0.5] * 6 for i in range(3)})},
        "its vectors have 6 numbers, the embedding of item has 4: give model.embedding_dim=6, or, "
        "in a model that takes several sizes, model.embedding_dims={item: 6}",
    ),
    (
        lambda file: {"path": file(found={"i7": [0.5] * 4})},
        "has a vector of none of the 12 values of item, such as '",
    ),
    (lambda file: {"path": "none.parquet"}, "no such file: none.parquet (model.pretrained)"),
    (
        lambda file: {"path": file(names=("value", "vector"))},
        "has no column 'item' (model.pretrained): it has value, vector",
    ),
    (
        lambda file: {"path": file(found={1: [0.5] * 4, 2: [0.5] * 3})},
        "its vectors are of 2 different sizes (model.pretrained)",
    ),
    (
        lambda file: {"path": file(found={1: [0.5] * 3 + [np.nan]})},
        "a vector holds a number that is missing, NaN or infinite",
    ),
    (
        lambda file: {"path": file(found={1: ["a"] * 4}, kind=pa.list_(pa.string()))},
        "its vectors are not of numbers (model.pretrained)",
    ),
    (lambda file: {"path": __file__}, "(model.pretrained) cannot be read as Parquet"),
]


@pytest.mark.parametrize(("spec", "message"), MISTAKES)
def test_files_that_cannot_be_used(spec, message, data, file):
    with pytest.raises(ZooError, match=re.escape(message)) as raised:
        fit(made(data, spec(file)), data, max_steps=0)
    assert "\n" not in str(raised.value)


def test_a_value_with_two_vectors(data, tmp_path):
    table = {"item": [1, 2, 1], "vector": [[0.5] * DIM] * 3}
    pq.write_table(pa.table(table), tmp_path / "twice.parquet")
    with pytest.raises(ZooError, match=r"a value of item stands there twice: keep one"):
        fit(made(data, {"path": tmp_path / "twice.parquet"}), data, max_steps=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pretrained": {"age": {"path": "v"}}}, "'age' is no field of ids: these are user, item"),
        ({"pretrained": {"item": {}}}, "item must have a path, and may have value, vector, frozen"),
        ({"pretrained": {"item": {"path": "v", "freeze": True}}}, "item must have a path"),
        (
            {
                "pretrained": {"item": {"path": "v", "frozen": True}},
                "embedding_weight_decay": 0.1,
                "sparse_gradients": False,
            },
            "embedding_weight_decay would change the frozen vectors of item, got 0.1",
        ),
    ],
)
def test_options_that_contradict_themselves(options, message, data):
    with pytest.raises(ZooError, match=re.escape(message)):
        DeepFM(data.schema, **options)


def test_data_whose_values_have_no_names(file):
    rows = RowsInMemory()
    model = DeepFM(rows.schema, embedding_dim=4, pretrained={"c": {"path": file()}})
    with pytest.raises(ZooError, match="needs data whose values have names"):
        fit(model, rows, max_steps=0)
