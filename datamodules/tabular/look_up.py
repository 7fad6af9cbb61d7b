"""The ids of texts: each distinct text of a chunk of rows is looked up once.

Shapes: R texts of some chunks, those of each chunk and field beside each other.
"""

from collections.abc import Iterator
from itertools import islice

import numpy as np
import pyarrow as pa

from datamodules.prepared.encoder import Encoder
from datamodules.prepared.engine import Engine
from datamodules.tabular.rows import Rows, column_of, texts_of
from zoo.data.schema import UNKNOWN, Field

BYTES_PER_TEXT = 256  # that a text takes at most while it is looked up, in most data
Ids = dict[str, np.ndarray]


def looked_up(engine: Engine, rows: Rows, encoder: Encoder) -> Iterator[tuple[pa.Table, Ids]]:
    """The chunks of rows, each with int32 the ids of its texts, by the name of their field.

    A vocabulary is read once for each look-up. So that a large one is not read for each chunk,
    texts of several are looked up together: about as many as it has ids, or as fit in the memory
    of the engine.

    Args:
        engine: Holds the vocabulary.
        rows: The rows.
        encoder: What was fitted.
    """
    schema = encoder.schema
    fields = [f for f in (*schema.categorical, *schema.lists) if f.name not in encoder.edges]
    ((known,),) = engine.run("SELECT count(*) FROM vocabulary")
    enough = min(known, engine.bytes // BYTES_PER_TEXT)
    ahead, behind = iter(rows), iter(rows)
    while sizes := _gather(engine, ahead, fields, enough):
        ids = np.full(sum(map(sum, sizes)), UNKNOWN, np.int32)
        texts = "wanted" if sizes[1:] else "chunk"
        query = f"SELECT place, id FROM {texts} JOIN vocabulary USING (field, value)"
        for batch in engine.batches(query):
            ids[batch["place"].to_numpy()] = batch["id"].to_numpy()
        engine.run("DROP TABLE IF EXISTS wanted")
        ends = iter(np.split(ids, np.cumsum([n for chunk in sizes for n in chunk])))
        for chunk in islice(behind, len(sizes)):
            yield chunk, {field.name: next(ends) for field in fields}


def _gather(
    engine: Engine, chunks: Iterator[pa.Table], fields: list[Field], enough: int
) -> list[list[int]]:
    """Gathers the texts of the next chunks, until these are enough: those of one chunk as the
    engine's `chunk`, those of several as `wanted`.

    Returns:
        Of each chunk, and in it of each field, the number of texts.
    """
    names = pa.array([field.vocabulary or field.name for field in fields], pa.string())
    sizes: list[list[int]] = []
    total = 0
    for chunk in chunks:
        if sizes:
            into = "INSERT INTO wanted" if sizes[1:] else "CREATE OR REPLACE TABLE wanted AS"
            engine.run(f"{into} SELECT * FROM chunk")  # the one before
        texts = [texts_of(column_of(chunk, field.name)).dictionary for field in fields]
        sizes.append([len(found) for found in texts])
        number = np.repeat(np.arange(len(fields), dtype=np.int32), sizes[-1])
        value = pa.concat_arrays([pa.array([], pa.string()), *texts])
        place = total + np.arange(len(value))
        engine.view(
            "chunk", {"field": names.take(pa.array(number)), "value": value, "place": place}
        )
        total += len(value)
        if total >= enough:
            break
    if sizes[1:]:
        engine.run("INSERT INTO wanted SELECT * FROM chunk")
    return sizes
