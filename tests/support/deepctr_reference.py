"""deepctr-torch's models, built for a schema and given a zoo model's weights."""

from unittest import mock

import torch

with mock.patch("requests.get", side_effect=ConnectionError), mock.patch("builtins.print"):
    # importing the package asks the package index for its newest version
    from deepctr_torch import models
    from deepctr_torch.inputs import DenseFeat, SparseFeat


def columns(schema, embedding_dim):
    return [DenseFeat(f.name) for f in schema.numerical] + [
        SparseFeat(f.name, f.cardinality, embedding_dim=embedding_dim) for f in schema.categorical
    ]


def model(name, schema, embedding_dim, first_order=True, **options):
    features = columns(schema, embedding_dim)
    return getattr(models, name)(features if first_order else [], features, **options)


def _copy(target, source):
    assert target.shape == source.shape
    target.copy_(source)


@torch.no_grad()
def copy_weights(ours, theirs):
    """Gives both the same random weights."""
    for parameter in ours.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    start = 0
    for field in ours.schema.categorical:
        rows = ours.embedding.table[start : start + field.cardinality]
        dim = ours.embedding.embedding_dim
        _copy(theirs.embedding_dict[field.name].weight, rows[:, :dim])
        if ours.embedding.numerical_weight is not None:
            _copy(theirs.linear_model.embedding_dict[field.name].weight, rows[:, dim:])
        start += field.cardinality
    if ours.schema.numerical and ours.embedding.numerical_weight is not None:
        _copy(theirs.linear_model.weight, ours.embedding.numerical_weight[:, None])
    _copy(theirs.out.bias, ours.bias)
    if getattr(ours, "deep", None) is not None:
        theirs.dnn.load_state_dict(ours.deep.state_dict())
    _copy_interaction(ours, theirs)


def _copy_interaction(ours, theirs):
    if hasattr(ours, "cross"):
        _copy(theirs.crossnet.kernels, ours.cross.kernels)
        _copy(theirs.crossnet.bias, ours.cross.bias.unsqueeze(2))
    if hasattr(ours, "cin"):
        for mine, other in zip(ours.cin.layers, theirs.cin.conv1ds, strict=True):
            _copy(other.weight, mine.weight.unsqueeze(2))
            _copy(other.bias, mine.bias)
        _copy(theirs.cin_linear.weight, ours.cin_head.weight)
    if hasattr(ours, "attention_layers"):
        for mine, other in zip(ours.attention_layers, theirs.int_layers, strict=True):
            names = ["W_Query", "W_key", "W_Value"] + ["W_Res"] * mine.residual
            for name, weight in zip(names, mine.weight.chunk(len(names), 1), strict=True):
                _copy(getattr(other, name), weight)
    if hasattr(ours, "senet"):
        _copy(theirs.SE.excitation[0].weight, ours.senet.squeeze.weight)
        _copy(theirs.SE.excitation[2].weight, ours.senet.excite.weight)
        matrices, layers = ours.bilinear.weight.split(ours.bilinear.dim), theirs.Bilinear.bilinear
        layers = [layers] if ours.bilinear.kind == "all" else layers
        for mine, other in zip(matrices, layers, strict=ours.bilinear.kind != "each"):
            _copy(other.weight, mine)  # of `each`, theirs keeps one of the last field, without use
    names = ("cross_head", "attention_head", "head")
    heads = [getattr(ours, name).weight for name in names if hasattr(ours, name)]
    _copy(theirs.dnn_linear.weight, torch.cat(heads, 1))


@torch.no_grad()
def logits(theirs, batch):
    theirs.out.task = "regression"  # leaves out the sigmoid
    return theirs(torch.cat((batch.numerical, batch.categorical.float()), 1)).squeeze(1)
