"""DNA-CNN: a network of two convolutions that says whether a sequence is bound.

Shapes: N sequences, T positions.
"""

from dataclasses import dataclass

import numpy as np
import torch
from dna_sequences import LETTERS, Sequences, draw
from torch import Tensor, nn
from torch.nn import functional

from zoo.glider.perturb import generator

BATCH = 128


class DNACNN(nn.Module):
    """Two convolutions, of which the largest values over positions and both strands are weighed.

    A sequence and its other strand have the same score.

    Args:
        channels: Number of channels of both convolutions.
    """

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv1d(len(LETTERS), channels, 7, padding=3),
            nn.ReLU(),
            nn.Conv1d(channels, channels, 5, padding=2),
            nn.ReLU(),
        )
        self.last = nn.Linear(channels, 1)

    def forward(self, letters: Tensor) -> Tensor:
        """[N] logits of sequences [N, T]."""
        one_hot = functional.one_hot(letters, len(LETTERS)).float().transpose(1, 2)
        both = torch.cat((one_hot, one_hot.flip(1, 2)))  # A and T, C and G are each other's
        strands = self.layers(both).amax(2).view(2, len(letters), -1)
        return self.last(strands.amax(0)).squeeze(1)


@dataclass(frozen=True)
class Trained:
    """A network and what it has not been trained on.

    Attributes:
        network: The network.
        held_out: Further sequences, of all kinds.
        accuracy: Its accuracy on these.
    """

    network: DNACNN
    held_out: Sequences
    accuracy: float


def trained(quick: bool = False, seed: int = 0) -> Trained:
    """A network that was trained on sequences of all kinds.

    Args:
        quick: Take fewer sequences and channels.
        seed: Seed of sequences and network.
    """
    random = np.random.default_rng(seed)
    train, held_out = (draw(n, random) for n in ((8000, 1000) if quick else (20_000, 4000)))
    network = network_of(train, *((16, 10) if quick else (32, 20)), seed)
    with torch.no_grad():
        said = network(torch.as_tensor(held_out.letters)) > 0
    right = said.numpy() == (held_out.bound > 0)
    return Trained(network, held_out, float(right.mean()))


def network_of(train: Sequences, channels: int, epochs: int, seed: int) -> DNACNN:
    """A network that has learned to tell the bound sequences, by the cross-entropy of its logits.

    Args:
        train: The sequences.
        channels: Number of channels of the convolutions.
        epochs: How often it sees each.
        seed: Seed of its weights, and of the order of the sequences.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = DNACNN(channels)
    letters, bound = torch.as_tensor(train.letters), torch.as_tensor(train.bound)
    optimizer = torch.optim.AdamW(network.parameters(), 5e-3, weight_decay=1e-3)
    steps = epochs * -(-len(letters) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=steps)
    random = generator(seed)
    for _ in range(epochs):
        for rows in torch.randperm(len(letters), generator=random).split(BATCH):
            loss = functional.binary_cross_entropy_with_logits(network(letters[rows]), bound[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()
