"""torch.export takes the models: batches of any size, ids that are off, and attributions."""

import pytest
import torch
from support import expertise, session_networks
from support.expertise import DIAMOND
from torch import nn

import zoo
from zoo import Batch, Field, InterpretableGRU, InterpretableTransformer, Schema, SessionBatch

NUMBERS = tuple(Field(f"n{i}", "numerical") for i in range(3))
SCHEMA = Schema((*NUMBERS, *(Field(f"c{i}", "categorical", 50) for i in range(4))))
OPTIONS = {
    "AutoInt": {"numerical_encoding": "piecewise_linear"},
    "DCN": {"parameterization": "matrix", "embedding_dims": {"c1": 3}},
    "DeepFM": {"batch_norm": True, "numerical_encoding": "learned_bins"},
    "InterHAt": {"heads": 1, "orders": 1, "attention_dim": 8, "numerical_encoding": "learned_bins"},
    "FiBiNET": {"bilinear": "each", "embed_numerical": True, "first_order": False},
}


class Explained(nn.Module):
    """What a model says of plain tensors: logits and attributions."""

    def __init__(self, model, kind):
        super().__init__()
        self.model, self.kind = model, kind

    def forward(self, *parts):
        if self.kind is Batch:
            return self.model.explain(Batch(*parts, label=parts[0].new_zeros(parts[0].shape[0])))
        _, _, future, _ = parts
        return self.model.explain(SessionBatch(*parts, label=future[..., 0]))


def rows(count, schema=SCHEMA):
    ids = [torch.randint(-1, field.cardinality, (count,)) for field in schema.categorical]
    return torch.randn(count, len(schema.numerical)), torch.stack(ids, 1).int()


def exported_equals(model, kind, first, second):
    """Exported for one batch, it says of another what the model says."""
    explained = Explained(model.eval(), kind)
    batch = torch.export.Dim("batch", min=1, max=1 << 20)
    with torch.no_grad():
        expected = explained(*second)
        shapes = (tuple({0: batch} for _ in first),)
        program = torch.export.export(explained, first, dynamic_shapes=shapes)
        found = program.module()(*second)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["AutoInt", "DCN", "DeepFM", "FiBiNET", "InterHAt", "WideDeep", "xDeepFM"]
)
def test_click_models(name):
    torch.manual_seed(0)
    for options in ({}, OPTIONS.get(name)):
        if options is not None:
            model = getattr(zoo, name)(SCHEMA, **options)
            if model.embedding.encoding is not None:
                model.embedding.encoding.fit(torch.randn(21, 3).sort(0).values.numpy())
            exported_equals(model, Batch, rows(6), rows(17))


@pytest.mark.parametrize("options", [{}, {"layer_norm": True, "fallback": True}], ids=str)
def test_experts(options):
    model = expertise.model(DIAMOND, **options)
    exported_equals(model, Batch, rows(6, model.schema), rows(17, model.schema))


@pytest.mark.parametrize("model", [InterpretableGRU, InterpretableTransformer])
def test_sessions(model):
    def sessions(count):
        lengths = [(i * 5) % 4 for i in range(count - 1)] + [4]
        batch = session_networks.random_batch(count, past=lengths, future=[3] * count)
        return tuple(batch[:4])

    exported_equals(session_networks.build(model), SessionBatch, sessions(6), sessions(9))
