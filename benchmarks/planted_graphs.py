"""Planted truth in graphs: labels that two neighbours decide together, found in a trained network.

    python benchmarks/planted_graphs.py

Each node of a random graph has six neighbours and some of twelve ordinary words; one in eight has
the word A, one in eight the word B. Its label is 1 where, of itself and its neighbours, some have A
and some have B (`and`), or where some have one of them and none has the other (`xor`). A graph
network of one hop and hidden layers learns the labels of half of the nodes. Of the others those are
explained that have neither word themselves, one neighbour with A, and one with B. The truth is that
these two interact, and nothing else does: found is each interaction with a share of at least 1 %
(`--least`).

Precision is the share of what was found that is the pair, recall the share of explained nodes whose
pair was found; real are those that the network has, by the scores of all masks. Mains and joined
are mean R^2 on fresh masks of the main effects, and of these with the interactions.
"""

import argparse
import sys
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from common import PROJECT, console, make_table, print_machine
from scipy.linalg import hadamard

from zoo.glider.scoring import score
from zoo.glider.walsh import WalshConfig, walsh

sys.path.insert(0, str(PROJECT / "examples" / "domains"))
from gcn import Graph, simple_edges
from graph import Trained, instance_of

RULES = ("and", "xor")
FIT = ("precision", "recall", "mains", "joined")
NODES, ORDINARY, SHARE = 2000, 12, 1 / 8
A, B = ORDINARY, ORDINARY + 1  # the words that matter
NEAR = 0.8  # of the line: shares near it count
LEAST = 0.01  # share from which on an interaction counts as found


@dataclass(frozen=True)
class Figures:
    """What was found in a network.

    Attributes:
        accuracy: Share of the nodes it has not learned whose label is right.
        explained: Number of explained nodes.
        found: Number of interactions found.
        right: Number of those that are the planted pair.
        real: Number of those that the network has: their exact share is the least one or more.
        linear: Mean R^2 of the main effects.
        joined: Mean R^2 with the interactions.
    """

    accuracy: float
    explained: int
    found: int
    right: int
    real: int
    linear: float
    joined: float

    @property
    def precision(self) -> float:
        """Share of what was found that is planted."""
        return self.right / max(self.found, 1)

    @property
    def recall(self) -> float:
        """Share of what is planted that was found."""
        return self.right / max(self.explained, 1)


def planted(rule: str, seed: int, nodes: int = NODES) -> tuple[Graph, list[tuple[int, int, int]]]:
    """A graph, and nodes that are not learned, each with its neighbour with A and that with B.

    Args:
        rule: What makes a label 1, one of `RULES`.
        seed: Seed of what is drawn.
        nodes: Number of nodes.
    """
    random = np.random.default_rng(seed)
    rings = [random.permutation(nodes) for _ in range(3)]
    edges = simple_edges(np.concatenate([np.stack((r, np.roll(r, 1)), 1) for r in rings]))
    words = random.random((nodes, ORDINARY + 2)) < 0.2
    drawn = random.random(nodes)
    words[:, A], words[:, B] = drawn < SHARE, drawn > 1 - SHARE  # never both
    links = np.eye(nodes, dtype=bool)
    links[edges[0], edges[1]] = links[edges[1], edges[0]] = True
    has_a, has_b = links @ words[:, A], links @ words[:, B]
    label = has_a & has_b if rule == "and" else has_a ^ has_b
    order = random.permutation(nodes)
    learned, others = order[: nodes // 2], order[nodes // 2 :]
    pairs = []
    for node in others.tolist():
        a, b = (np.flatnonzero(links[node] & words[:, word]).tolist() for word in (A, B))
        if len(a) == len(b) == 1 and node not in a + b:
            pairs.append((node, a[0], b[0]))
    graph = Graph(
        torch.from_numpy(words).float(),
        torch.from_numpy(label.astype(np.int64)),
        edges,
        ["0", "1"],
        [str(i) for i in range(nodes)],
        torch.from_numpy(learned),
        torch.from_numpy(others),
    )
    return graph, pairs


def measured(
    rule: str,
    seed: int,
    explained: int,
    nodes: int = NODES,
    least: float = LEAST,
    **options: Any,
) -> Figures:
    """What is found in a network that has learned a planted graph.

    Args:
        rule: What makes a label 1.
        seed: Seed of graph, network and masks.
        explained: Largest number of explained nodes.
        nodes: Number of nodes of the graph.
        least: Share from which on an interaction counts as found.
        options: Those of `gcn.trained`.
    """
    graph, pairs = planted(rule, seed, nodes)
    learning = {"epochs": 300, "decay": 0.0, "dropout": 0.0} | options
    network = Trained.of(graph, seed, layers=3, hops=1, **learning)
    sets, right, real, r2 = 0, 0, 0, []
    for node, a, b in islice(pairs, explained):
        instance, around = instance_of(network, node), network.around(node)
        config = WalshConfig(min_gain=least)
        (found,) = walsh(instance.scores, [instance.x], instance.switches, config, seed)
        shares = exact_shares(instance)
        real += sum(shares[frozenset(c.features)] >= least * NEAR for c in found.interactions)
        named = [{around[i] for i in c.features} for c in found.interactions]
        sets, right = sets + len(named), right + named.count({a, b})
        r2.append(found.r2[1:])
    linear, joined = np.mean(r2, axis=0).tolist()
    return Figures(network.accuracy, len(r2), sets, right, real, linear, joined)


def exact_shares(instance: Any) -> dict[frozenset[int], float]:
    """The share of each set of nodes in the variance of the scores, from those of all masks."""
    count = len(instance.names)
    bits = np.arange(2**count)[:, None] >> np.arange(count) & 1
    masks = torch.from_numpy(bits).float()
    y = score(instance.scores, instance.switches.apply(instance.x, masks)).double().numpy()
    squares = np.square(hadamard(2**count) @ y / 2**count)  # its rows are the products of signs
    squares[0] = 0
    shares = (squares / squares.sum()).tolist()
    return {frozenset(np.flatnonzero(b).tolist()): s for b, s in zip(bits, shares, strict=True)}


def main() -> None:
    """Prints what was found of each rule and seed."""
    parser = argparse.ArgumentParser(description="Labels that two neighbours decide")
    parser.add_argument("--seeds", type=int, default=5, help="number of seeds, from 0 on")
    parser.add_argument("--nodes", type=int, default=100, help="nodes to explain of each graph")
    parser.add_argument("--least", type=float, default=LEAST, help="share that counts as found")
    given = parser.parse_args()
    torch.set_num_threads(1)
    print_machine("torch", "numpy")
    columns = (
        "seed",
        "accuracy",
        "nodes",
        "found",
        "real",
        "precision",
        "recall",
        "mains",
        "joined",
    )
    table = make_table("Labels that two neighbours decide", "rule", *columns)
    for rule in RULES:
        for seed in range(given.seeds):
            f = measured(rule, seed, given.nodes, least=given.least)
            counts = (str(seed), f"{f.accuracy:.3f}", str(f.explained), str(f.found), str(f.real))
            shares = (f"{v:.3f}" for v in (f.precision, f.recall, f.linear, f.joined))
            table.add_row(rule, *counts, *shares)
    console.print(table)


if __name__ == "__main__":
    main()
