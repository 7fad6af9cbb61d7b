"""DNA: which letters a network that recognises a binding site needs together.

python examples/domains/dna.py --output dna.html
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from black_box import BlackBox, Instance
from dna_network import DNACNN, Trained, trained
from dna_sequences import BOUND, LETTERS, SITE, text_of
from torch import Tensor

from zoo.glider.domains.sequences import OtherLetters

COUNT = 40  # instances of the black box


def black_boxes(quick: bool = False, seed: int = 0, data: Path | None = None) -> list[BlackBox]:
    """DNA-CNN, with held-out sequences that hold CACGTG.

    Args:
        quick: Train a smaller network on fewer sequences.
        seed: Seed of sequences and network.
        data: No files are needed.
    """
    model = trained(quick, seed)
    rows = np.flatnonzero(model.held_out.kinds == BOUND)[:COUNT]
    return [BlackBox("DNA-CNN", [instance_of(model, int(row)) for row in rows], model.accuracy)]


def instance_of(model: Trained, row: int) -> Instance:
    """A held-out sequence.

    Args:
        model: The network and its held-out sequences.
        row: Number of the sequence.
    """
    letters, start = model.held_out.letters[row], int(model.held_out.starts[row])
    names = [f"{LETTERS[letter]}{place}" for place, letter in enumerate(letters, 1)]
    there = text_of(letters[start : start + len(SITE)])
    title = f"{there} at {start + 1}"
    return Instance(
        torch.as_tensor(letters), OtherLetters(len(LETTERS)), names, title, scores_of(model.network)
    )


def scores_of(network: DNACNN) -> Callable[[Any], Tensor]:
    """The logits of a network without gradients."""

    def scores(rows: Any) -> Tensor:
        with torch.no_grad():
            return network(rows)

    return scores
