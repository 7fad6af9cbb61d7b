"""Switches nodes of a graph on and off.

Shapes: N neighbours, V nodes of the graph, F features of a node, d nodes that are switched.
"""

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
        """[N, V, F] or [N, V, V] the graphs that masks [N, d] give."""
        own = torch.as_tensor(instance)
        if own.ndim != 2 or (self.of == "edges" and own.shape[0] != own.shape[1]):
            wanted = "[V, V]" if self.of == "edges" else "[V, F]"
            raise ZooError(f"the instance must be {wanted}, got the shape {[*own.shape]}")
        keep = own.new_ones(len(masks), len(own))
        keep[:, [*self.nodes]] = (masks > 0.5).to(own)
        rows = own * keep.unsqueeze(2)
        return rows * keep.unsqueeze(1) if self.of == "edges" else rows

    def centre(self, instance: Any) -> Tensor:
        """[d] the graph itself: everything is on."""
        return torch.ones(len(self.nodes))


def neighbourhood(edges: Tensor, node: int, hops: int) -> list[int]:
    """The nodes within some steps of one, itself included, ascending.

    Args:
        edges: int [2, E] the ends of each edge, which leads both ways.
        node: The node.
        hops: Number of steps.
    """
    reached, ends = {node}, edges.t().tolist()
    for _ in range(hops):
        reached |= {b for pair in ends for a, b in (pair, pair[::-1]) if a in reached}
    return sorted(reached)
