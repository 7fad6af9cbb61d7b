"""Nodes that are switched, and the neighbourhood that they come from."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import shortest_path

from zoo import ZooError
from zoo.glider.domains.graphs import Nodes, neighbourhood

ON = torch.tensor([[1.0, 0], [0, 1]])


@given(st.integers(0, 10**6), st.integers(1, 20), st.integers(0, 40), st.integers(0, 4))
def test_the_neighbourhood_is_that_of_shortest_paths(seed, count, edges, hops):
    """Of directed edges both ways, with edges given twice, loops and nodes without edges."""
    random = np.random.default_rng(seed)
    ends, node = random.integers(count, size=(2, edges)), int(random.integers(count))
    graph = coo_array((np.ones(edges), ends), (count, count))
    steps = shortest_path(graph, directed=False, indices=node, unweighted=True)
    found = neighbourhood(torch.from_numpy(ends), node, hops)
    assert found == np.flatnonzero(steps <= hops).tolist()


def test_a_node_that_no_edge_names_has_itself_alone():
    assert neighbourhood(torch.tensor([[0, 1], [1, 2]]), 7, 3) == [7]
    assert neighbourhood(torch.empty(2, 0, dtype=torch.long), 0, 2) == [0]


@pytest.mark.parametrize(
    ("edges", "node", "hops", "message"),
    [
        (torch.tensor([[0, 1, 2]]), 0, 1, r"\[2, E\], got torch.int64 of the shape \[1, 3\]"),
        (torch.tensor([[0.0], [1.0]]), 0, 1, r"whole numbers \[2, E\], got torch.float32"),
        (torch.tensor([[0], [-1]]), 0, 1, "0 or more, got -1"),
        (torch.tensor([[0], [1]]), -2, 1, "0 or more, got -2"),
        (torch.tensor([[0], [1]]), 0, -3, "0 or more, got -3"),
    ],
)
def test_no_neighbourhood(edges, node, hops, message):
    with pytest.raises(ZooError, match=message):
        neighbourhood(edges, node, hops)


def test_nodes_that_are_off():
    features = torch.arange(6.0).reshape(3, 2) + 1
    assert Nodes([2, 0]).apply(features, ON).tolist() == [
        *([[0, 0], [3, 4], [5, 6]], [[1, 2], [3, 4], [0, 0]])
    ]
    adjacency = torch.tensor([[0, 1, 1], [1, 0, 1], [1, 1, 0]])
    assert Nodes([2, 0], "edges").apply(adjacency, ON).tolist() == [
        *([[0, 0, 0], [0, 0, 1], [0, 1, 0]], [[0, 1, 0], [1, 0, 0], [0, 0, 0]])
    ]


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([0, 3], "3 is none of the graph's, 0 to 2"),
        ([-1, 0], "-1 is none of the graph's, 0 to 2"),
        ([1, 1], "1 is there more than once"),
    ],
)
def test_nodes_that_cannot_be_switched(nodes, message):
    with pytest.raises(ZooError, match=message):
        Nodes(nodes).apply(torch.ones(3, 2), ON)


def test_masks_of_another_number_of_nodes():
    with pytest.raises(ZooError, match="2 columns for 1 nodes"):
        Nodes([0]).apply(torch.ones(3, 2), ON)
