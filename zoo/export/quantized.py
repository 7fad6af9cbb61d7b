"""Embedding tables in fewer bytes: float16, or int8 with a scale for each row.

Shapes: R rows of a table, D embedding, L ids that are looked up.
"""

import copy
from collections.abc import Iterator
from typing import Any, Literal, TypeVar, cast

import torch
from torch import Tensor, nn

from zoo.nn.embedding import FusedEmbedding

EmbeddingType = Literal["float32", "float16", "int8"]
Model = TypeVar("Model", bound=nn.Module)
LARGEST = 127  # of int8, so that both signs reach as far
FLOAT16 = torch.finfo(torch.float16).max


class SmallRows(nn.Module):
    """Stands in for the table of a `FusedEmbedding`, as a `Shard` does: gives the rows of ids.

        float16   v = float32(q)
        int8      v = s_r q,   s_r = max_d |v_rd| / 127

    so that an element of an embedding is off by 2^-11 of itself (or 2^-25, where it is smaller than
    2^-14), or by s_r / 2 at most. First-order weights, whose errors add up over the fields, and
    scales stay float32. Rows become float32 after they are looked up: the table never does.

    Args:
        table: [R, D + 1] or [R, D] vector, and first-order weight if there is one, of each id.
        dim: Size of the vectors, D.
        kind: Type of the vectors, `float16` or `int8`.

    Attributes:
        vectors: float16 or int8 [R, D].
        beside: float32 [R, .] scale, if they are int8, and first-order weight, if there is one.
    """

    vectors: Tensor
    beside: Tensor

    def __init__(self, table: Tensor, dim: int, kind: EmbeddingType) -> None:
        super().__init__()
        vectors, beside = table.detach().split([dim, table.shape[1] - dim], 1)
        self.has_scales = kind == "int8"
        if self.has_scales:
            scale = vectors.abs().amax(1, keepdim=True) / LARGEST
            scale = scale.masked_fill(scale == 0, 1)
            beside = torch.cat((scale, beside), 1)
            vectors = (vectors / scale).round().to(torch.int8)
        else:
            vectors = vectors.clamp(-FLOAT16, FLOAT16).to(torch.float16)
        self.register_buffer("vectors", vectors.contiguous())
        self.register_buffer("beside", beside.contiguous())

    def rows(self, ids: Tensor) -> Tensor:
        """float32 [L, D + 1] or [L, D] the rows of ids [L]."""
        vectors = self.vectors.index_select(0, ids).float()
        if not self.beside.shape[1]:
            return vectors
        beside = self.beside.index_select(0, ids)
        if self.has_scales:
            vectors, beside = vectors * beside[:, :1], beside[:, 1:]
        return torch.cat((vectors, beside), 1)

    def look_up(self, table: Tensor, ids: Tensor, sparse: bool) -> tuple[Tensor, Tensor, Tensor]:
        """The rows of ids [L], these ids, and the place of each among them; see `Shard`."""
        return self.rows(ids), ids, torch.arange(ids.shape[0], device=ids.device)


def quantized(model: Model, kind: EmbeddingType) -> Model:
    """A model, which is trained no more, with embedding tables of a type.

    Args:
        model: The model, which stays as it is.
        kind: Type of the embeddings; of `float32` the model itself is given.
    """
    if kind == "float32":
        return model
    tables = {id(embedding.table): nn.Parameter() for embedding in _embeddings(model)}
    found = copy.deepcopy(model, {**tables})  # without copies of the tables
    for embedding, full in zip(_embeddings(found), _embeddings(model), strict=True):
        small: Any = SmallRows(full.table, full.embedding_dim, kind)
        embedding.shard = small
    return found


def table_bytes(model: nn.Module) -> int:
    """Bytes of all embedding tables."""
    total = 0
    for embedding in _embeddings(model):
        small = cast(nn.Module | None, embedding.shard)
        parts = [embedding.table] if small is None else list(small.buffers())
        total += sum(part.nbytes for part in parts)
    return total


def _embeddings(model: nn.Module) -> Iterator[FusedEmbedding]:
    return (module for module in model.modules() if isinstance(module, FusedEmbedding))
