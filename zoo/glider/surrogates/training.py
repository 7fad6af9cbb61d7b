"""The training of surrogate networks, all at once, each on its own samples.

Shapes: K networks, N samples, d features.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import accumulate, pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from zoo.glider.surrogates.networks import SurrogateConfig, SurrogateNetworks
from zoo.nn.device import is_cpu
from zoo.nn.linear import onednn_products
from zoo.nn.memory import keep_freed_memory

AT_MOST = 512  # networks at once on a GPU: from there on launches cost less than products
SHARE = 4  # of the memory of a GPU, one part in so many
THREADS = 8  # that draw the orders of samples for a GPU


class Samples(NamedTuple):
    """What networks learn from.

    Attributes:
        x: [K, N, d] inputs.
        y: [K, N] targets.
        weight: [K, N] weights of the samples; None where all count alike.
    """

    x: Tensor
    y: Tensor
    weight: Tensor | None = None

    def map(self, function: Callable[[Tensor], Tensor]) -> "Samples":
        """The samples with a function applied to inputs, targets and weights."""
        weight = None if self.weight is None else function(self.weight)
        return Samples(x=function(self.x), y=function(self.y), weight=weight)

    def of(self, networks: Tensor | int) -> "Samples":
        """The samples of some networks, by number or by mask, or of one."""
        return self.map(lambda part: part[networks])

    def part(self, start: int, stop: int) -> "Samples":
        """Of each network the samples start .. stop - 1."""
        return self.map(lambda part: part[:, start:stop])

    def split(self, counts: Sequence[int]) -> "list[Samples]":
        """Of each network the samples in parts of so many."""
        ends = accumulate(counts)
        return [self.part(end - count, end) for count, end in zip(counts, ends, strict=True)]


def standardise(train: Samples, *others: Samples) -> list[Samples]:
    """Targets less their mean over the training samples, divided by their deviation.

    So that `l1` means the same for every instance. Constant targets become zero.
    """
    mean, deviation = train.y.mean(1, keepdim=True), train.y.std(1, keepdim=True)
    # rounding of a constant must not become a target
    deviation = torch.where(deviation > 1e-6 * (1 + mean.abs()), deviation, torch.inf)
    return [s._replace(y=(s.y - mean) / deviation) for s in (train, *others)]


def networks_at_once(
    config: SurrogateConfig, features: int, samples: Sequence[int], device: torch.device
) -> int:
    """How many networks are trained side by side on a GPU.

    There a step costs its launches, whatever the number: as many as a part of its memory holds,
    a power of two. It is the memory of the device, not what is free of it, so that all processes,
    and a run that goes on after another, come to the same number.

    Args:
        config: Shape of the networks; see `SurrogateConfig`.
        features: Number of features.
        samples: Numbers of training, validation and further samples of a network.
        device: The GPU.
    """
    _, memory = torch.cuda.mem_get_info(device)
    fit_in = memory // SHARE // bytes_of(config, features, samples)
    return min(AT_MOST, 1 << max(fit_in.bit_length() - 1, 0))


def bytes_of(config: SurrogateConfig, features: int, samples: Sequence[int]) -> int:
    """Bytes that the training of a network takes: float32 numbers, of which it holds

    weights five times (their gradients, two moments, the best), its samples and these in another
    order, and what enters and leaves each layer in a step or a validation, with gradients.
    """
    widths = [features, *config.hidden_units, 1]
    weights = sum((inputs + 1) * outputs for inputs, outputs in pairwise(widths))
    kept = (sum(samples) + samples[0]) * (features + 2)
    passed = 3 * max(config.batch_size, *samples[1:]) * sum(widths)
    return 4 * (5 * weights + kept + passed)


def error(predicted: Tensor, samples: Samples) -> tuple[Tensor, Tensor]:
    """[K] mean squared errors, by the samples' weights, and [K, N] their derivatives."""
    difference = predicted - samples.y
    share = torch.ones_like(difference) if samples.weight is None else samples.weight
    share = share / share.sum(1, keepdim=True)
    return (share * difference.square()).sum(1), 2 * share * difference


