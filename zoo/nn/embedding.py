"""Embeddings of all fields, in one table.

Shapes: B batch, N numerical fields, C categorical fields, M fields of lists, L values of all lists
together, F embedded fields, D embedding, T bins of a number.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import torch
from torch import Tensor, nn

from zoo.data.batch import Batch
from zoo.data.schema import Schema
from zoo.nn.device import is_cpu
from zoo.nn.look_up import LookUp
from zoo.nn.numbers import Bins
from zoo.nn.pooling import ListPooling, Pooling
from zoo.nn.shard import Shard

_left_out: ContextVar[bool] = ContextVar("left_out", default=False)


@contextmanager
def without_tables() -> Iterator[None]:
    """A block in which embeddings are made without tables, which processes are yet to share."""
    before = _left_out.set(True)
    try:
        yield
    finally:
        _left_out.reset(before)


class Embedded(NamedTuple):
    """A batch as the interaction parts of the models take it.

    Attributes:
        vectors: [B, F, D] embeddings; F = C + M, or N + C + M (numerical first) where numerical
            fields are embedded.
        linear: [B] first-order part, sum_f w_f(x_f) over all fields.
        flat: [B, F * D + N + N * T] vectors, numerical values and the encodings of these side by
            side, as the deep parts take them.
    """

    vectors: Tensor
    linear: Tensor
    flat: Tensor


class FusedEmbedding(nn.Module):
    """Embedding vectors and first-order weights of every field.

    All fields of ids share one table with a row for each id of each vocabulary; the last of its
    `embedding_dim + 1` columns is the first-order weight, so that one look-up and one sparse
    gradient serve both:

        e_c = V[offset_c + x_c, :D],   w_c = V[offset_c + x_c, D]

    A list of ids becomes one vector and one weight too; see `ListPooling`.

    Numerical fields enter as values, with a weight each in the first-order part; as fields
    too if `embed_numerical`: e_n = x_n * V_n (AutoInt, Song et al. 2019, equation 4). With an
    encoding p_n of T numbers (see `zoo.nn.numbers`), it stands in `Embedded.flat` behind the
    values, and e_n = x_n * V_n + sum_t p_nt U_nt. Without `first_order` there are no weights, and
    the table has D columns.

    Args:
        schema: Fields of the batches and their cardinalities; see `Schema`.
        embedding_dim: Size of each field's embedding vector, D.
        embed_numerical: Give numerical fields vectors too.
        first_order: Give each value a first-order weight.
        init_std: Standard deviation of all initial weights.
        dropout: Share of the numbers in the vectors that training drops, in `Embedded.vectors` as
            in `Embedded.flat`; the others grow by 1 / (1 - dropout).
        pooling: How lists are pooled; see `ListPooling`.
        encoding: The encoding of the numbers; None is none.
        frozen: Names of the fields some of whose vectors are not trained.

    Attributes:
        sparse: Whether the table's gradient is sparse; the values of the gradient are the same.
        table: [sum(cardinalities), D + 1] vector and weight of each id; D columns without weights.
            Where processes share it, the rows that this one owns.
        shard: Which rows these are; None where each process has all.
        offsets: [C] row of the table at which each categorical field begins.
        numerical_weight: [N] first-order weights of the numerical fields; None without.
        numerical_vectors: [N, D] vectors of the numerical fields; None without.
        bin_vectors: [N, T, D] vectors of the parts of their encodings; None without.
        is_frozen: bool [sum(cardinalities)] rows whose vectors are not trained; None without such
            fields.
    """

    offsets: Tensor
    list_offsets: Tensor
    is_frozen: Tensor | None

    def __init__(
        self,
        schema: Schema,
        embedding_dim: int,
        embed_numerical: bool = False,
        first_order: bool = True,
        init_std: float = 0.0001,
        dropout: float = 0.0,
        pooling: Pooling | Mapping[str, Pooling] = "mean",
        encoding: Bins | None = None,
        frozen: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.embedding_dim = embedding_dim
        self.sparse = False
        for name, fields in (("offsets", schema.categorical), ("list_offsets", schema.lists)):
            firsts = [schema.first_rows[field.name] for field in fields]
            self.register_buffer(name, torch.tensor(firsts, dtype=torch.long), persistent=False)
        self.first_rows = schema.first_rows
        is_frozen = torch.zeros(schema.table_rows, dtype=torch.bool) if frozen else None
        self.register_buffer("is_frozen", is_frozen)
        self.init_std = init_std
        self.shard: Shard | None = None
        device = "meta" if _left_out.get() else None
        columns = embedding_dim + first_order
        self.table = nn.Parameter(torch.empty(schema.table_rows, columns, device=device))
        self.n_numerical = len(schema.numerical)
        self.numerical_weight = nn.Parameter(torch.empty(self.n_numerical)) if first_order else None
        self.numerical_vectors = (
            nn.Parameter(torch.empty(len(schema.numerical), embedding_dim))
            if embed_numerical and schema.numerical
            else None
        )
        self.bins = 0 if encoding is None else encoding.bin_edges.shape[1] - 1
        self.bin_vectors = (
            nn.Parameter(torch.empty(self.n_numerical, self.bins, embedding_dim))
            if self.bins and self.embeds_numerical
            else None
        )
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=init_std)
        self.pooling = ListPooling(schema, embedding_dim, pooling)
        self.encoding = encoding

    @torch.compiler.disable  # which cannot make sparse gradients
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]  # `disable` has no types
        self, batch: Batch
    ) -> Embedded:
        """Looks up a batch; in evaluation, an id of -1 is a field that is off: all zeros."""
        ids = batch.categorical + self.offsets
        off = None
        # a GPU is not asked whether there are such
        if not self.training and (not is_cpu(ids) or (batch.categorical < 0).any()):
            off = batch.categorical < 0
            ids = ids.masked_fill(off, 0)
        lists, values, number = batch.lists, None, None
        if lists:
            values, number = lists.flat()
            values = values + self.list_offsets[number % len(self.list_offsets)]
        table, sparse, frozen = self.table, self.sparse, self.is_frozen
        if self.shard is not None:
            needed = ids.flatten() if values is None else torch.cat((ids.flatten(), values))
            table, rows, place = self.shard.look_up(table, needed, sparse)
            # which sends the sums of its rows
            sparse, frozen = True, None if frozen is None else frozen[rows]
            ids, values = (
                place[: ids.numel()].view_as(ids),
                None if values is None else place[ids.numel() :],
            )
        flat, vectors, linear, of_lists = LookUp.apply(
            table,
            ids,
            batch.numerical,
            self.numerical_vectors,
            self.embedding_dim,
            sparse,
            off,
            values,
            frozen,
        )
        drops = self.training and self.dropout
        if lists:
            pooled = self.pooling(
                of_lists, number, lists.lengths, vectors[:, vectors.shape[1] - ids.shape[1] :]
            )
            vectors = torch.cat((vectors, pooled[..., : self.embedding_dim]), 1)
            linear = linear + pooled[..., self.embedding_dim :].sum((1, 2))
        encoded = None if self.encoding is None else self.encoding(batch.numerical)
        if encoded is not None and self.bin_vectors is not None:
            numbers, others = vectors.tensor_split([self.n_numerical], 1)
            numbers = numbers + torch.einsum("bnt,ntd->bnd", encoded, self.bin_vectors)
            vectors = torch.cat((numbers, others), 1)
        if drops:
            vectors = nn.functional.dropout(vectors, self.dropout)
        if encoded is not None:
            flat = torch.cat((vectors.flatten(1), batch.numerical, encoded.flatten(1)), 1)
        elif lists or drops:
            flat = torch.cat((vectors.flatten(1), batch.numerical), 1)
        if self.numerical_weight is not None:
            linear = torch.addmv(linear, batch.numerical, self.numerical_weight)
        return Embedded(vectors=vectors, linear=linear, flat=flat)

    def columns(self, schema: Schema, names: Sequence[str]) -> list[int]:
        """The columns of `Embedded.flat` that hold the given fields, ascending.

        Args:
            schema: Fields of the batches.
            names: Names of the fields.
        """
        found = schema.flat_columns(self.embedding_dim, self.embeds_numerical, self.bins)
        return sorted(column for name in names for column in found[name])

    def share(self, shard: Shard, device: torch.device, seed: int) -> None:
        """Keeps the rows of the table that one of several processes owns.

        Args:
            shard: Which rows these are.
            device: Where the rows are to lie, if the table is yet without values.
            seed: Seed of the first values of such a table.
        """
        table = self.table.detach()
        device = device if table.is_meta else table.device
        rows = shard.allocated(table.shape[1], table.dtype, device)
        if table.is_meta:
            shard.drawn(rows, self.init_std, seed)
        else:
            rows.copy_(shard.of(table))
        self.table = nn.Parameter(rows, self.table.requires_grad)
        self.shard = shard

    def place(self, name: str) -> tuple["FusedEmbedding", int]:
        """The embedding that holds a field of ids, this one, and the row at which it begins."""
        return self, self.first_rows[name]

    @torch.no_grad()
    def take_vectors(self, rows: Tensor, vectors: Tensor) -> None:
        """Gives rows of the table, by their numbers [R], the vectors [R, D].

        Where processes share the table, each takes those of the rows that it owns.
        """
        if self.shard is not None:
            mine, rows = self.shard.owned(rows)
            vectors = vectors[mine]
        self.table[rows, : self.embedding_dim] = vectors.to(self.table)

    @property
    def rows(self) -> int:
        """Number of rows of the table, those of other processes too."""
        return len(self.table) if self.shard is None else self.shard.partition.rows

    @property
    def is_shared(self) -> bool:
        """Whether each process has a part of the table."""
        return self.shard is not None

    @property
    def embeds_numerical(self) -> bool:
        """Whether numerical fields have vectors too."""
        return self.numerical_vectors is not None

    @property
    def n_fields(self) -> int:
        """Number of embedded fields, F."""
        embedded = 0 if self.numerical_vectors is None else len(self.numerical_vectors)
        return embedded + len(self.offsets) + len(self.list_offsets)

    @property
    def flat_dim(self) -> int:
        """Width of `Embedded.flat`, F * D + N + N * T."""
        return self.n_fields * self.embedding_dim + self.n_numerical * (1 + self.bins)
