"""DNA: which letters a network that recognises a binding site needs together.

    python examples/domains/dna.py --output dna.html

A small network of convolutions learns which sequences hold a site of the transcription factor MYC.
Around held-out sequences, sites and decoys, each position is switched off by another letter at
random; what the network makes of that shows which letters it takes one by one, and which it needs
together.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from black_box import BlackBox, Instance
from dna_network import DNACNN, Trained, trained
from dna_sequences import BOUND, LETTERS, MATRIX, RELEASE, SITE, text_of
from torch import Tensor

from zoo.data.errors import ZooError
from zoo.data.files import atomic_file
from zoo.glider.domains.found import Shown, shown
from zoo.glider.domains.sequences import OtherLetters
from zoo.glider.scoring import score
from zoo.glider.walsh import SharedMasks, WalshConfig
from zoo.inspect.domains.page import ExplainedInstance, page
from zoo.inspect.domains.sequences import Logo

COUNT = 40  # instances of the black box
CONFIG = WalshConfig(masks=3000)  # each pair has a few percent of the variance at most
PAGE = ((0, 3), (1, 2), (2, 1))  # letters that differ from the site, and sequences of the page
LEAD = (
    "A network of two convolutions that says whether the transcription factor MYC binds a sequence "
    "of 36 letters; trained on sites around CACGTG and decoys."
)
READING = (
    "Letters as large as what they add by themselves, below the line where they lower the logit. "
    "A bracket joins letters that act together, with what they add: blue raises the logit, orange "
    "lowers it."
)


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
    text = text_of(letters)
    names = [f"{letter}{place}" for place, letter in enumerate(text, 1)]
    title = f"{text[start : start + len(SITE)]} at {start + 1}"
    switches = OtherLetters(len(LETTERS), seed=row)
    return Instance(torch.as_tensor(letters), switches, names, title, scores_of(model.network))


def scores_of(network: DNACNN) -> Callable[[Any], Tensor]:
    """The logits of a network without gradients."""

    def scores(rows: Any) -> Tensor:
        with torch.no_grad():
            return network(rows)

    return scores


def explained(instances: Sequence[Instance], seed: int = 0) -> list[Shown]:
    """What is found around sequences: interactions that raise the logit, and those that lower it.

    Args:
        instances: The sequences.
        seed: Seed of which positions are switched off.
    """
    masks = SharedMasks(len(instances[0].x), CONFIG, seed)
    scored = (masks.scores(one.scores, one.x, one.switches) for one in instances)
    return [shown(masks.explain(y), by_sign=True) for y in scored]


def chosen(model: Trained) -> list[Instance]:
    """Some held-out sequences with the site, and with one and two other letters in its place."""
    distances = model.held_out.distances
    rows = [row for d, count in PAGE for row in np.flatnonzero(distances == d)[:count].tolist()]
    return [instance_of(model, row) for row in rows]


def holds_site(found: Shown, start: int) -> bool:
    """Whether all six letters from a position on raise the logit together, in one set.

    Args:
        found: What was found around a sequence.
        start: The position.
    """
    six = {*range(start, start + len(SITE))}
    return any(six <= {*features} for features, value in found.interactions if value > 0)


def on_page(instance: Instance, found: Shown, reading: str = "") -> ExplainedInstance:
    """A sequence as it is shown.

    Args:
        instance: The sequence.
        found: What was found around it.
        reading: How to read its picture, one sentence.
    """
    logit = float(score(instance.scores, instance.x[None])[0])
    text = text_of(instance.x)
    said = f"{text} {'is' if logit > 0 else 'is not'} bound, says the network (logit {logit:+.2f})."
    picture = Logo(text, found.mains, found.interactions, reading)
    parts = (instance.names, found.mains, found.interactions, picture, found.r2)
    return ExplainedInstance(instance.title, said, *parts)


def lines(instance: Instance, found: Shown) -> list[str]:
    """What was found around a sequence, as text."""
    sets = [
        f"  {value:+6.2f} {' '.join(instance.names[i] for i in features)}"
        for features, value in found.interactions
    ]
    fit = f"  R2 {found.r2[0]:.2f} of single letters, {found.r2[1]:.2f} with what they do together"
    return [f"{text_of(instance.x)}  {instance.title}", *(sets or ["  nothing together"]), fit]


def main() -> None:
    """Trains the network, prints what was found and writes the page."""
    parser = argparse.ArgumentParser(description="Which letters a network of DNA needs together")
    parser.add_argument("--output", type=Path, default=Path("dna.html"), help="page to write")
    parser.add_argument("--seed", type=int, default=0, help="seed of sequences and network")
    parser.add_argument("--quick", action="store_true", help="a smaller network, fewer sequences")
    given = parser.parse_args()
    if given.output.is_dir():
        raise SystemExit(f"error: --output: {given.output}: is a folder, name a file in it")
    try:
        with atomic_file(given.output) as partial:  # what cannot be written fails at once
            text = made(given.quick, given.seed)
            partial.write_text(text, encoding="utf-8")
    except ZooError as error:
        raise SystemExit(f"error: {error}") from None
    except OSError as error:
        raise SystemExit(f"error: --output: {given.output}: {error.strerror}") from None
    print(f"\n{given.output}")


def made(quick: bool, seed: int) -> str:
    """The page; what it shows is printed too.

    Args:
        quick: Train a smaller network on fewer sequences.
        seed: Seed of sequences and network.
    """
    model = trained(quick, seed)
    facts = [f"accuracy on held-out sequences {model.accuracy:.1%}", f"motif {MATRIX} of {RELEASE}"]
    print("; ".join(facts))
    instances = chosen(model)
    found = explained(instances, seed)
    for pair in zip(instances, found, strict=True):
        print(*lines(*pair), sep="\n")
    readings = [READING, *[""] * (len(found) - 1)]
    return page("DNA: MYC", LEAD, map(on_page, instances, found, readings), facts)


if __name__ == "__main__":
    main()