@torch.no_grad()
@onednn_products()
def fit(
    train: Samples, val: Samples, config: SurrogateConfig, generators: Sequence[torch.Generator]
) -> tuple[SurrogateNetworks, Tensor]:
    """Trains K networks, each on its own samples, and returns their best weights.

    Each has its own initialisation and order of samples, from its own generator, and its own
    early stopping; those that have finished leave the batch. So a network becomes the same
    whatever it is trained beside, but for rounding. The targets should be standardised.

    Args:
        train: Training samples of each network.
        val: Validation samples of each network, which decide when it has finished.
        config: Shape of the networks and their training; see `SurrogateConfig`.
        generators: Random numbers of each network.

    Returns:
        The networks, and [K] their validation errors.
    """
    count, _, features = train.x.shape
    device = train.x.device
    if device.type == "cpu":
        keep_freed_memory()
    start = SurrogateNetworks.random(features, config, generators).map(lambda t: t.to(device))
    best, errors = start.map(torch.clone), torch.full((count,), torch.inf, device=device)
    active = torch.arange(count, device=device)
    stale = torch.zeros(count, dtype=torch.long, device=device)
    networks, optimizer = start, _optimizer(start, config)
    for _ in range(config.max_epochs):
        _train_epoch(networks, optimizer, train, generators)
        found, _ = error(networks(val.x), val)
        better = found < errors[active]
        _take_over([errors, *best.tensors], [found, *networks.tensors], active, better)
        stale = torch.where(better, 0, stale + 1)
        goes = (stale < config.patience).tolist()
        if not any(goes):
            break
        if not all(goes):
            going = torch.tensor([i for i, on in enumerate(goes) if on], device=device)
            active, stale = active[going], stale[going]
            train, val = train.of(going), val.of(going)
            generators = [generators[i] for i, on in enumerate(goes) if on]
            networks, optimizer = _keep(networks, optimizer, going)
    return best, errors


def _take_over(
    kept: Sequence[Tensor], found: Sequence[Tensor], active: Tensor, better: Tensor
) -> None:
    """Gives those of the `active` networks that are `better` what was found of them."""
    if is_cpu(better):
        places = active[better]
        for old, new in zip(kept, found, strict=True):
            old[places] = new[better]
        return
    for old, new in zip(kept, found, strict=True):  # of a GPU, how many are better is not asked
        takes = better.view(-1, *[1] * (new.ndim - 1))
        old.index_copy_(0, active, torch.where(takes, new, old[active]))


def _optimizer(networks: SurrogateNetworks, config: SurrogateConfig) -> torch.optim.Adam:
    return torch.optim.Adam(networks.tensors, lr=config.learning_rate, fused=True)


def _keep(
    networks: SurrogateNetworks, optimizer: torch.optim.Adam, index: Tensor
) -> tuple[SurrogateNetworks, torch.optim.Adam]:
    """Some of the networks, and an optimiser with their moments."""
    kept = networks[index]
    new = _optimizer(kept, networks.config)
    for old_tensor, tensor in zip(networks.tensors, kept.tensors, strict=True):
        state = optimizer.state[old_tensor]
        moments = {name: state[name][index] for name in ("exp_avg", "exp_avg_sq")}
        new.state[tensor] = {"step": state["step"], **moments}
    return kept, new


def _train_epoch(
    networks: SurrogateNetworks,
    optimizer: torch.optim.Adam,
    train: Samples,
    generators: Sequence[torch.Generator],
) -> None:
    config = networks.config
    train = _shuffled(train, generators)
    for first in range(0, train.y.shape[1], config.batch_size):
        batch = train.part(first, first + config.batch_size)
        predicted, inputs = networks.forward(batch.x)
        networks.backward(inputs, error(predicted, batch)[1])
        optimizer.step()


def _shuffled(samples: Samples, generators: Sequence[torch.Generator]) -> Samples:
    """The samples of each network in a new order."""
    networks, count = samples.y.shape
    if not is_cpu(samples.y):
        orders = torch.stack(_drawn_by_threads(count, generators))
        orders += torch.arange(networks).unsqueeze(1) * count
        places = orders.flatten().to(samples.y.device)
        return samples.map(lambda x: x.flatten(0, 1).index_select(0, places).view_as(x))
    orders = [torch.randperm(count, generator=g) for g in generators]
    return samples.map(
        lambda part: torch.stack([x[order] for x, order in zip(part, orders, strict=True)])
    )


def _drawn_by_threads(count: int, generators: Sequence[torch.Generator]) -> list[Tensor]:
    """[count] an order from each generator, for which a GPU waits longer than for an epoch."""
    each = -(-len(generators) // THREADS)
    parts = [generators[i : i + each] for i in range(0, len(generators), each)]
    with ThreadPoolExecutor(THREADS) as pool:
        drawn = pool.map(lambda mine: [torch.randperm(count, generator=g) for g in mine], parts)
        return [order for orders in drawn for order in orders]
