"""The deep part of the click-through models."""

from collections.abc import Sequence

import torch
from torch import nn

from zoo.data.errors import require
from zoo.nn.deepctr import layers
from zoo.nn.linear import Linear

MOST_LAYERS = 1000  # a network that is deeper is a mistake, and takes minutes to build


def deep_part(
    width: int, hidden_units: Sequence[int], dropout: float, batch_norm: bool
) -> nn.Module:
    """A multilayer perceptron with ReLU, [B, width] -> [B, hidden_units[-1]].

    deepctr-torch's `DNN`, started from Glorot's uniform weights (Glorot & Bengio 2010) instead
    of its own N(0, 1e-4), from which three layers learn next to nothing in the first epoch.

    Args:
        width: Number of inputs.
        hidden_units: Widths of the layers.
        dropout: Share of the activations that training drops.
        batch_norm: Normalise before each activation.

    Raises:
        ZooError: Where an option is out of its range.
    """
    require(len(hidden_units) > 0, "hidden_units must name at least one layer", hidden_units)
    require(
        len(hidden_units) <= MOST_LAYERS,
        f"hidden_units must name at most {MOST_LAYERS:,} layers",
        len(hidden_units),
    )
    require(min(hidden_units) > 0, "hidden_units must be positive", hidden_units)
    require(0 <= dropout < 1, "dropout must be at least 0 and less than 1", dropout)
    dnn = layers.DNN(
        width,
        list(hidden_units),
        dropout_rate=dropout,
        use_bn=batch_norm,
        device=torch.get_default_device(),
    )
    for i, layer in enumerate(dnn.linears):
        dnn.linears[i] = linear = Linear(layer.in_features, layer.out_features)
        nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(linear.bias)
    return dnn
