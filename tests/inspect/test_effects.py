"""`inspect`: attention, first-order and cross weights."""

import json
import re
from itertools import product

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from support.explained_rows import CROSS, encoder, rows
from support.inspection import changed, lightning_warnings, refusal, shown
from support.small_checkpoints import ROWS, fitted, small

from zoo.data.encoder import value_names
from zoo.inspect import load
from zoo.inspect.weights_only.run import Run
from zoo.inspect.with_data.attention import attention_of

pytestmark = lightning_warnings


def test_attention_is_the_mean_of_each_row_and_head():
    model, batch = small("AutoInt", attention_dim=8).eval(), rows(30)
    grids = list(attention_of(model, batch))
    assert [grid.title for grid in grids] == [
        f"attention between fields, layer {i}" for i in (1, 2, 3)
    ]
    assert grids[0].rows == grids[0].columns == tuple(f.name for f in ROWS.fields)
    x = model.embedding(batch).vectors.detach()
    for grid, layer in zip(grids, model.attention_layers, strict=True):
        query, key = (w.detach().view(-1, 2, 4) for w in layer.weight.chunk(4, 1)[:2])
        expected = np.zeros((4, 4))
        for b, h in product(range(30), range(2)):
            q, k = (x[b] @ w[:, h] for w in (query, key))
            weights = np.exp((q @ k.T).double().numpy())
            expected += weights / weights.sum(1, keepdims=True) / 60
        np.testing.assert_allclose(grid.values, expected, atol=1e-6)
        x = layer(x).detach()


@pytest.mark.parametrize("name", ["WideDeep", "DeepFM"])
def test_the_largest_first_order_weights_are_named(name, copy_of, tmp_path):
    run = tmp_path / "run"
    path = copy_of(name, "run/checkpoints/best.ckpt")
    encoder(run / "encoder")
    (run / "config.yaml").write_text(f"model: {{class_path: zoo.{name}}}\n")

    def plant(content):
        table = content["state_dict"]["embedding.table"]
        table[:, -1] = 0.001
        table[[6, 1, 7 + 2, 7 + 11 + 2], -1] = torch.tensor([-3.0, 2.0, 1.5, -1.0])
        content["state_dict"]["embedding.numerical_weight"].fill_(-2.5)

    found = load(changed(path, plant)).effects.linear
    assert [(w.field, w.id, w.value, w.weight) for w in found[:5]] == [
        ("[red]c0[/red]", 6, "six", -3.0),
        ("n0", None, None, -2.5),
        ("[red]c0[/red]", 1, "(missing)", 2.0),
        ("<b>c1</b>", 2, "<i>two</i>", 1.5),
        (CROSS, 2, "six x <i>two</i>", -1.0),
    ]
    assert len(found) == 20
    assert [w.weight for w in found[5:]] == pytest.approx([0.001] * 15)
    text = shown(load(path))
    for value, weight in (("each unit", "-2.5000"), ("<i>two</i>", "+1.5000")):
        assert re.search(f"│ {value} +│ {re.escape(weight)} │", text)


def test_values_of_crosses_are_those_of_their_members(tmp_path):
    folder = encoder(tmp_path / "encoder")
    run = Run(str(tmp_path), {}, None)
    assert value_names(run.encoder, {CROSS: None})[CROSS] == {
        0: "(unknown)",
        1: "(missing)",
        2: "six x <i>two</i>",
        3: "(unknown) x id 9",
    }
    cross = {"members": ["n0", "<b>c1</b>"], "edges": {"n0": [0.5, 2.25]}}
    (folder / "crosses/0000/cross.json").write_text(json.dumps(cross))
    table = {"m0": [0, 1, 2], "m1": [2, 2, 2], "id": [2, 3, 4]}
    pq.write_table(pa.table(table), folder / "crosses/0000/vocabulary.parquet")
    found = value_names(run.encoder, {"n0 x <b>c1</b>": [2, 3, 4]})["n0 x <b>c1</b>"]
    assert [found[i] for i in (2, 3, 4)] == [
        f"{interval} x <i>two</i>" for interval in ("<= 0.5", "(0.5, 2.25]", "> 2.25")
    ]


def test_a_damaged_vocabulary_is_a_warning(copy_of, tmp_path):
    run = tmp_path / "run"
    path = copy_of("DeepFM", "run/checkpoints/best.ckpt")
    (run / "config.yaml").write_text("model: {class_path: zoo.DeepFM}\n")
    (run / "encoder").mkdir()
    (run / "encoder/vocabulary.parquet").write_text("no parquet")
    found = load(path)
    assert found.warnings[-1].startswith(f"{run}/encoder cannot be read: ")
    assert {w.value for w in found.effects.linear if w.id and w.id > 1} <= {
        f"id {i}" for i in range(2, 11)
    }


@pytest.mark.parametrize("embed_numerical", [False, True])
@pytest.mark.parametrize("form", ["vector", "matrix"])
def test_cross_weights_are_norms_of_the_blocks_of_fields(form, embed_numerical, tmp_path):
    options = {"parameterization": form, "embed_numerical": embed_numerical, "cross_layers": 2}
    model = small("DCN", **options)
    grids = load(fitted(model, tmp_path / "model.ckpt")).effects.crosses
    kernels = model.cross.kernels.detach().double().numpy()
    fields = [f.name for f in ROWS.fields]
    columns = {name: model.embedding.columns(ROWS, [name]) for name in fields}
    assert sum(map(len, columns.values())) == kernels.shape[1]
    for layer, kernel in enumerate(kernels):
        for a, b in product(fields, fields):
            if form == "vector":
                (grid,) = grids
                r, c, block = grid.rows.index(a), layer, kernel[columns[a]]
            else:
                grid = grids[layer]
                r, c = grid.rows.index(a), grid.columns.index(b)
                block = kernel[np.ix_(columns[a], columns[b])]
            assert grid.values[r][c] == pytest.approx(np.linalg.norm(block), abs=1e-6)


@pytest.mark.parametrize(
    ("name", "weights", "sentence"),
    [
        ("DCN", {"cross.kernels": torch.zeros(2, 3, 1)}, "its cross weights do not fit its schema"),
        ("DCN", {"cross.kernels": torch.zeros(3)}, "its cross weights do not fit its schema"),
        (
            "DeepFM",
            {"embedding.numerical_weight": torch.zeros(2)},
            "its first-order weights do not fit its schema",
        ),
    ],
)
@pytest.mark.parametrize("described", [True, False])
def test_weights_that_do_not_fit_the_schema(described, name, weights, sentence, copy_of):
    def spoil(content):
        content["state_dict"].update(weights)
        if not described:  # as in version 0.1.0
            del content["description"]

    path = changed(copy_of(name), spoil)
    assert refusal(path) == f"{path} is damaged: {sentence}"


def test_models_without_such_weights_have_none(checkpoint_of):
    found = load(checkpoint_of("InterpretableMLP")).effects
    assert (found.linear, found.crosses) == ((), ())
