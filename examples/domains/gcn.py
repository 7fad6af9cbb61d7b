"""A graph convolutional network (Kipf & Welling, ICLR 2017), whose neighbourhoods work alone.

    H_0 = X,    H_l = relu(A' H_(l-1) W_l + b_l),    A' = D^(-1/2) (A + I) D^(-1/2)

with the adjacency matrix A and the degrees D of A + I; the last layer has no ReLU. A layer that
does not look at neighbours has I in place of A'.

Shapes: V nodes, F words, C classes, N graphs at once.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn


class GCN(nn.Module):
    """The network.

    Args:
        words: Number of words, F.
        classes: Number of classes, C.
        hidden: Size of the hidden layers.
        layers: Number of layers.
        hops: Number of layers, the first ones, that look at neighbours; None for all.
        dropout: Share of the inputs of a layer that training leaves out.
    """

    def __init__(
        self,
        words: int,
        classes: int,
        hidden: int = 32,
        layers: int = 3,
        hops: int | None = None,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        sizes = [words, *[hidden] * (layers - 1), classes]
        weights = [nn.init.xavier_uniform_(torch.empty(of)) for of in pairwise(sizes)]
        self.weights = nn.ParameterList(weights)
        self.biases = nn.ParameterList(torch.zeros(size) for size in sizes[1:])
        self.hops = layers if hops is None else hops
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, adjacency: Tensor) -> Tensor:
        """[V, C] logits of nodes with words x [V, F], and A' [V, V]."""
        return self.from_first(self.first(self.dropout(x)), adjacency)

    def first(self, x: Tensor) -> Tensor:
        """[.., hidden] X W_1, which is zero of a node without words."""
        return x @ self.weights[0]

    def from_first(self, h: Tensor, adjacency: Tensor) -> Tensor:
        """[.., V, C] logits of X W_1 [.., V, hidden] and A' [.., V, V]."""
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if number:
                h = self.dropout(h.relu()) @ weight
            h = (adjacency @ h if number < self.hops else h) + bias
        return h


@dataclass(frozen=True)
class Graph:
    """Nodes with words and labels.

    Attributes:
        words: float [V, F] the words of each node; the sum of a row is 1 where it has any.
        label: int [V] their classes.
        edges: int [2, E] the ends of each edge, which leads both ways; each edge once, no loops.
        classes: [C] names of the classes.
        ids: [V] names of the nodes.
        train: int, nodes whose labels the model learns.
        test: int, nodes that it has learned nothing of but their place in the graph.
    """

    words: Tensor
    label: Tensor
    edges: Tensor
    classes: list[str]
    ids: list[str]
    train: Tensor
    test: Tensor

    @property
    def degrees(self) -> Tensor:
        """[V] number of neighbours of each node."""
        return torch.bincount(self.edges.flatten(), minlength=len(self.label)).float()

    @property
    def adjacency(self) -> Tensor:
        """Sparse [V, V] A'."""
        count = len(self.label)
        loops = torch.arange(count).expand(2, -1)
        ends = torch.cat((self.edges, self.edges.flip(0), loops), 1)
        root = (self.degrees + 1).rsqrt()
        values, size = root[ends[0]] * root[ends[1]], (count, count)
        return torch.sparse_coo_tensor(ends, values, size, check_invariants=True).coalesce()


def simple_edges(pairs: np.ndarray) -> Tensor:
    """int [2, E] edges [.., 2] of any direction as those of `Graph`: each once, without loops."""
    ends = np.unique(np.sort(pairs, 1), axis=0)
    return torch.from_numpy(ends[ends[:, 0] != ends[:, 1]].T.astype(np.int64).copy())


def trained(
    graph: Graph,
    seed: int,
    epochs: int = 200,
    rate: float = 0.01,
    decay: float = 5e-4,
    **options: int | float,
) -> GCN:
    """A network that has learned the labels of the training nodes, by Adam on all of them at once.

    Args:
        graph: The graph.
        seed: Seed of the weights and the dropout.
        epochs: Number of steps.
        rate: Learning rate.
        decay: Weight decay of the first layer.
        options: Those of `GCN`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = GCN(graph.words.shape[1], len(graph.classes), **options)  # pyright: ignore[reportArgumentType]
        first, *further = model.weights
        decayed = {"params": [first], "weight_decay": decay}
        groups = [decayed, {"params": [*further, *model.biases]}]
        optimizer = torch.optim.Adam(groups, lr=rate)
        adjacency = graph.adjacency
        for _ in range(epochs):
            logits = model(graph.words, adjacency)[graph.train]
            loss = nn.functional.cross_entropy(logits, graph.label[graph.train])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval().requires_grad_(False)
