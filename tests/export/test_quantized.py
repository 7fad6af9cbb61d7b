"""Embedding tables of float16 and int8: what rounding may cost, and what the tables weigh."""

import re
from typing import get_args

import pytest
import torch
from support import expertise, session_networks
from support.expertise import DIAMOND
from support.preparation import ready

import zoo
from datamodules import MovieLens
from zoo import Batch, Field, Schema
from zoo.export.cost import cost_of
from zoo.export.quantized import EmbeddingType, SmallRows, quantized, table_bytes

SCHEMA = Schema((Field("n", "numerical"), *(Field(f"c{i}", "categorical", 50) for i in range(4))))


def table(rows=200, columns=9, seed=0):
    """Rows of very different sizes, one of zeros."""
    generator = torch.Generator().manual_seed(seed)
    found = torch.randn(rows, columns, generator=generator)
    found *= 10 ** torch.linspace(-6, 4, rows).unsqueeze(1)
    found[7] = 0
    return found


@pytest.mark.parametrize("dim", [8, 9], ids=["with first-order weights", "without"])
def test_no_element_is_off_by_more_than_half_a_step(dim):
    full = table()
    ids = torch.tensor([7, 199, 0, 7, *range(200)])
    vectors = full[ids, :dim]
    steps = vectors.abs().amax(1, keepdim=True) / 127
    bounds: dict[EmbeddingType, torch.Tensor] = {
        "int8": steps / 2 * (1 + 1e-5),
        "float16": torch.maximum(vectors.abs() * 2**-11, torch.tensor(2.0**-25)),
    }
    for kind, bound in bounds.items():
        small = SmallRows(full, dim, kind)
        found = small.rows(ids)
        assert found.dtype == torch.float32
        assert ((found[:, :dim] - vectors).abs() <= bound).all()
        assert torch.equal(found[:, dim:], full[ids, dim:])  # first-order weights stay
        assert (found[0] == 0).all()


def rows(count=300, seed=1):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(-1, 50, (count, 4), generator=generator).int()
    numbers = torch.randn(count, 1, generator=generator)
    return Batch(numbers, ids, torch.zeros(count))


MODELS = {
    "DeepFM": (zoo.DeepFM, {}),
    "sizes": (zoo.DCN, {"embedding_dims": {"c1": 3}}),
    "numbers": (zoo.AutoInt, {"numerical_encoding": "none"}),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_says_nearly_the_same_in_fewer_bytes(name):
    kind, options = MODELS[name]
    logits, sizes = {}, {}
    for embeddings in get_args(EmbeddingType):
        torch.manual_seed(0)
        model = kind(SCHEMA, embedding_dim=16, **options).eval()
        for parameter in model.embedding.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        model = quantized(model, embeddings)
        with torch.no_grad():
            logits[embeddings] = model(rows())
        sizes[embeddings] = table_bytes(model)
    full = logits["float32"]
    assert 0 < (logits["float16"] - full).abs().max() < 1e-3
    assert 0 < (logits["int8"] - full).abs().max() < 3e-2
    assert sizes["int8"] < sizes["float16"] < 0.6 * sizes["float32"]


def test_experts_too():
    model = expertise.model(DIAMOND).eval()
    generator = torch.Generator().manual_seed(0)
    sizes = [field.cardinality for field in model.schema.categorical]
    ids = torch.stack([torch.randint(size, (50,), generator=generator) for size in sizes], 1)
    numbers = torch.randn(50, len(model.schema.numerical), generator=generator)
    batch = Batch(numbers, ids, numbers[:, 0])
    with torch.no_grad():
        expected = model.explain(batch)
        found = quantized(model, "float16").explain(batch)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-3)


def test_what_small_tables_save_and_cost_is_said(movielens, planted_ratings):
    data = ready(movielens(planted_ratings, eval_negatives=99))
    torch.manual_seed(0)
    model = zoo.DeepFM(data.schema, embedding_dim=16, hidden_units=[8]).eval()
    torch.nn.init.normal_(model.embedding.table, std=0.1)
    small = quantized(model, "int8")
    size, quality = cost_of(model, small, "int8", data)
    full, less = (f"{len(model.embedding.table) * each / 1e6:.2f}" for each in (17 * 4, 16 + 2 * 4))
    assert size == f"embeddings: {full} MB as float32, {less} MB as int8"
    assert re.fullmatch(
        r"validation rows: auc 0\.\d{5} to 0\.\d{5} \([+-]0\.0\d{4}\), logloss .*, "
        r"hr@10 .*, ndcg@10 0\.\d{5} to 0\.\d{5} \([+-]0\.0\d{4}\)",
        quality,
    )
    with torch.no_grad():
        found = [(model(batch), batch.label) for batch in data.val_dataloader()]
    logits, labels = (torch.cat(part) for part in zip(*found, strict=True))
    above = logits[labels == 1].unsqueeze(1) > logits[labels == 0]
    assert quality.startswith(f"validation rows: auc {above.float().mean():.5f} to ")
    gone = MovieLens("gone.zip", encoder=str(data.encoder_folder))
    assert cost_of(model, small, "int8", gone) == [
        size,
        "what this costs is not measured, as there are no validation rows: "
        "no such file: gone.zip (data.path)",
    ]
    rule = zoo.MeanSkip(session_networks.SCHEMA)
    assert cost_of(rule, rule, "int8", gone) == ["MeanSkip has no embeddings that could be int8"]
