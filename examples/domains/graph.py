"""Graphs: which neighbours a graph convolutional network needs together.

    python examples/domains/graph.py --output graph.html

A network of three layers says what papers are about. What it says of one depends on the papers
within three steps alone: each of these is a part that is off where it has no words, or no edges.

Shapes: V nodes, v nodes of a neighbourhood, N copies of it.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from black_box import BlackBox, Instance
from gcn import GCN, Graph, trained
from papers import cora, generated
from torch import Tensor

from zoo.data.errors import ZooError
from zoo.data.files import atomic_file
from zoo.glider.domains.graphs import Nodes, neighbourhood
from zoo.glider.walsh import walsh
from zoo.inspect.domains.graphs import Neighbourhood
from zoo.inspect.domains.page import ExplainedInstance, Sets, page

COUNT = 40  # instances of the black box
SIZES = range(10, 113)  # of neighbourhoods; those of Tsang et al. 2020 have 18 to 112 parts
OFF = ("features", "edges")
Off = Literal["features", "edges"]


@dataclass(frozen=True)
class Trained:
    """A network, and what it says.

    Attributes:
        graph: The graph that it has learned.
        model: The network.
        said: int [V] the class with the largest logit of each node.
    """

    graph: Graph
    model: GCN
    said: Tensor

    @classmethod
    def of(cls, graph: Graph, seed: int, **options: Any) -> "Trained":
        """One that has learned a graph; the options are those of `gcn.trained`."""
        model = trained(graph, seed, **options)
        return cls(graph, model, model(graph.words, graph.adjacency).argmax(1))

    @property
    def accuracy(self) -> float:
        """Share of the test nodes whose class is right."""
        return float((self.said == self.graph.label)[self.graph.test].double().mean())

    def name(self, node: int) -> str:
        """A node and its class."""
        return f"{self.graph.ids[node]} {self.graph.classes[self.graph.label[node]]}"

    def around(self, node: int) -> list[int]:
        """The nodes that what is said of one depends on."""
        return neighbourhood(self.graph.edges, node, self.model.hops)

    def picked(self, seed: int) -> Iterator[int]:
        """Test nodes in random order, of those whose neighbourhood is neither small nor large."""
        for node in np.random.default_rng(seed).permutation(self.graph.test.numpy()).tolist():
            if len(self.around(node)) in SIZES:
                yield node


def black_boxes(quick: bool = False, seed: int = 0, data: Path | None = None) -> list[BlackBox]:
    """GCN, with test papers whose neighbourhood has 10 to 112 papers: words off, and edges off.

    Args:
        quick: Generated papers in place of Cora.
        seed: Seed of the network, of the choice of papers, and of generated ones.
        data: Folder with the files of Cora; None downloads them.
    """
    found = Trained.of(generated(seed) if quick else cora(data), seed)
    nodes = [*islice(found.picked(seed), COUNT)]
    boxes: dict[str, Off] = {"GCN": "features", "GCN-edges": "edges"}
    return [
        BlackBox(name, [instance_of(found, node, off) for node in nodes], found.accuracy)
        for name, off in boxes.items()
    ]


def parts(found: Trained, node: int, off: Off) -> list[int]:
    """The nodes that are switched: all, or where edges are off all but the explained one."""
    return [n for n in found.around(node) if off == "features" or n != node]


def instance_of(found: Trained, node: int, off: Off = "features") -> Instance:
    """A node and its neighbourhood, as the black box that its logit is.

    Args:
        found: The network and the graph.
        node: Number of the node.
        off: What is zero of a node that is off.
    """
    nodes = found.around(node)
    place, every = nodes.index(node), torch.tensor(nodes)
    first = found.model.first(found.graph.words[every])
    local = found.graph.adjacency.index_select(0, every).index_select(1, every).to_dense()
    names = [found.name(n) for n in parts(found, node, off)]
    model, said = found.model, int(found.said[node])
    if off == "features":  # a node without words is zero in X W_1 as well
        scores = _scores(model, place, said, lambda rows: (rows, local))
        return Instance(first, Nodes(range(len(nodes)), off), names, found.name(node), scores)
    links = (local > 0).float().fill_diagonal_(0)
    normal = _normalised(found.graph.degrees[every] - links.sum(1))
    scores = _scores(model, place, said, lambda rows: (first, normal(rows)))
    others = [n for n in range(len(nodes)) if n != place]
    return Instance(links, Nodes(others, off), names, found.name(node), scores)


def _normalised(beyond: Tensor) -> Callable[[Tensor], Tensor]:
    """A' of adjacency matrices [N, v, v] whose nodes have further neighbours beyond [v]."""

    def normal(rows: Tensor) -> Tensor:
        looped = rows + torch.eye(len(beyond))
        root = (looped.sum(2) + beyond).rsqrt()
        return root.unsqueeze(2) * looped * root.unsqueeze(1)

    return normal


def _scores(
    model: GCN, place: int, said: int, inputs: Callable[[Tensor], tuple[Tensor, Tensor]]
) -> Callable[[Tensor], Tensor]:
    """The logit of what is said of a node: log p / (1 - p) of its class.

    Args:
        model: The network.
        place: Place of the node in its neighbourhood.
        said: The class.
        inputs: X W_1 [.., v, hidden] and A' [.., v, v] of copies of the neighbourhood.
    """

    def scores(rows: Tensor) -> Tensor:
        with torch.no_grad():
            logits = model.from_first(*inputs(rows))[:, place]
        others = torch.cat((logits[:, :said], logits[:, said + 1 :]), 1)
        return logits[:, said] - others.logsumexp(1)

    return scores


