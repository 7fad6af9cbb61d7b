"""Vocabularies that fit in no memory: the same ids, by files and by parts of the rows."""

from collections import Counter
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from datamodules.prepared.encoder import Encoder
from datamodules.prepared.engine import Engine
from datamodules.prepared.vocabulary import FIRST_ID, ranked
from datamodules.tabular import look_up, vocabularies
from datamodules.tabular.encoder import encode, fit_schema
from datamodules.tabular.rows import Rows
from datamodules.tabular.source import RawField
from datamodules.tabular.vocabularies import (
    fit_vocabulary,
    join_vocabularies,
    load_vocabulary,
    new_vocabulary,
    save_vocabulary,
    write_counts,
)
from zoo.data.checksums import checksum
from zoo.data.encoder import VOCABULARY
from zoo.data.errors import ZooError

FIELDS = [RawField("b", "categorical", ""), RawField("a", "categorical", "", max_size=3)]
TEXTS = st.one_of(st.none(), st.sampled_from(["1", "2", "10", "é", "z", "'", "aa", "", "😀", "￿"]))
TABLES = st.lists(st.tuples(TEXTS, TEXTS, st.integers(0, 1)), min_size=2, max_size=40)
SIZES = {
    "all in memory, a chunk at a time": {"BYTES_PER_TEXT": 10**15},
    "several chunks at a time": {"BYTES_PER_TEXT": 1},
    "from its file, several chunks": {"BYTES_PER_TEXT": 1, "MOST_IN_ENGINE": 2},
}


def chunks_of(table, size):
    """The rows in chunks; of each the texts of fields are numbered."""
    rows = Rows(None)
    for start in range(0, len(table), size):
        b, a, split = zip(*table[start : start + size], strict=True)
        columns = {"row": np.arange(len(b)) + start, "label": np.zeros(len(b), np.float32)}
        texts = {n: pa.array(x, pa.string()).dictionary_encode() for n, x in (("b", b), ("a", a))}
        rows.add(pa.table(columns | texts))
        rows.splits[-1] = np.array(split, np.int8)
    return rows


def expected(table, column, min_count, most):
    """The ids of all rows in the slow way, and the vocabulary."""
    met = Counter(row[column] for row in table if row[2] == 0 and row[column] is not None)
    kept = {value: n for value, n in ranked(met).items() if n >= min_count}
    values = [*kept][:most]
    ids = {value: i for i, value in enumerate(values, FIRST_ID)} | {None: 1}
    return [ids.get(row[column], 0) for row in table], [(v, ids[v], kept[v]) for v in values]


