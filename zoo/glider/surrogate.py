"""Explainers: many small networks, trained at once.

Shapes: K networks, N samples, d features, H units of the first layer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from zoo.nn.linear import onednn_products
from zoo.nn.memory import keep_freed_memory

# Activations, and their gradients from the gradient [..] and the value [..] of what they return
ACTIVATIONS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]]] = {
    "relu": (torch.relu_, lambda delta, h: torch.ops.aten.threshold_backward(delta, h, 0)),
    "softplus": (functional.softplus, lambda delta, h: delta * -torch.expm1(-h)),
}


@dataclass(frozen=True)
class SurrogateConfig:
    """The networks and their training (Tsang et al. 2020, section 6.1).

    Attributes:
        hidden_units: widths of the hidden layers.
        activation: `relu` or `softplus`.
        linear: add a linear function of the features, unpenalised, to the network.
        l1: penalty on the absolute weights of all layers.
        learning_rate: of Adam.
        batch_size: samples of a step.
        max_epochs: at most.
        patience: epochs without a lower validation error after which a network has finished.
        bf16: multiply in bfloat16.
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
# at 1e-2, one softplus network in twenty falls back to its linear part, and finds nothing
GRADIENT_NID = SurrogateConfig(activation="softplus", linear=True, l1=0.0, learning_rate=3e-3)


class Networks:
    """K multilayer perceptrons of one shape, as batched matrices.

        g_k(x) = W_L act(.. act(W_1 x + b_1) ..) + b_L  (+ v^T x)

    Args:
        settings: see `SurrogateConfig`.
        layers: pairs of weights [K, in, out] and biases [K, 1, out].
        linear: [K, d, 1], or None.
    """

    def __init__(
        self, settings: SurrogateConfig, layers: list[tuple[Tensor, Tensor]], linear: Tensor | None
    ) -> None:
        self.settings = settings
        self.layers = layers
        self.linear = linear

    @classmethod
    def random(
        cls, features: int, settings: SurrogateConfig, generators: Sequence[torch.Generator]
    ) -> "Networks":
        """A network for each generator: U(-1/sqrt(in), 1/sqrt(in)), as `torch.nn.Linear`."""
        layers = []
        for inputs, outputs in pairwise([features, *settings.hidden_units, 1]):
            drawn = torch.stack([torch.rand(inputs + 1, outputs, generator=g) for g in generators])
            drawn = (2 * drawn - 1) / inputs**0.5
            layers.append((drawn[:, :-1].contiguous(), drawn[:, -1:].contiguous()))
        linear = torch.zeros(len(generators), features, 1) if settings.linear else None
        return cls(settings, layers, linear)

    def __len__(self) -> int:
        return len(self.layers[0][0])

    @property
    def tensors(self) -> list[Tensor]:
        """All parameters."""
        flat = [tensor for layer in self.layers for tensor in layer]
        return flat if self.linear is None else [*flat, self.linear]

    def map(self, function: Callable[[Tensor], Tensor]) -> "Networks":
        """The networks with a function applied to every parameter."""
        layers = [(function(weight), function(bias)) for weight, bias in self.layers]
        linear = None if self.linear is None else function(self.linear)
        return Networks(self.settings, layers, linear)

    def __getitem__(self, index: Tensor | slice) -> "Networks":
        return self.map(lambda tensor: tensor[index])

    def __call__(self, x: Tensor) -> Tensor:
        """[K, N, d] -> [K, N] in float32."""
        return self.forward(x)[0]

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """[K, N, d] -> [K, N] in float32, and what enters each layer, [K, N, in]."""
        activation, _ = ACTIVATIONS[self.settings.activation]
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
            inputs: of the layers, as `forward` gives them.
            slope: [K, N] derivative of the error by the networks' values.
        """
        _, derivative = ACTIVATIONS[self.settings.activation]
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
                if self.settings.l1:
                    # l1 times the sign, which `sign` takes longer to find
                    penalty = (weight * 1e30).clamp_(-self.settings.l1, self.settings.l1)
                    weight.grad += penalty

    def _precision(self, device: torch.device) -> torch.autocast:
        return torch.autocast(device.type, torch.bfloat16, enabled=self.settings.bf16)


class Samples(NamedTuple):
    """What networks learn from: inputs [K, N, d], targets and weights of samples [K, N]."""

    x: Tensor
    y: Tensor
    weight: Tensor | None = None

    def of(self, index: Tensor | int) -> "Samples":
        """Those of some networks, or of one."""
        return Samples(*(None if part is None else part[index] for part in self))


def standardise(train: Samples, *others: Samples) -> list[Samples]:
    """Targets less their mean over the training samples, divided by their deviation.

    So that `l1` means the same for every instance. Constant targets become zero.
    """
    mean, deviation = train.y.mean(1, keepdim=True), train.y.std(1, keepdim=True)
    # rounding of a constant must not become a target
    deviation = torch.where(deviation > 1e-6 * (1 + mean.abs()), deviation, torch.inf)
    return [s._replace(y=(s.y - mean) / deviation) for s in (train, *others)]


def error(predicted: Tensor, samples: Samples) -> tuple[Tensor, Tensor]:
    """[K] mean squared error, by the samples' weights; [K, N] its derivative."""
    difference = predicted - samples.y
    share = torch.ones_like(difference) if samples.weight is None else samples.weight
    share = share / share.sum(1, keepdim=True)
    return (share * difference.square()).sum(1), 2 * share * difference


