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

Shapes: R rows of a chunk.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from datamodules.prepared.arrays import IDS, Arrays
from datamodules.prepared.encoder import write_description
from datamodules.prepared.engine import Engine
from datamodules.prepared.npy import array_file
from datamodules.prepared.vocabulary import FIRST_ID, sql_ids
from datamodules.tabular.bins import bins_of, quantile_edges
from datamodules.tabular.encoder import save_vocabulary
from datamodules.tabular.rows import ROWS_PER_CHUNK
from zoo.data.encoder import CROSS_KINDS, encoder_description
from zoo.data.schema import CROSS, JOINER, UNKNOWN, Field, Schema


@dataclass(frozen=True)
class Cross:
    """A fitted cross field; its vocabulary is the table `vocabulary` of an engine, or on disk.

    Attributes:
        members: Names of the fields that it crosses.
        edges: For each numerical member the upper edges of all bins but the last, ascending; a
            number on an edge lies below it.
        cardinality: Number of its ids, unknown and missing included.
    """

    members: tuple[str, ...]
    edges: dict[str, list[float]]
    cardinality: int

    @property
    def field(self) -> Field:
        """As models see it."""
        return Field(JOINER.join(self.members), "categorical", self.cardinality, CROSS)

    def save(self, engine: Engine, folder: Path) -> None:
        """Writes a folder from which rows can be encoded; the engine holds the vocabulary."""
        folder.mkdir()
        save_vocabulary(engine, folder, order="id")
        write_description(folder / "cross.json", asdict(self))

    @classmethod
    def load(cls, folder: Path) -> "Cross":
        """Reads what `save` wrote, the vocabulary left out."""
        kinds = CROSS_KINDS | {"cardinality": int}
        with encoder_description(folder / "cross.json", kinds) as data:
            return cls(tuple(data["members"]), data["edges"], data["cardinality"])

    def write(self, engine: Engine, arrays: Arrays, schema: Schema, folder: Path) -> None:
        """Writes the ids of all rows into a new folder; the engine holds the vocabulary.

        Ids are stored in as few bytes as the largest needs; batches hold them as int32.
        """
        folder.mkdir()
        dtype = np.min_scalar_type(self.cardinality - 1)
        with array_file(folder / f"{IDS}.npy", (len(arrays),), dtype) as file:
            for ids in self.ids(engine, arrays, schema):
                file.write(ids.astype(dtype).data)

    def ids(self, engine: Engine, arrays: Arrays, schema: Schema) -> Iterator[np.ndarray]:
        """int32 [R] the ids of all rows, chunk by chunk; the engine holds the vocabulary."""
        return (_ids(engine, chunk) for chunk in _chunks(arrays, schema, self.members, self.edges))


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
    """
    numerical = [field.name for field in schema.numerical if field.name in members]
    edges = {member: _fit_edges(engine, train, schema, member, bins) for member in numerical}
    _count(engine, _chunks(train, schema, members, edges))
    columns = member_columns(members)
    engine.run(
        f"CREATE OR REPLACE TABLE vocabulary AS SELECT {columns}, "
        f"({sql_ids('count', columns)})::INTEGER AS id, count "
        f"FROM (SELECT {columns}, sum(n)::BIGINT AS count FROM counts GROUP BY ALL) "
        f"WHERE count >= {min_count}"
    )
    ((kept,),) = engine.run("SELECT count(*) FROM vocabulary")
    return Cross(members, edges, FIRST_ID + kept)


def member_columns(members: tuple[str, ...]) -> str:
    """The columns of a cross's members, m0, m1, .. as SQL has them."""
    # not the fields' names, which could be those of the columns beside them
    return ", ".join(f"m{i}" for i in range(len(members)))


def _chunks(
    arrays: Arrays, schema: Schema, members: tuple[str, ...], edges: dict[str, list[float]]
) -> Iterator[dict[str, np.ndarray]]:
    """Columns m0, m1, ..: int32 [R] ids of the members, or numbers of their bins."""
    numerical, categorical = (
        [field.name for field in fields] for fields in (schema.numerical, schema.categorical)
    )
    for start in range(0, len(arrays), ROWS_PER_CHUNK):
        rows = slice(start, start + ROWS_PER_CHUNK)
        columns = {}
        for i, member in enumerate(members):
            if member in edges:
                numbers = arrays.numerical[rows, numerical.index(member)]
                columns[f"m{i}"] = bins_of(numbers, edges[member])
            else:
                ids = arrays.categorical[rows, categorical.index(member)]
                columns[f"m{i}"] = np.ascontiguousarray(ids)
        yield columns


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
    """int32 [R] the ids of the combinations of a chunk."""
    (n,) = {len(column) for column in chunk.values()}
    engine.view("chunk", {**chunk, "place": np.arange(n)})
    found = engine.arrays(f"SELECT place, id FROM chunk JOIN vocabulary USING ({', '.join(chunk)})")
    ids = np.full(n, UNKNOWN, np.int32)
    ids[found["place"]] = found["id"]
    return ids
