"""Numbers of a curve as the table has them: what an encoder says of their scale, and ticks."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.data.scales import Scale, scales_of
from zoo.inspect.with_data.term_shapes import Curve
from zoo.inspect.with_data.term_ticks import MOST, between, even, powers, ticks


def taken(x):
    return math.copysign(math.log1p(abs(x)), x)


def encoder(folder, **said):
    (folder / "encoder.json").write_text(json.dumps({"format": 1, **said}))
    return folder


def test_an_encoder_says_what_becomes_of_numbers(tmp_path):
    kinds = {"a": "none", "b": "log", "c": "standardise", "d": "quantile", "e": "other"}
    fields = [{"name": name, "transform": transform} for name, transform in kinds.items()]
    found = scales_of(
        encoder(
            tmp_path, options={"fields": fields}, scaling={"c": [10.0, 2.0]}, edges={"d": [1.0]}
        )
    )
    assert {*found.of} == {"a", "b", "c"}
    assert found.of["a"].raw(3.5) == 3.5
    assert found.of["c"].raw(-1.5) == 7.0
    for x in (-700.0, -0.5, 0.0, 3.0, 1e6):
        assert found.of["b"].raw(taken(x)) == pytest.approx(x)
    assert found.of["b"].raw(1e6) == math.inf
    assert found.binned == {"d"}


def test_numbers_of_criteo_are_scaled_alike(tmp_path):
    fields = [{"name": "I1", "kind": "numerical"}, {"name": "C1", "kind": "categorical"}]
    schema = {"fields": fields}
    found = scales_of(encoder(tmp_path, options={"scaling": "log"}, schema=schema))
    assert found.of == {"I1": Scale(log=True)}
    found = scales_of(encoder(tmp_path, options={"scaling": "log_squared"}, schema=schema))
    assert not found.of


def test_without_an_encoder_nothing_is_known(tmp_path):
    assert not scales_of(None).of
    assert not scales_of(tmp_path).of
    assert not scales_of(encoder(tmp_path)).of


def curve(raws, scale):
    values = tuple(map(scale, raws))
    edges = tuple(values[0] + i * (values[-1] - values[0]) / 4 for i in range(5))
    return Curve("n", values, values, edges, (1,) * 4, None, tuple(raws))


@given(
    st.lists(st.floats(-1e6, 1e6).map(lambda x: round(x, 2)), min_size=2, max_size=30, unique=True),
    st.sampled_from([taken, lambda x: (x - 3) / 7]),
)
def test_ticks_are_few_rise_and_lie_where_the_number_is(raws, scale):
    found = ticks(curve(sorted(raws), scale))
    assert len(found["tickvals"]) <= MOST + 2
    assert found["tickvals"] == sorted(found["tickvals"])
    low, high = scale(min(raws)), scale(max(raws))
    rounding = 1e-9 * (high - low)
    assert all(low - rounding <= x <= high + rounding for x in found["tickvals"])


def test_ticks_of_logarithms_are_round_and_far_apart():
    found = ticks(curve([x / 10 for x in range(0, 6000)], taken))
    said = [float(text.replace(",", "")) for text in found["ticktext"]]
    assert said[0] == 0
    assert {*said} <= {0.0, *(m * 10.0**k for k in range(-2, 4) for m in (1, 2, 5))}
    assert 5 <= len(said) <= MOST + 1
    for text, at in zip(said, found["tickvals"], strict=True):
        assert at == pytest.approx(taken(text), abs=0.01)


def test_ticks_of_standardised_numbers_are_even():
    found = ticks(curve([*range(18, 80)], lambda x: (x - 40) / 12))
    assert found["ticktext"] == ["20", "30", "40", "50", "60", "70"]
    assert found["tickvals"][2] == pytest.approx(0)


def test_numbers_that_are_taken_as_they_are_need_none():
    assert ticks(curve([1.0, 2.0, 3.0], lambda x: x)) == {}


def test_round_numbers_and_lines():
    assert powers(-2, 10)[:3] == [-2, -1, -0.5]
    assert powers(3, 60) == [5, 10, 20, 50]
    assert even(0, 100) == [0, 20, 40, 60, 80, 100]
    assert even(5, 5) == [5]
    assert between(1.5, [1, 2, 4], [10, 20, 0]) == 15
    assert (between(9, [1, 2], [3, 4]), between(-9, [1, 2], [3, 4])) == (4, 3)
