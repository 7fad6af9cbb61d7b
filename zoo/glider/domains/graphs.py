"""Switches nodes of a graph on and off.

Shapes: N neighbours, V nodes of the graph, F features of a node, d nodes that are switched.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from zoo.data.errors import ZooError


@dataclass(frozen=True)
class Nodes:
    """Keeps each of some nodes (on), or takes it out of the graph (off).

    With `features`, the instance is [V, F] and the features of a node that is off are zero, as in
    Tsang et al. 2020, section 6 (GLIDER); with `edges` it is the adjacency matrix [V, V], of which
    its row and its column are zero.

    Attributes:
        nodes: Numbers of the nodes that are switched, d; see `neighbourhood`.
        of: What is zero of a node that is off.
    """

    nodes: Sequence[int]
    of: Literal["features", "edges"] = "features"

    def apply(self, instance: Any, masks: Tensor) -> Tensor:
        """[N, V, F] or [N, V, V] the graphs that masks [N, d] give.

        Raises:
            ZooError: Where the shapes do not fit, or the nodes are not in the instance.
        """
        own = torch.as_tensor(instance)
        if own.ndim != 2 or (self.of == "edges" and own.shape[0] != own.shape[1]):
            wanted = "[V, V]" if self.of == "edges" else "[V, F]"
            raise ZooError(f"the instance must be {wanted}, got the shape {[*own.shape]}")
        nodes = self._nodes(len(own))
        if masks.shape[1] != len(nodes):
            raise ZooError(f"the masks have {masks.shape[1]} columns for {len(nodes)} nodes")
        keep = own.new_ones(len(masks), len(own))
        keep[:, nodes] = (masks > 0.5).to(own)
        rows = own * keep.unsqueeze(2)
        return rows * keep.unsqueeze(1) if self.of == "edges" else rows

    def _nodes(self, count: int) -> list[int]:
        """The nodes, each once, which are in a graph of so many."""
        nodes = [int(node) for node in self.nodes]
        for node in nodes:
            if not 0 <= node < count:
                raise ZooError(f"nodes: {node} is none of the graph's, 0 to {count - 1}")
        if twice := [node for node, times in Counter(nodes).items() if times > 1]:
            raise ZooError(f"nodes: {twice[0]} is there more than once")
        return nodes

    def centre(self, instance: Any) -> Tensor:
        """[d] the graph itself: everything is on."""
        return torch.ones(len(self.nodes))


def neighbourhood(edges: Tensor, node: int, hops: int) -> list[int]:
    """The nodes within some steps of one, itself included, ascending.

    A graph network of as many layers, each of which looks at neighbours, depends on these alone. A
    node that no edge names has itself alone.

    Args:
        edges: int [2, E] the ends of each edge, which leads both ways.
        node: The node.
        hops: Number of steps.

    Raises:
        ZooError: Where the edges are not [2, E] whole numbers, or a node or the number of steps is
            below 0.
    """
    ends = torch.as_tensor(edges)
    if ends.ndim != 2 or len(ends) != 2 or ends.is_floating_point():
        found = f"{ends.dtype} of the shape {[*ends.shape]}"
        raise ZooError(f"the edges must be whole numbers [2, E], got {found}")
    named = torch.cat((ends.flatten(), ends.new_tensor([node])))
    if (least := min(int(named.min()), hops)) < 0:
        raise ZooError(f"nodes and hops must be 0 or more, got {least}")
    reached = torch.zeros(int(named.max()) + 1, dtype=torch.bool)
    reached[node] = True
    for _ in range(hops):
        one, other = reached[ends].unbind()
        reached[ends[1][one]] = True
        reached[ends[0][other]] = True
    return reached.nonzero().flatten().tolist()
