"""deepctr-torch's models, built for a schema and given a zoo model's weights."""

from unittest import mock

import torch

with mock.patch("requests.get", side_effect=ConnectionError), mock.patch("builtins.print"):
    # importing the package asks the package index for its newest version
    from deepctr_torch.inputs import DenseFeat, SparseFeat
    from deepctr_torch.models import DeepFM as ReferenceDeepFM


def columns(schema, embedding_dim):
    return [DenseFeat(f.name) for f in schema.numerical] + [
        SparseFeat(f.name, f.cardinality, embedding_dim=embedding_dim) for f in schema.categorical
    ]


def deepfm(schema, embedding_dim, hidden_units):
    features = columns(schema, embedding_dim)
    return ReferenceDeepFM(features, features, dnn_hidden_units=hidden_units)


@torch.no_grad()
def copy_weights(ours, theirs):
    table = ours.embedding.table
    start = 0
    for field in ours.schema.categorical:
        rows = table[start : start + field.cardinality]
        theirs.embedding_dict[field.name].weight.copy_(rows[:, :-1])
        theirs.linear_model.embedding_dict[field.name].weight.copy_(rows[:, -1:])
        start += field.cardinality
    if ours.schema.numerical:
        torch.nn.init.normal_(ours.embedding.numerical_weight)
        theirs.linear_model.weight.copy_(ours.embedding.numerical_weight[:, None])
    theirs.dnn.load_state_dict(ours.deep.state_dict())
    theirs.dnn_linear.load_state_dict(ours.head.state_dict())
    torch.nn.init.constant_(ours.bias, 0.3)
    theirs.out.bias.copy_(ours.bias)


@torch.no_grad()
def logits(theirs, batch):
    theirs.out.task = "regression"  # leaves out the sigmoid
    return theirs(torch.cat((batch.numerical, batch.categorical.float()), 1)).squeeze(1)
