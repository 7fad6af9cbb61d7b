"""Surrogates of a black box around its instances: many small networks, side by side.

Shapes: K networks, N samples, d features.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional

# Activations, and their gradients from the gradient [..] and the value [..] of what they return
ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "relu": (torch.relu_, lambda delta, h: torch.ops.aten.threshold_backward(delta, h, 0)),
    "softplus": (functional.softplus, lambda delta, h: delta * -torch.expm1(-h)),
}


@dataclass(frozen=True)
class SurrogateConfig:
    """The networks and their training (Tsang et al. 2020, section 6.1).

    Attributes:
        hidden_units: Widths of the hidden layers.
        activation: Activation of the hidden layers, `relu` or `softplus`.
        linear: Add a linear function of the features, unpenalised, to the network.
        l1: Factor of the penalty on the absolute weights of all layers.
        learning_rate: Learning rate of Adam.
        batch_size: Number of samples of a step.
        max_epochs: Largest number of passes over the training samples.
        patience: Number of epochs without a lower validation error after which a network has
            finished.
        bf16: Multiply in bfloat16.
    """

    hidden_units: tuple[int, ...] = (256, 128, 64)
    activation: str = "relu"
    linear: bool = False
    l1: float = 1e-4
    learning_rate: float = 1e-2
    batch_size: int = 100
    max_epochs: int = 100
    patience: int = 5
    bf16: bool = False


NID = SurrogateConfig()
# at 1e-2, one softplus network in twenty falls back to its linear part, and finds nothing; a
# product of four shows late: with a patience of 5, and in two of five networks of 20, the training
# ends before it does (`benchmarks/detection.py products`)
GRADIENT_NID = SurrogateConfig(
    activation="softplus", linear=True, l1=0.0, learning_rate=3e-3, patience=50, max_epochs=200
)


class SurrogateNetworks:
    """K multilayer perceptrons of one shape, as batched matrices.

        g_k(x) = W_L act(.. act(W_1 x + b_1) ..) + b_L  (+ v^T x)

    Args:
        config: Shape of the networks and their training; see `SurrogateConfig`.
        layers: Weights [K, in, out] and biases [K, 1, out] of each layer.
        linear: Weights [K, d, 1] of the linear part; None leaves it out.
    """

    def __init__(
        self, config: SurrogateConfig, layers: list[tuple[Tensor, Tensor]], linear: Tensor | None
    ) -> None:
        self.config = config
        self.layers = layers
        self.linear = linear

    @classmethod
    def random(
        cls, features: int, config: SurrogateConfig, generators: Sequence[torch.Generator]
    ) -> "SurrogateNetworks":
        """A network for each generator: U(-1/sqrt(in), 1/sqrt(in)), as `torch.nn.Linear`."""
        layers = []
        for inputs, outputs in pairwise([features, *config.hidden_units, 1]):
            drawn = torch.stack([torch.rand(inputs + 1, outputs, generator=g) for g in generators])
            drawn = (2 * drawn - 1) / inputs**0.5
            layers.append((drawn[:, :-1].contiguous(), drawn[:, -1:].contiguous()))
        linear = torch.zeros(len(generators), features, 1) if config.linear else None
        return cls(config, layers, linear)

    def __len__(self) -> int:
        return len(self.layers[0][0])

    @property
    def tensors(self) -> list[Tensor]:
        """All parameters."""
        flat = [tensor for layer in self.layers for tensor in layer]
        return flat if self.linear is None else [*flat, self.linear]

    def map(self, function: Callable[[Tensor], Tensor]) -> "SurrogateNetworks":
        """The networks with a function applied to every parameter."""
        layers = [(function(weight), function(bias)) for weight, bias in self.layers]
        linear = None if self.linear is None else function(self.linear)
        return SurrogateNetworks(self.config, layers, linear)

    def __getitem__(self, index: Tensor | slice) -> "SurrogateNetworks":
        return self.map(lambda tensor: tensor[index])

    def __call__(self, x: Tensor) -> Tensor:
        """[K, N, d] -> [K, N] in float32."""
        return self.forward(x)[0]

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """[K, N, d] -> [K, N] in float32, and what enters each layer, [K, N, in]."""
        activation, _ = ACTIVATIONS[self.config.activation]
        inputs = [x]
        with self._precision(x.device):
            for weight, bias in self.layers[:-1]:
                inputs.append(activation(torch.baddbmm(bias, inputs[-1], weight)))
            weight, bias = self.layers[-1]
            out = torch.baddbmm(bias, inputs[-1], weight)
            if self.linear is not None:
                out = out + torch.bmm(x, self.linear)
        return out.squeeze(2).float(), inputs

    def backward(self, inputs: list[Tensor], slope: Tensor) -> None:
        """Sets the gradients of the error plus the penalty.

        By hand: a third of the time of a step goes into memory that autograd would keep.

        Args:
            inputs: Inputs of the layers, as `forward` returns them.
            slope: [K, N] derivative of the error by the networks' values.
        """
        _, derivative = ACTIVATIONS[self.config.activation]
        delta = slope.unsqueeze(2)
        with self._precision(slope.device):
            if self.linear is not None:
                self.linear.grad = torch.bmm(inputs[0].transpose(1, 2), delta).float()
            for i in reversed(range(len(self.layers))):
                weight, bias = self.layers[i]
                weight.grad = torch.bmm(inputs[i].transpose(1, 2), delta).float()
                bias.grad = delta.sum(1, keepdim=True).float()
                if i:
                    delta = torch.bmm(delta, weight.transpose(1, 2))
                    delta = derivative(delta, inputs[i])
                if self.config.l1:
                    # l1 times the sign, which `sign` takes longer to find
                    penalty = (weight * 1e30).clamp_(-self.config.l1, self.config.l1)
                    weight.grad += penalty

    def _precision(self, device: torch.device) -> torch.autocast:
        return torch.autocast(device.type, torch.bfloat16, enabled=self.config.bf16)
