"""Truncated cross fields: the joint value of interacting fields as one more categorical field.

Tsang et al., *Feature Interaction Interpretability: A Case for Explaining Ad-Recommendation
Systems via Neural Interaction Detection* (GLIDER), ICLR 2020, sections 4.2 and 6.2.2. For an
interaction I, count over the training rows how often each combination of its members' values
occurs:

    id(x_I) = 2, 3, ..   for combinations seen more than T times, most frequent first
            = 0          for all others, unseen ones included (1, missing, is never used)

    T = cross_min_share * training rows        (1e-4: 100 for a million rows, as in the paper)

T is a share of all training rows, also where there are more than a million. A categorical
member counts by its encoded id, so that unknown and missing are values like any other. A
numerical member is cut into quantile bins, fitted on the training rows too; a missing number
falls into the bin of 0, which it has become. Combinations of equal count stand in the order of
their members' ids, members in the order of the schema.

A cross with a member of lists is a list itself: of each combination of one value of each member.

Shapes: R rows of a chunk, E combinations in them, of lists alone more or fewer than R.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from datamodules.prepared.arrays import IDS, Arrays
from datamodules.prepared.encoder import write_description
from datamodules.prepared.engine import Engine
from datamodules.prepared.lists import ListsWriter
from datamodules.prepared.npy import array_file
from datamodules.prepared.vocabulary import FIRST_ID, sql_ranked
from datamodules.tabular.bins import bins_of, quantile_edges
from datamodules.tabular.rows import ROWS_PER_CHUNK
from datamodules.tabular.vocabularies import save_vocabulary
from zoo.data.encoder import CROSS_KINDS, encoder_description
from zoo.data.errors import ZooError
from zoo.data.lists import Lists
from zoo.data.plain import check_kinds
from zoo.data.schema import CROSS, JOINER, LISTS, UNKNOWN, Field, Kind, Schema

MOST_COMBINATIONS = 100_000  # of the values of lists in a row


@dataclass(frozen=True)
class Cross:
    """A fitted cross field; its vocabulary is the table `vocabulary` of an engine, or on disk.

    Attributes:
        members: Names of the fields that it crosses.
        edges: For each numerical member the upper edges of all bins but the last, ascending; a
            number on an edge lies below it.
        cardinality: Number of its ids, unknown and missing included.
        kind: Kind of the field: `categorical`, or `multi` where a member is of lists.
    """

    members: tuple[str, ...]
    edges: dict[str, list[float]]
    cardinality: int
    kind: Kind = "categorical"

    @property
    def field(self) -> Field:
        """As models see it."""
        return Field(JOINER.join(self.members), self.kind, self.cardinality, CROSS)

    def save(self, engine: Engine, folder: Path) -> None:
        """Writes a folder from which rows can be encoded; the engine holds the vocabulary."""
        folder.mkdir()
        save_vocabulary(engine, folder, order="id")
        plain = asdict(self)
        if not self.is_list:  # as it was before there were lists
            del plain["kind"]
        write_description(folder / "cross.json", plain)

    @classmethod
    def load(cls, folder: Path) -> "Cross":
        """Reads what `save` wrote, the vocabulary left out."""
        kinds = CROSS_KINDS | {"cardinality": int}
        with encoder_description(folder / "cross.json", kinds) as data:
            kind = check_kinds({"kind": "categorical", **data}, {"kind": str})["kind"]
            return cls(tuple(data["members"]), data["edges"], data["cardinality"], kind)

    def write(self, engine: Engine, arrays: Arrays, schema: Schema, folder: Path) -> None:
        """Writes the ids of all rows into a new folder; the engine holds the vocabulary.

        Ids are stored in as few bytes as the largest needs; batches hold them as int32.
        """
        folder.mkdir()
        if self.is_list:
            values = sum(int(n.sum()) for n in _lengths(arrays, schema, self.members))
            with ListsWriter(folder, len(arrays), 1, values) as writer:
                for lists in self.lists(engine, arrays, schema):
                    writer.write(lists)
            return
        dtype = np.min_scalar_type(self.cardinality - 1)
        with array_file(folder / f"{IDS}.npy", (len(arrays),), dtype) as file:
            for ids in self.ids(engine, arrays, schema):
                file.write(ids.astype(dtype).data)

    @property
    def is_list(self) -> bool:
        """Whether rows have a list of its ids, not one."""
        return self.kind in LISTS

    def ids(self, engine: Engine, arrays: Arrays, schema: Schema) -> Iterator[np.ndarray]:
        """int32 [E] the ids of all rows, chunk by chunk; the engine holds the vocabulary."""
        return (_ids(engine, chunk) for chunk in _chunks(arrays, schema, self.members, self.edges))

    def lists(self, engine: Engine, arrays: Arrays, schema: Schema) -> Iterator[Lists]:
        """[R, 1] the lists of all rows, chunk by chunk; the engine holds the vocabulary."""
        pieces = _parts(arrays, schema, self.members)
        for ids, rows in zip(self.ids(engine, arrays, schema), pieces, strict=True):
            mine = torch.from_numpy(combinations(arrays, schema, self.members, rows))
            offsets = mine.cumsum(0) - mine
            yield Lists(torch.from_numpy(ids), offsets.unsqueeze(1), mine.unsqueeze(1))


def fit_cross(
    engine: Engine,
    train: Arrays,
    schema: Schema,
    members: tuple[str, ...],
    *,
    bins: int,
    min_count: int,
) -> Cross:
    """Fits a cross field on training rows; the engine then holds its vocabulary.

    Args:
        engine: Holds the vocabulary in the end.
        train: Training rows.
        schema: Schema of the rows, without crosses.
        members: Names of the fields to cross.
        bins: Largest number of quantile bins of a numerical member.
        min_count: Smallest count of a combination that gets an id.

    Raises:
        ZooError: Where lists make too many combinations in a row.
    """
    most = max((int(n.max()) for n in _lengths(train, schema, members)), default=0)
    if most > MOST_COMBINATIONS:
        raise ZooError(
            f"the cross {JOINER.join(members)} has {most:,} combinations of values in a row, more "
            f"than {MOST_COMBINATIONS:,}: give its fields of lists a smaller max_length, or leave "
            "it out of data.crosses"
        )
    numerical = [field.name for field in schema.numerical if field.name in members]
    edges = {member: _fit_edges(engine, train, schema, member, bins) for member in numerical}
    _count(engine, _chunks(train, schema, members, edges))
    columns = member_columns(members)
    summed = (
        f"(SELECT {columns}, sum(n)::BIGINT AS count FROM counts GROUP BY ALL "
        f"HAVING sum(n) >= {min_count})"
    )
    engine.run(f"CREATE OR REPLACE TABLE vocabulary AS {sql_ranked(columns, summed)}")
    ((kept,),) = engine.run("SELECT count(*) FROM vocabulary")
    is_list = bool(_list_columns(schema, members))
    return Cross(members, edges, FIRST_ID + kept, "multi" if is_list else "categorical")


def member_columns(members: tuple[str, ...]) -> str:
    """The columns of a cross's members, m0, m1, .. as SQL has them."""
    # not the fields' names, which could be those of the columns beside them
    return ", ".join(f"m{i}" for i in range(len(members)))


