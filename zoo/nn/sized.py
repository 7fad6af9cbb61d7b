"""Embeddings whose size differs between fields: a table for each size.

Shapes: B batch, W width of all embeddings, numbers and encodings side by side.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import nn

from zoo.data.batch import Batch
from zoo.data.errors import require
from zoo.data.schema import Schema
from zoo.nn.embedding import Embedded, FusedEmbedding
from zoo.nn.numbers import Bins
from zoo.nn.pooling import Pooling

Sizes = Mapping[str, int]


def parts_of(schema: Schema, embedding_dim: int, sizes: Sizes | None) -> list[tuple[int, Schema]]:
    """The sizes of the embeddings, and the fields of each: those of `embedding_dim` first.

    Numbers are among these. Fields that share a vocabulary share its size.

    Args:
        schema: Fields of the batches; see `Schema`.
        embedding_dim: Size of the fields that `sizes` does not name.
        sizes: Size by the name of the field.

    Raises:
        ZooError: where a name is no field of ids, or shares its vocabulary.
    """
    sizes = sizes or {}
    own = {field.name for field in schema.fields if field.has_ids and not field.vocabulary}
    for name, size in sizes.items():
        require(
            name in own,
            f"embedding_dims must name fields of ids with a vocabulary of their own: "
            f"{', '.join(sorted(own)) or 'there are none'}",
            name,
        )
        require(size >= 1, f"embedding_dims: the size of {name} must be at least 1", size)
    of = {f.name: sizes.get(f.vocabulary or f.name, embedding_dim) for f in schema.fields}
    return [
        (size, Schema(tuple(field for field in schema.fields if of[field.name] == size)))
        for size in sorted({*of.values()}, key=lambda size: (size != embedding_dim, size))
    ]


def flat_columns(
    schema: Schema, embedding_dim: int, sizes: Sizes | None, embed_numerical: bool, bins: int
) -> dict[str, list[int]]:
    """Where `Embedded.flat` holds each field, ascending, whatever the sizes.

    Args:
        schema: Fields of the batches; see `Schema`.
        embedding_dim: Size of the fields that `sizes` does not name.
        sizes: Size by the name of the field.
        embed_numerical: Whether numerical fields have embeddings too.
        bins: Columns of the encoding of each number.
    """
    found: dict[str, list[int]] = {}
    start = 0
    for size, part in parts_of(schema, embedding_dim, sizes):
        columns = part.flat_columns(size, embed_numerical, bins)
        found |= {name: [start + column for column in mine] for name, mine in columns.items()}
        start += sum(map(len, columns.values()))
    return found


def paths_of_parts(
    schema: Schema, embedding_dim: int, sizes: Sizes | None
) -> list[tuple[str, Schema]]:
    """The fields of each size, and where a model has their `FusedEmbedding`; see `parts_of`."""
    parts = parts_of(schema, embedding_dim, sizes)
    if len(parts) == 1:
        return [("embedding", schema)]
    return [(f"embedding.parts.{i}", part) for i, (_, part) in enumerate(parts)]


class SizedEmbedding(nn.Module):
    """Embeddings of several sizes, side by side in `Embedded.flat`; there are no `vectors`.

    Args:
        schema: Fields of the batches; see `Schema`.
        parts: Sizes and their fields; see `parts_of`.
        pooling: How lists are pooled; see `ListPooling`.
        frozen: Names of the fields some of whose vectors are not trained.
        encoding: The encoding of the numbers; None is none.
        options: Options of `FusedEmbedding`.

    Attributes:
        parts: A `FusedEmbedding` for each size.
    """

    def __init__(
        self,
        schema: Schema,
        parts: Sequence[tuple[int, Schema]],
        pooling: Pooling | Mapping[str, Pooling] = "mean",
        frozen: Sequence[str] = (),
        encoding: Bins | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.schema = schema
        self.schemas = [part for _, part in parts]
        lists = {field.name for field in schema.lists}
        self.parts = nn.ModuleList()
        for size, part in parts:
            mine = {field.name for field in part.fields}
            chosen: Any = pooling
            if not isinstance(pooling, str):  # a name that is none is refused there
                chosen = {n: how for n, how in pooling.items() if n in mine or n not in lists}
            self.parts.append(
                FusedEmbedding(
                    part,
                    size,
                    pooling=chosen,
                    frozen=[name for name in frozen if name in mine],
                    encoding=encoding if part.numerical else None,
                    **options,
                )
            )

    @property
    def fused(self) -> list[FusedEmbedding]:
        """The parts."""
        return [cast(FusedEmbedding, part) for part in self.parts]

    def forward(self, batch: Batch) -> Embedded:
        """Looks up a batch; see `FusedEmbedding`."""
        pairs = zip(self.fused, self.schemas, strict=True)
        found = [part(batch.view(self.schema, schema)) for part, schema in pairs]
        flat = torch.cat([embedded.flat for embedded in found], 1)
        linear = torch.stack([embedded.linear for embedded in found]).sum(0)
        return Embedded(vectors=flat.new_empty(flat.shape[0], 0, 0), linear=linear, flat=flat)

    def columns(self, schema: Schema, names: Sequence[str]) -> list[int]:
        """The columns of `Embedded.flat` that hold the given fields, ascending.

        Args:
            schema: Fields of the batches.
            names: Names of the fields.
        """
        found, start = [], 0
        for part, mine in zip(self.fused, self.schemas, strict=True):
            wanted = [field.name for field in mine.fields if field.name in names]
            found += [start + column for column in part.columns(mine, wanted)]
            start += part.flat_dim
        return found

    def place(self, name: str) -> tuple[FusedEmbedding, int]:
        """The part that holds a field of ids, and the row of its table at which it begins."""
        pairs = zip(self.fused, self.schemas, strict=True)
        return next(part.place(name) for part, schema in pairs if name in schema.first_rows)

    @property
    def sparse(self) -> bool:
        """Whether the gradients of the tables are sparse."""
        return self.fused[0].sparse

    @sparse.setter
    def sparse(self, value: bool) -> None:
        for part in self.fused:
            part.sparse = value

    @property
    def is_shared(self) -> bool:
        """Whether each process has a part of each table."""
        return self.fused[0].is_shared

    @property
    def encoding(self) -> Bins | None:
        """The encoding of the numbers."""
        return self.fused[0].encoding

    @property
    def bins(self) -> int:
        """Columns of the encoding of each number."""
        return self.fused[0].bins

    @property
    def embedding_dim(self) -> int:
        """Size of the embeddings that have none of their own."""
        return self.fused[0].embedding_dim

    @property
    def embeds_numerical(self) -> bool:
        """Whether numerical fields have vectors too."""
        return self.fused[0].embeds_numerical

    @property
    def n_fields(self) -> int:
        """Number of fields in `Embedded.vectors`: none."""
        return 0

    @property
    def flat_dim(self) -> int:
        """Width of `Embedded.flat`, W."""
        return sum(part.flat_dim for part in self.fused)


def embedding_of(
    schema: Schema, embedding_dim: int, sizes: Sizes | None, **options: Any
) -> FusedEmbedding | SizedEmbedding:
    """The embeddings of a schema, in one table where all are of one size.

    Args:
        schema: Fields of the batches; see `Schema`.
        embedding_dim: Size of the fields that `sizes` does not name.
        sizes: Size by the name of the field.
        options: Options of `FusedEmbedding`.
    """
    parts = parts_of(schema, embedding_dim, sizes)
    if len(parts) == 1:
        return FusedEmbedding(schema, parts[0][0], **options)
    return SizedEmbedding(schema, parts, **options)