@torch.no_grad()
@onednn_products()
def fit(
    train: Samples, val: Samples, settings: SurrogateConfig, generators: Sequence[torch.Generator]
) -> tuple[Networks, Tensor]:
    """Trains K networks, each on its own samples, and gives their best weights.

    Each has its own initialisation and order of samples, from its own generator, and its own
    early stopping; those that have finished leave the batch. So a network becomes the same
    whatever it is trained beside, but for rounding. The targets should be standardised.

    Returns:
        the networks, and [K] their validation errors.
    """
    count, _, features = train.x.shape
    device = train.x.device
    if device.type == "cpu":
        keep_freed_memory()
    start = Networks.random(features, settings, generators).map(lambda t: t.to(device))
    best, errors = start.map(torch.clone), torch.full((count,), torch.inf, device=device)
    active = torch.arange(count, device=device)
    stale = torch.zeros(count, dtype=torch.long, device=device)
    networks, optimizer = start, _optimizer(start, settings)
    for _ in range(settings.max_epochs):
        _train_epoch(networks, optimizer, train, generators)
        found, _ = error(networks(val.x), val)
        better = found < errors[active]
        places = active[better]
        errors[places] = found[better]
        for kept, now in zip(best.tensors, networks.tensors, strict=True):
            kept[places] = now[better]
        stale = torch.where(better, 0, stale + 1)
        going = stale < settings.patience
        if not going.any():
            break
        if not going.all():
            active, stale = active[going], stale[going]
            train, val = train.of(going), val.of(going)
            generators = [g for g, goes in zip(generators, going.tolist(), strict=True) if goes]
            networks, optimizer = _keep(networks, optimizer, going)
    return best, errors


def _optimizer(networks: Networks, settings: SurrogateConfig) -> torch.optim.Adam:
    return torch.optim.Adam(networks.tensors, lr=settings.learning_rate, fused=True)


def _keep(
    networks: Networks, optimizer: torch.optim.Adam, index: Tensor
) -> tuple[Networks, torch.optim.Adam]:
    """Some of the networks, and the optimiser with their moments."""
    kept = networks[index]
    new = _optimizer(kept, networks.settings)
    for old_tensor, tensor in zip(networks.tensors, kept.tensors, strict=True):
        state = optimizer.state[old_tensor]
        moments = {name: state[name][index] for name in ("exp_avg", "exp_avg_sq")}
        new.state[tensor] = {"step": state["step"], **moments}
    return kept, new


def _train_epoch(
    networks: Networks,
    optimizer: torch.optim.Adam,
    train: Samples,
    generators: Sequence[torch.Generator],
) -> None:
    settings = networks.settings
    train = _shuffled(train, generators)
    for first in range(0, train.y.shape[1], settings.batch_size):
        part = slice(first, first + settings.batch_size)
        batch = Samples(*(None if t is None else t[:, part] for t in train))
        predicted, inputs = networks.forward(batch.x)
        networks.backward(inputs, error(predicted, batch)[1])
        optimizer.step()


def _shuffled(samples: Samples, generators: Sequence[torch.Generator]) -> Samples:
    """The samples of each network in a new order."""
    count = samples.y.shape[1]
    orders = [torch.randperm(count, generator=g).to(samples.y.device) for g in generators]
    return Samples(
        *(
            None if part is None else torch.stack([x[o] for x, o in zip(part, orders, strict=True)])
            for part in samples
        )
    )