def _chunks(
    arrays: Arrays, schema: Schema, members: tuple[str, ...], edges: dict[str, list[float]]
) -> Iterator[dict[str, np.ndarray]]:
    """Columns m0, m1, ..: int32 [E] ids of the members, or numbers of their bins."""
    numerical, categorical = (
        [field.name for field in fields] for fields in (schema.numerical, schema.categorical)
    )
    lists = _list_columns(schema, members)
    for rows in _parts(arrays, schema, members):
        columns = {}
        for i, member in enumerate(members):
            if member in edges:
                numbers = arrays.numerical[rows, numerical.index(member)]
                columns[f"m{i}"] = bins_of(numbers, edges[member])
            elif member in categorical:
                ids = arrays.categorical[rows, categorical.index(member)]
                columns[f"m{i}"] = np.ascontiguousarray(ids)
        for i, column in lists.items():
            assert arrays.lists is not None
            mine = arrays.lists.rows([rows]).columns([column])
            columns = _expanded(columns, f"m{i}", mine, rows.stop - rows.start)
        columns.pop("place", None)
        yield {f"m{i}": columns[f"m{i}"] for i in range(len(members))}


def _expanded(
    columns: dict[str, np.ndarray], name: str, lists: Lists, rows: int
) -> dict[str, np.ndarray]:
    """The columns, each of whose entries is there once for each value of its row's list.

    The column `place` is the number of each entry's row.
    """
    place = columns.get("place", np.arange(rows))
    values, entry = lists.take(torch.from_numpy(place)).flat()
    repeated = {key: column[entry.numpy()] for key, column in columns.items()}
    return {**repeated, name: values.numpy(), "place": place[entry.numpy()]}


