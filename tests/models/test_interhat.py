"""InterHAt is what its paper says; benchmarks/interhat_parity.py compares it with FuxiCTR's."""

import math

import pytest
import torch
from support.small_checkpoints import ROWS, row_batch, small
from torch.nn.functional import layer_norm

from zoo import Field, InterHAt, Schema, ZooError

OPTIONS = [
    {},
    {"heads": 1, "attention_dim": None},
    {"attention_dim": None, "orders": 1, "hidden_dim": 3},
    {"heads": 3, "attention_dim": 6, "orders": 4},
    {"heads": 1, "attention_dim": 5, "first_order": True, "embed_numerical": False},
]


def build(**options):
    model = small("InterHAt", embedding_std=1.0, **options)
    with torch.no_grad():  # what begins at zero or one, too
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) / 4)
    return model.double().eval()


def rows():
    batch = row_batch()
    return batch._replace(numerical=batch.numerical.double(), label=batch.label.double())


def dense(weight, x, bias=None):
    return weight @ x if bias is None else weight @ x + bias


def norm(module, x):
    return layer_norm(x, x.shape, module.weight, module.bias)


def self_attention(part, fields):
    """The new representations of the fields of one row, and the weights of each head."""
    width = part.project.weight.shape[0] // 3
    matrices = part.project.weight.split(width)
    size, outputs, weights = width // part.heads, [[] for _ in fields], []
    for head in range(part.heads):
        mine = slice(head * size, (head + 1) * size)
        query, key, value = ([dense(m[mine], e) for e in fields] for m in matrices)
        weights.append([])
        for m, q in enumerate(query):
            scores = torch.stack([q @ k for k in key]) / math.sqrt(size)
            alpha = scores.exp() / scores.exp().sum()
            weights[-1].append(alpha)
            outputs[m].append(sum(a * v for a, v in zip(alpha, value, strict=True)))
    new = []
    for e, mixed in zip(fields, map(torch.cat, outputs), strict=True):
        joined = mixed if part.joined is None else dense(part.joined.weight, mixed)
        new.append(norm(part.norm, e + joined.clamp(min=0)))
    return new, weights


def aggregated(part, vectors):
    """The weighted mean of some vectors, and their weights."""
    hidden = [dense(part.hidden.weight, x, part.hidden.bias).clamp(min=0) for x in vectors]
    scores = torch.stack([part.context.weight[0] @ h for h in hidden])
    weights = scores.exp() / scores.exp().sum()
    return sum(a * x for a, x in zip(weights, vectors, strict=True)), weights


def reference(model, fields):
    """The deep part of one row, and all weights."""
    fields, attention = self_attention(model.self_attention, fields)
    first, forward = [], model.feed_forward
    for x in fields:
        hidden = dense(forward.widen.weight, x, forward.widen.bias).clamp(min=0)
        narrow = dense(forward.narrow.weight, hidden, forward.narrow.bias)
        first.append(norm(forward.norm, x + narrow))
    x, means, weights = first, [], []
    for part in model.aggregations:
        mean, alpha = aggregated(part, x)
        means.append(mean)
        weights.append(alpha)
        x = [mean * a + b for a, b in zip(first, x, strict=True)]
    final = means[0]
    if len(means) > 1:
        final, alpha = aggregated(model.over_orders, means)
        weights.append(alpha)
    for layer in model.deep.linears:
        final = dense(layer.weight, final, layer.bias).clamp(min=0)
    return model.head.weight[0] @ final, attention, weights


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_logits_attention_and_gates_are_those_of_the_paper(options):
    model, batch = build(**options), rows()
    embedded, logits = model.embedding(batch), model(batch)
    names, (attention,) = model.attention(batch)
    gates = model.gates(batch)
    orders = options.get("orders", 3)
    embedded_fields = ROWS.embedded(options.get("embed_numerical", True))
    assert names == tuple(field.name for field in embedded_fields)
    titles = [f"attention over fields, order {k + 1}" for k in range(orders)]
    assert [gate.title for gate in gates] == titles + ["attention over orders"] * (orders > 1)
    for b in range(3):
        expected, heads, weights = reference(model, [*embedded.vectors[b]])
        expected = expected + model.bias[0] + embedded.linear[b]
        torch.testing.assert_close(logits[b], expected, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(attention[b], torch.stack([torch.stack(h) for h in heads]))
        for gate, weight in zip(gates, weights, strict=True):
            torch.testing.assert_close(gate.values[b], weight)
    assert all(gate.names == names for gate in gates[:orders])
    assert gates[-1].names[-1] == (f"order {orders}" if orders > 1 else names[-1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"orders": 0}, "orders must be at least 1"),
        ({"heads": 0}, "heads must be at least 1"),
        ({"heads": 3}, "heads must divide the width 64, got 3"),
        ({"attention_dim": 0}, "attention_dim must be at least 1"),
        ({"hidden_dim": 0}, "hidden_dim must be at least 1"),
    ],
)
def test_an_impossible_option_is_named(options, message):
    with pytest.raises(ZooError, match=message):
        InterHAt(ROWS, **options)


def test_numbers_alone_need_embeddings():
    numbers = Schema((Field("n", "numerical"),))
    with pytest.raises(ZooError, match="embed_numerical must be true where no field"):
        InterHAt(numbers, embed_numerical=False)
    assert InterHAt(numbers)(row_batch(numbers)).shape == (16,)


def test_dropout_is_of_training_alone():
    model, batch = build(dropout=0.5), rows()
    assert torch.equal(model(batch), model(batch))
    model.train()
    assert not torch.equal(model(batch), model(batch))
