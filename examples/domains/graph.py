"""Graphs: which neighbours a graph convolutional network needs together.

    python examples/domains/graph.py --output graph.html

A network of three layers says what papers are about. What it says of one depends on the papers within
three steps alone: each of these is a part that is off where it has no words, or no edges.

Shapes: V nodes, v nodes of a neighbourhood, N copies of it, C classes.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from black_box import BlackBox, Instance
from gcn import GCN, Graph, accuracy, trained
from papers import cora, generated
from torch import Tensor

from zoo.glider.domains.graphs import Nodes, neighbourhood

COUNT = 40  # instances of the black box
SIZES = range(10, 113)  # of neighbourhoods; the paper's instances have 18 to 112 features
Off = Literal["features", "edges"]


def black_boxes(quick: bool = False, seed: int = 0, data: Path | None = None) -> list[BlackBox]:
    """GCN, with test papers whose neighbourhood has 10 to 112 papers.

    Args:
        quick: Generated papers in place of Cora.
        seed: Seed of the network, of the choice of papers, and of generated ones.
        data: Folder with the files of Cora; None downloads them.
    """
    graph = generated(seed) if quick else cora(data)
    model = trained(graph, seed)
    chosen = (around(model, graph, node) for node in picked(graph, model.hops, seed))
    found = [instance for instance, _ in zip(chosen, range(COUNT), strict=False)]
    return [BlackBox("GCN", found, accuracy(model, graph))]


def picked(graph: Graph, hops: int, seed: int) -> Iterator[int]:
    """Test nodes in random order, of those whose neighbourhood is neither small nor large."""
    for node in np.random.default_rng(seed).permutation(graph.test.numpy()).tolist():
        if len(neighbourhood(graph.edges, node, hops)) in SIZES:
            yield node


def around(model: GCN, graph: Graph, node: int, off: Off = "features") -> Instance:
    """A node and its neighbourhood, as the black box that its logit is.

    Args:
        model: The network.
        graph: The graph.
        node: Number of the node.
        off: What is zero of a node that is off; the explained node keeps its edges.
    """
    nodes = neighbourhood(graph.edges, node, model.hops)
    place, every = nodes.index(node), torch.tensor(nodes)
    with torch.no_grad():
        first = model.first(graph.words[every])
    names = [f"{graph.ids[n]} {graph.classes[graph.label[n]]}" for n in nodes]
    title = f"{graph.ids[node]} {graph.classes[graph.label[node]]}"
    local = _part(graph.adjacency, every)
    if off == "features":  # a node without words is zero in X W_1 as well
        scores = scores_of(model, place, lambda rows: (rows, local), first)
        return Instance(first, Nodes(range(len(nodes))), names, title, scores)
    links = (local > 0).float().fill_diagonal_(0)
    beyond = _degrees(graph)[every] - links.sum(1)
    normal = _normalised(beyond)
    scores = scores_of(model, place, lambda rows: (first, normal(rows)), links)
    others = [n for n in range(len(nodes)) if n != place]
    return Instance(links, Nodes(others, off), [names[n] for n in others], title, scores)


def _part(adjacency: Tensor, nodes: Tensor) -> Tensor:
    """[v, v] rows and columns of some nodes."""
    return adjacency.index_select(0, nodes).index_select(1, nodes).to_dense()


def _degrees(graph: Graph) -> Tensor:
    """[V] number of neighbours of each node."""
    return torch.bincount(graph.edges.flatten(), minlength=len(graph.label)).float()


def _normalised(beyond: Tensor) -> Callable[[Tensor], Tensor]:
    """A' of adjacency matrices [N, v, v] whose nodes have further neighbours beyond [v]."""

    def normal(rows: Tensor) -> Tensor:
        looped = rows + torch.eye(len(beyond))
        root = (looped.sum(2) + beyond).rsqrt()
        return root.unsqueeze(2) * looped * root.unsqueeze(1)

    return normal


def scores_of(
    model: GCN,
    place: int,
    inputs: Callable[[Tensor], tuple[Tensor, Tensor]],
    own: Tensor,
) -> Callable[[Any], Tensor]:
    """The logit of what a network says of a node: log p / (1 - p) of the class.

    Args:
        model: The network.
        place: Place of the node in its neighbourhood.
        inputs: X W_1 [.., v, hidden] and A' [.., v, v] of copies of the neighbourhood.
        own: The neighbourhood itself.
    """

    def logits(rows: Tensor) -> Tensor:
        with torch.no_grad():
            return model.from_first(*inputs(rows))[:, place]

    said = int(logits(own.unsqueeze(0)).argmax())

    def scores(rows: Tensor) -> Tensor:
        found = logits(rows)
        others = torch.cat((found[:, :said], found[:, said + 1 :]), 1)
        return found[:, said] - others.logsumexp(1)

    return scores
