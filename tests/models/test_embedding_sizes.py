"""Embeddings of another size for some fields, in the models that allow it."""

import pytest
import torch
from support.small_checkpoints import MODELS, ROWS, fitted, row_batch, small

from zoo import ZooError
from zoo.inspect import load

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")
USER = "[red]c0[/red]"
SIZES = {USER: 7, "<b>c1</b>": 2}


@pytest.mark.parametrize("name", ["WideDeep", "DCN", "InterpretableMLP"])
def test_models_that_take_the_flat_embeddings_allow_them(name, tmp_path):
    model = small(name, embedding_dims=SIZES)
    path = fitted(model, tmp_path / "model.ckpt")
    sizes = {part.embedding_dim: part.table.shape for part in model.embedding.fused}
    first_order = int(name == "WideDeep")
    assert sizes == {s: (n, s + first_order) for s, n in {4: 5, 2: 11, 7: 7}.items()}
    loaded = MODELS[name].load_from_checkpoint(path).eval()
    torch.manual_seed(1)
    batch = row_batch()
    assert torch.equal(loaded(batch), model.eval()(batch))
    off = batch.categorical.index_fill(1, torch.tensor(0), -1)
    table, first = loaded.embedding.place(USER)
    wanted = torch.zeros(16, 7)
    found = loaded.embedding(batch._replace(categorical=off)).flat
    torch.testing.assert_close(found[:, loaded.embedding.columns(ROWS, [USER])], wanted)
    assert first == 0
    assert table.table.shape[0] == 7


def test_inspect_reads_every_table(tmp_path):
    model = small("WideDeep", embedding_dims=SIZES)
    path = fitted(model, tmp_path / "model.ckpt")
    found = load(path)
    assert {f.field.name: f.rows.weights.rms > 0 for f in found.fields if f.rows} == {
        field.name: True for field in ROWS.categorical
    }
    weights = {(w.field, w.id): w.weight for w in found.effects.linear}
    part, first = model.embedding.place(USER)
    for i in (2, 3):
        assert weights[USER, i] == pytest.approx(part.table[first + i, -1].item())


def test_cross_weights_are_read_by_field(tmp_path):
    model = small("DCN", embedding_dims=SIZES, cross_layers=2)
    (grid,) = load(fitted(model, tmp_path / "model.ckpt")).effects.crosses
    kernels = model.cross.kernels.detach().double()
    for name in (field.name for field in ROWS.fields):
        norm = kernels[1, model.embedding.columns(ROWS, [name])].norm().item()
        assert grid.values[grid.rows.index(name)][1] == pytest.approx(norm, abs=1e-6)


@pytest.mark.parametrize("name", ["DeepFM", "xDeepFM", "AutoInt", "FiBiNET", "InterHAt"])
def test_models_that_join_embeddings_need_one_size(name):
    with pytest.raises(ZooError, match=f"embedding_dims: {name} joins the embeddings of fields"):
        small(name, embedding_dims=SIZES)