def _list_columns(schema: Schema, members: tuple[str, ...]) -> dict[int, int]:
    """The members of lists, by their number: their columns in the lists of the rows."""
    names = [field.name for field in schema.lists]
    return {i: names.index(member) for i, member in enumerate(members) if member in names}


def combinations(
    arrays: Arrays, schema: Schema, members: tuple[str, ...], rows: slice = slice(None)
) -> np.ndarray:
    """int64 [R] number of combinations in each of some rows; 1 where no member is of lists."""
    columns = [*_list_columns(schema, members).values()]
    if not columns or arrays.lists is None:
        return np.ones(len(range(*rows.indices(len(arrays)))), np.int64)
    return arrays.lists.lengths[rows][:, columns].astype(np.int64).prod(1)


def _lengths(arrays: Arrays, schema: Schema, members: tuple[str, ...]) -> Iterator[np.ndarray]:
    """The combinations of all rows, chunk by chunk."""
    for start in range(0, len(arrays), ROWS_PER_CHUNK):
        yield combinations(arrays, schema, members, slice(start, start + ROWS_PER_CHUNK))


def _parts(arrays: Arrays, schema: Schema, members: tuple[str, ...]) -> Iterator[slice]:
    """The rows in chunks of `ROWS_PER_CHUNK` rows and about as many combinations at most."""
    first = 0
    for lengths in _lengths(arrays, schema, members):
        ends, start = lengths.cumsum(), 0
        while start < len(lengths):
            before = int(ends[start - 1]) if start else 0
            many = int(np.searchsorted(ends, before + ROWS_PER_CHUNK, side="right"))
            stop = max(many, start + 1)
            yield slice(first + start, first + stop)
            start = stop
        first += len(lengths)


def _count(engine: Engine, chunks: Iterable[dict[str, np.ndarray]]) -> None:
    """Makes the table `counts`: for each chunk, its distinct rows and how often (n) they come."""
    for i, chunk in enumerate(chunks):
        engine.view("chunk", chunk)
        into = "INSERT INTO counts" if i else "CREATE OR REPLACE TABLE counts AS"
        engine.run(f"{into} SELECT *, count(*) AS n FROM chunk GROUP BY ALL")


def _fit_edges(
    engine: Engine, train: Arrays, schema: Schema, member: str, bins: int
) -> list[float]:
    """The edges of a number's quantile bins; see `datamodules.tabular.bins`."""
    column = [field.name for field in schema.numerical].index(member)
    starts = range(0, len(train), ROWS_PER_CHUNK)
    numbers = (train.numerical[start : start + ROWS_PER_CHUNK, column] for start in starts)
    _count(engine, ({"value": np.ascontiguousarray(chunk)} for chunk in numbers))
    return quantile_edges(engine, bins)


def _ids(engine: Engine, chunk: dict[str, np.ndarray]) -> np.ndarray:
    """int32 [E] the ids of the combinations of a chunk."""
    (n,) = {len(column) for column in chunk.values()}
    engine.view("chunk", {**chunk, "place": np.arange(n)})
    found = engine.arrays(f"SELECT place, id FROM chunk JOIN vocabulary USING ({', '.join(chunk)})")
    ids = np.full(n, UNKNOWN, np.int32)
    ids[found["place"]] = found["id"]
    return ids