def explained(found: Trained, node: int, off: Off, seed: int) -> ExplainedInstance:
    """What was found around a node, with its picture."""
    instance = instance_of(found, node, off)
    (explanation,) = walsh(instance.scores, [instance.x], instance.switches, seed=seed)
    p = torch.tensor(explanation.score).sigmoid()
    classes, label = found.graph.classes, int(found.graph.label[node])
    right = "it is" if label == found.said[node] else f"it is of {classes[label]}"
    said = f"The network says {classes[found.said[node]]} (probability {p:.2f}); {right}."
    mains = [c.value for c in explanation.mains]
    sets = [(c.features, c.value) for c in explanation.interactions]  # each is a link or two
    return ExplainedInstance(
        f"Paper {instance.title}",
        said,
        instance.names,
        mains,
        sets,
        _picture(found, node, dict(zip(parts(found, node, off), mains, strict=True)), sets),
        explanation.r2[1:],
    )


def _picture(found: Trained, node: int, mains: dict[int, float], sets: Sets) -> Neighbourhood:
    """The neighbourhood of a node, given the main effects of nodes, and sets of these."""
    nodes, switched = found.around(node), [*mains]
    place = {n: i for i, n in enumerate(nodes)}
    edges = [(place[a], place[b]) for a, b in found.graph.edges.t().tolist() if {a, b} <= {*place}]
    drawn = [([place[switched[i]] for i in s], value) for s, value in sets]
    names, labels = [found.name(n) for n in nodes], [found.graph.ids[n] for n in nodes]
    values = [mains.get(n, 0.0) for n in nodes]
    return Neighbourhood(names, labels, edges, place[node], values, drawn)


def summary(found: Trained, nodes: list[int], of: list[ExplainedInstance], off: Off) -> list[str]:
    """What was found around some nodes, all together: short facts."""
    if not of:
        return []
    linear, joined = np.mean([instance.r2 for instance in of], axis=0).tolist()
    cited = {frozenset(pair) for pair in found.graph.edges.t().tolist()}
    pairs = larger = linked = instead = 0
    for node, instance in zip(nodes, of, strict=True):
        switched = parts(found, node, off)
        for features, value in instance.interactions:
            pairs, larger = pairs + (len(features) == 2), larger + (len(features) > 2)
            linked += frozenset(switched[i] for i in features) in cited
            same = len(features) == 2 and all(instance.mains[i] > 0 for i in features)
            instead += same and value < 0
    return [
        f"mean R^2 of main effects {linear:.3f}, with interactions {joined:.3f}",
        f"interactions around {sum(bool(i.interactions) for i in of)} of {len(of)} papers",
        f"{pairs} pairs: {linked} cite each other; {instead} say in part the same, as each adds to "
        "the score and both together add less",
        f"{larger} larger sets",
    ]


def _printed(instance: ExplainedInstance) -> None:
    print(f"\n{instance.title}: {len(instance.names)} parts. {instance.said}")
    strongest = sorted(zip(instance.mains, instance.names, strict=True), key=lambda m: -abs(m[0]))
    print("  alone     " + "; ".join(f"{name} {main:+.2f}" for main, name in strongest[:4]))
    for features, value in instance.interactions[:4]:
        print(f"  together  {' · '.join(instance.names[i] for i in features)} {value:+.2f}")
    print("  R^2 of main effects {:.3f}, with interactions {:.3f}".format(*instance.r2))


def main() -> None:
    """Explains what a network says of some papers."""
    parser = argparse.ArgumentParser(description="Which neighbours a graph network needs together")
    parser.add_argument("--output", type=Path, default=Path("graph.html"), help="page to write")
    parser.add_argument("--data", type=Path, help="folder with the files of Cora, not to download")
    parser.add_argument("--off", choices=OFF, default=OFF[0], help="what an off paper lacks")
    parser.add_argument("--papers", type=int, default=6, help="number of explained papers")
    parser.add_argument("--seed", type=int, default=0, help="seed of the network and the papers")
    parser.add_argument("--quick", action="store_true", help="few, generated papers")
    given = parser.parse_args()
    try:
        found = Trained.of(generated(given.seed) if given.quick else cora(given.data), given.seed)
    except ZooError as error:
        raise SystemExit(f"error: {error}") from None
    size = f"{len(found.graph.label):,} papers, {found.graph.edges.shape[1]:,} citations"
    right = f"{found.accuracy:.1%} of the {len(found.graph.test):,} test papers are right"
    print(f"{size}; {right}")
    instances, nodes = [], [*islice(found.picked(given.seed), given.papers)]
    for node in nodes:
        instances.append(explained(found, node, given.off, given.seed))
        _printed(instances[-1])
    facts = summary(found, nodes, instances, given.off)
    print("\n" + "\n".join(facts))
    lead = "A graph convolutional network of three layers says what a paper is about."
    with atomic_file(given.output) as partial:
        html = page("Citations", lead, instances, [size, right, *facts])
        partial.write_text(html, encoding="utf-8")
    print(f"\n{given.output}")


if __name__ == "__main__":
    main()
