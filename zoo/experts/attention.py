"""Multi-head attention and Transformer blocks whose heads are partitioned among experts.

Afchar & Hennequin, RecSys 2020, section 3.4.3.

Shapes: B batch, T and T' time, H experts, w width of one expert, N heads of all experts, d of one.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.experts.lattice import Lattice
from zoo.experts.stacked import StackedLinear, StackedNorm
from zoo.nn.device import is_cpu


class MaskedAttention(nn.Module):
    """Multi-head attention in which each expert has heads of its own (equations 15 and 16).

        head_n = softmax(q_n k_n^T / sqrt(d)) v_n
        h_i'   = W^o_ii head_i + sum_{j in omega(i)} W^o_ij stop(head_j) + b^o_i

    where head_i are the heads of expert i, and their q, k and v masked projections too: of expert
    i's features, and of those of the experts inside it, stopped. With a single expert this is
    `torch.nn.MultiheadAttention`.

    Args:
        lattice: Subsets of the experts.
        width: Width of each expert's features, w.
        heads: Number of heads of each expert; they divide its width.
    """

    def __init__(self, lattice: Lattice, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads * len(lattice)
        self.query = StackedLinear(lattice, width, width)
        self.memory = StackedLinear(lattice, width, width, parts=2)
        self.output = StackedLinear(lattice, width, width)

    def forward(self, query: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """[B, T', H * w] what each query takes from the memory.

        Args:
            query: [B, T', H * w] features that ask.
            memory: [B, T, H * w] features that are attended to.
            mask: bool [B, T], true where the memory may be attended to; at least once in each row.
        """
        q = self.query(query).unflatten(2, (self.heads, -1))
        k, v = self.memory(memory).unflatten(2, (2, self.heads, -1)).unbind(2)
        # on CPUs the fused kernel takes twice as long over as few events as a session has
        attend = _attend_by_steps if is_cpu(q) else _attend
        return self.output(attend(q, k, v, mask).flatten(2))


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """[B, T', N, d] of q [B, T', N, d], k and v [B, T, N, d], mask [B, T]."""
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    return functional.scaled_dot_product_attention(q, k, v, mask[:, None, None]).transpose(1, 2)


def _attend_by_steps(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """`_attend`, with the softmax over an outer dimension, where it is vectorised."""
    scores = torch.einsum("btnd,bsnd->bsnt", q * q.shape[3] ** -0.5, k)
    scores = scores.masked_fill(~mask[:, :, None, None], -torch.inf)
    return torch.einsum("bsnt,bsnd->btnd", scores.flatten(2).softmax(1).view_as(scores), v)


class TransformerBlock(nn.Module):
    """Attention, then a feed-forward network; each added to its input and normalised.

        x <- norm(x + attention(x, memory)),   x <- norm(x + W_2 relu(W_1 x))

    (Vaswani et al. 2017, sections 3.1 and 3.3), by experts.

    Args:
        lattice: Subsets of the experts.
        width: Width of each expert's features, w.
        heads: Number of heads of each expert.
        feed_forward: Number of hidden units of each expert.
        dropout: Share of the activations that training drops.
    """

    def __init__(
        self, lattice: Lattice, width: int, heads: int, feed_forward: int, dropout: float
    ) -> None:
        super().__init__()
        self.attention = MaskedAttention(lattice, width, heads)
        self.expand = StackedLinear(lattice, width, feed_forward)
        self.contract = StackedLinear(lattice, feed_forward, width)
        self.norms = nn.ModuleList(StackedNorm(len(lattice), width) for _ in range(2))
        self.relu = nn.ReLU()
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """[B, T', H * w], see `MaskedAttention`."""
        x = self.norms[0](x + self.dropout(self.attention(x, memory, mask)))
        hidden = self.dropout(self.relu(self.expand(x)))
        return self.norms[1](x + self.dropout(self.contract(hidden)))
