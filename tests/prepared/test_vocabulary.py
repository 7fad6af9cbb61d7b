"""The rule that all vocabularies keep, and the limit of malformed rows."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodules.prepared.rejected import Example, Rejected
from datamodules.prepared.vocabulary import FIRST_ID, Vocabulary, ranked, sql_ranked
from zoo import ZooError

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=3)


@given(st.dictionaries(TEXTS, st.integers(1, 4), min_size=1, max_size=12))
def test_the_rule_is_the_same_in_python_and_sql(engine, counts):
    values, count = np.array(list(counts), object), np.array(list(counts.values()))
    engine.view("met", {"value": values, "count": count})
    wanted = [(value, i, n) for i, (value, n) in enumerate(ranked(counts).items(), FIRST_ID)]
    assert engine.run(sql_ranked("value", "met")) == wanted
    assert engine.run(sql_ranked("value", "met", most=2)) == wanted[:2]


def test_ids_are_unknown_missing_and_the_most_frequent_first():
    values = ["b", "a", None, "c", "d"]
    vocabulary = Vocabulary(values, np.array([3, 3, 9, 5, 0]))
    assert vocabulary.counts == {"c": 5, "a": 3, "b": 3}
    assert vocabulary.encode(["c", "a", "b", "d", "e", None]).tolist() == [2, 3, 4, 0, 0, 1]
    assert vocabulary.cardinality == 5


def rejected(total, *counts):
    found = Rejected(total=total)
    for line, count in enumerate(counts, 1):
        found.add(Example(Path("a.txt"), line, f"reason {line}"), count)
    return found


def test_malformed_rows_are_tolerated_up_to_a_share():
    rejected(100, 1, 1).check(0.02)
    rejected(100).check(0)
    message = r"2 of 100 rows are malformed, more than data.max_bad_rows allows \(1.000%\); "
    with pytest.raises(ZooError, match=message + "the first is line 1 of a.txt: reason 1$"):
        rejected(100, 1, 1).check(0.01)


def test_no_usable_row_is_an_error_whatever_is_tolerated():
    with pytest.raises(ZooError, match=r"no usable row; the first is line 1 of a.txt: reason 1"):
        rejected(2, 2).check(1)


def test_the_first_few_malformed_rows_are_kept():
    found = rejected(100, *range(1, 9))
    assert [example.line for example in found.examples] == [1, 2, 3, 4, 5]
    assert found.count == sum(range(1, 9))