def fitted(engine, folder, parts, groups, min_count):
    """The encoder of all parts, whose vocabularies are fitted in groups of fields."""
    counts = []
    for number, rows in enumerate(parts):
        counts.append(folder / f"[{number}].parquet")
        write_counts(engine, rows, FIELDS, counts[-1])
    at = []
    for fields in groups:
        at.append(folder / fields[0].name)
        at[-1].mkdir()
        new_vocabulary(engine)
        fit_vocabulary(engine, counts, FIELDS, fields, min_count)
        save_vocabulary(engine, at[-1], order="field, id")
    (folder / "all").mkdir()
    join_vocabularies(engine, at, folder / "all")
    return Encoder("Table", {}, fit_schema(engine, FIELDS), {})


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@settings(max_examples=6, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(TABLES, st.integers(1, 12), st.integers(1, 3), st.integers(0, 40))
def test_ids_are_those_of_the_slow_way(tmp_path_factory, sizes, table, chunk, min_count, cut):
    folder = tmp_path_factory.mktemp("large")
    parts = [chunks_of(rows, chunk) for rows in (table[:cut], table[cut:])]
    with (
        Engine(folder / "work", "300MB") as engine,
        mock.patch.object(look_up, "BYTES_PER_TEXT", sizes["BYTES_PER_TEXT"]),
        mock.patch.object(vocabularies, "MOST_IN_ENGINE", sizes.get("MOST_IN_ENGINE", 10**6)),
    ):
        (folder / "one").mkdir()
        fitted(engine, folder / "one", [chunks_of(table, 9)], [FIELDS], min_count)
        (folder / "many").mkdir()
        encoder = fitted(engine, folder / "many", parts, [[f] for f in FIELDS], min_count)
        found = [e.categorical for rows in parts for e in encode(engine, rows, encoder)]
        load_vocabulary(engine, folder / "many/all", "field, value, id, count")
        known = engine.run("SELECT * FROM vocabulary")
    assert checksum(folder / "one/all" / VOCABULARY) == checksum(folder / "many/all" / VOCABULARY)
    (b, of_b), (a, of_a) = (expected(table, c, min_count, f.max_size) for c, f in enumerate(FIELDS))
    assert np.array_equal(np.concatenate(found), np.array([b, a], np.int32).T)
    assert known == [("a", *line) for line in of_a] + [("b", *line) for line in of_b]


def test_a_large_vocabulary_is_read_once_for_many_chunks(tmp_path):
    """As many chunks together as hold as many texts as it has ids."""
    table = [(str(i), str(i % 3), 0) for i in range(1000)]
    rows = chunks_of(table, 100)
    queries = []
    with Engine(tmp_path / "work", "300MB") as engine:
        encoder = fitted(engine, tmp_path, [rows], [FIELDS], 1)
        batches = engine.batches
        engine.batches = lambda sql: queries.append(sql) or batches(sql)
        assert len([*encode(engine, rows, encoder)]) == 10
    assert len(queries) == 1


def test_what_does_not_fit_in_memory_is_spilled(tmp_path):
    table = [(f"{i * 7919 % 150_000:016}", "x", 0) for i in range(200_000)]
    rows, spilled = chunks_of(table, 50_000), []

    def spying(run):
        def wrapped(*args):
            found = run(*args)
            spilled.extend((tmp_path / "work/spill").glob("*"))
            return found

        return wrapped

    with Engine(tmp_path / "work", "28MB", threads=1) as engine:
        engine.run = spying(engine.run)
        encoder = fitted(engine, tmp_path, [rows], [FIELDS], 1)
        found = np.concatenate([e.categorical for e in encode(engine, rows, encoder)])
    assert spilled
    assert np.array_equal(found[:, 0], expected(table, 0, 1, None)[0])


def test_a_large_vocabulary_is_not_copied(tmp_path):
    rows = chunks_of([(str(i), "x", 0) for i in range(100)], 50)
    with Engine(tmp_path / "work", "300MB") as engine:
        for most, kind in ((99, "VIEW"), (101, "BASE TABLE"), (50, "VIEW")):
            with mock.patch.object(vocabularies, "MOST_IN_ENGINE", most):
                if most == 99:
                    fitted(engine, tmp_path, [rows], [FIELDS], 1)
                load_vocabulary(engine, tmp_path / "all", "field, value, id")
            found = "SELECT table_type FROM information_schema.tables WHERE table_name = "
            assert engine.run(f"{found}'vocabulary'") == [(kind,)]


@pytest.mark.parametrize("damage", [lambda p: p.write_bytes(b"PAR1"), lambda p: p.unlink()])
def test_a_damaged_vocabulary_is_named(tmp_path, engine, damage):
    (tmp_path / VOCABULARY).write_bytes(b"")
    damage(tmp_path / VOCABULARY)
    with pytest.raises(ZooError, match=f"{tmp_path / VOCABULARY} is damaged"):
        load_vocabulary(engine, tmp_path, "*")


@pytest.mark.parametrize(
    ("limit", "share", "wanted"), [("1GB", 1, 10**9), ("1.5 MiB", 2, 3 * 2**18), ("2KB", 1, 2000)]
)
def test_the_bytes_of_a_limit(limit, share, wanted):
    assert Engine(None, limit, share=share).bytes == wanted
