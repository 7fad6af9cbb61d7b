"""Where the nodes of a graph stand in its picture: in circles around one of them.

Shapes: V nodes.
"""

from collections.abc import Iterable

import numpy as np


def concentric(count: int, edges: Iterable[tuple[int, int]], centre: int) -> np.ndarray:
    """[V, 2] places in a circle of radius 1 around (0, 0), where the centre is.

    Nodes that are l steps from the centre stand on the l-th circle, each on a ray between those of
    the nodes that are reached by way of it; a node takes as much of its circle as these.

    Args:
        count: Number of nodes, V.
        edges: The ends of each edge.
        centre: The node in the middle.
    """
    children, level = _tree(count, edges, centre)
    leaves = np.ones(count)
    for node in sorted(range(count), key=lambda n: -level[n]):
        if children[node]:
            leaves[node] = sum(leaves[child] for child in children[node])
    angle, start = np.zeros(count), np.zeros(count)
    for node in sorted(range(count), key=lambda n: level[n]):
        angle[node] = start[node] + leaves[node] / 2
        for child, before in zip(children[node], _before(leaves, children[node]), strict=True):
            start[child] = start[node] + before
    turn = 2 * np.pi * angle / leaves[centre] - np.pi / 2  # the first one on top
    radius = np.array(level) / max(*level, 1)
    return np.stack((radius * np.cos(turn), radius * np.sin(turn)), 1)


def _before(leaves: np.ndarray, nodes: list[int]) -> np.ndarray:
    """What the nodes before each of some take of their circle."""
    return np.cumsum([0, *leaves[nodes]])[: len(nodes)]


def _tree(
    count: int, edges: Iterable[tuple[int, int]], centre: int
) -> tuple[list[list[int]], list[int]]:
    """The nodes that are first reached by way of each, and the steps to each.

    Nodes that are not reached at all are one step farther than all others.
    """
    beside: list[set[int]] = [set() for _ in range(count)]
    for a, b in edges:
        beside[a].add(b)
        beside[b].add(a)
    children, level = [list[int]() for _ in range(count)], [-1] * count
    level[centre], reached = 0, [centre]
    for node in reached:  # grows while it is walked
        new = sorted(n for n in beside[node] if level[n] < 0)
        for n in new:
            level[n] = level[node] + 1
        children[node] = new
        reached += new
    alone = [n for n in range(count) if level[n] < 0]
    outside = max(level) + 1
    for n in alone:
        level[n] = outside
    children[centre] += alone
    return children, level
