"""Lists of ids in batches, against Python's own lists."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo import Batch, Field, Schema, ZooError
from zoo.data.batch import chunks, concatenate, take
from zoo.data.batch_checks import check
from zoo.data.lists import Lists, beside, concatenate_lists

ids = st.lists(st.integers(0, 9), max_size=4)
rows = st.lists(st.tuples(ids, ids), min_size=1, max_size=6)
SCHEMA = Schema((Field("x", "numerical"), Field("m", "multi", 10), Field("s", "sequence", 10)))


def lists_of(found):
    """Lists whose values lie in another order than their rows, with some that are in no list."""
    values, places = [99], {}
    for b, row in reversed([*enumerate(found)]):
        for m, mine in enumerate(row):
            places[b, m] = len(values), len(mine)
            values += [*mine, 99]
    table = torch.tensor([[places[b, m] for m in range(2)] for b in range(len(found))])
    return Lists(torch.tensor(values), table[..., 0], table[..., 1])


def python_of(lists):
    """The lists of each row, read one by one."""
    pairs = zip(lists.offsets.tolist(), lists.lengths.tolist(), strict=True)
    return [
        tuple(lists.values[o : o + n].tolist() for o, n in zip(*row, strict=True)) for row in pairs
    ]


def batch_of(found):
    n = len(found)
    return Batch(torch.zeros(n, 1), torch.zeros(n, 0).int(), torch.ones(n), lists=lists_of(found))


@given(rows, rows, st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_what_is_done_with_lists_is_done_with_each(first, second, random):
    lists = lists_of(first)
    assert python_of(lists) == first
    assert python_of(lists.compact()) == first
    flat, number = lists.flat()
    assert flat.tolist() == [v for row in first for mine in row for v in mine]
    lengths = [len(mine) for row in first for mine in row]
    assert number.bincount(minlength=len(lengths)).tolist() == lengths
    assert len(lists.compact().values) == len(flat)
    chosen = [random.randrange(len(first)) for _ in range(5)]
    assert python_of(lists.take(torch.tensor(chosen))) == [first[i] for i in chosen]
    assert python_of(lists.columns([1, 0])) == [(b, a) for a, b in first]
    assert python_of(concatenate_lists([lists, lists_of(second)])) == [*first, *second]
    both = beside([lists, lists.columns([1])])
    assert python_of(both) == [(a, b, b) for a, b in first]
    longest = max(len(a) for a, _ in first)
    padded = [a + [-1] * (longest - len(a)) for a, _ in first]
    assert lists.padded(0).tolist() == padded


@given(rows)
@settings(max_examples=20, deadline=None)
def test_batches_carry_their_lists(found):
    batch = batch_of(found)
    assert python_of(take(batch, slice(1, None)).lists) == found[1:]
    assert python_of(concatenate([*chunks(batch, 2)]).lists) == found
    shuffled = batch.shuffled(SCHEMA, SCHEMA.lists[1], seed=3).lists
    assert [a for a, _ in python_of(shuffled)] == [a for a, _ in found]
    assert sorted(b for _, b in python_of(shuffled)) == sorted(b for _, b in found)
    wanted = Schema((SCHEMA.lists[1],))
    assert python_of(batch.view(SCHEMA, wanted).lists) == [(b,) for _, b in found]


def test_lists_of_values_are_kept_apart_from_those_of_a_whole_split():
    lists = lists_of([([1, 2], []), ([3], [4])])
    joined = concatenate_lists([lists.take(torch.tensor([0]))] * 3)
    assert len(joined.values) == 6


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (batch_of([([1], [9])])._replace(lists=None), "batch.lists has 0 fields, .* schema has 2"),
        (batch_of([([1], [10])]), "batch.lists holds the id 10 of the field s: .* ids are 0 to 9"),
        (batch_of([([-1], [0])]), "batch.lists holds the id -1 of the field m"),
    ],
)
def test_message_of_wrong_lists(batch, message):
    with pytest.raises(ZooError, match=message):
        check(batch, SCHEMA)


def test_message_of_a_wrong_vocabulary():
    with pytest.raises(ZooError, match="field s: its vocabulary 'm' must be that of a field"):
        Schema((Field("m", "multi", 10), Field("s", "sequence", 9, vocabulary="m")))
    with pytest.raises(ZooError, match="field s: its vocabulary 'q' must be that of a field"):
        Schema((Field("m", "multi", 10), Field("s", "sequence", 9, vocabulary="q")))


def test_schemas_with_lists_come_back_and_others_are_as_before():
    shared = Schema((Field("m", "categorical", 10), Field("s", "sequence", 10, vocabulary="m")))
    assert Schema.from_dict(shared.to_dict()) == shared
    assert shared.to_dict()["format"] == 2
    assert shared.first_rows == {"m": 0, "s": 0}
    assert shared.table_rows == 10
    plain = Schema((Field("c", "categorical", 5),)).to_dict()
    field = {"name": "c", "kind": "categorical", "cardinality": 5, "group": ""}
    assert plain == {"format": 1, "fields": [field]}
