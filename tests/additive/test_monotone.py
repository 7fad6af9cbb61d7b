"""Terms that rise or fall with a number, whatever the weights and the other fields."""

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.additive import TERMS, network, rows

from zoo import Batch, ZooError

BOUNDED = {"a": 1, "b": -1}
numbers = st.floats(-10, 10, width=32)
ROUNDING = 1e-5  # of the largest logit


@cache
def bounded():
    return network(monotone=BOUNDED)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 99),
    st.lists(numbers, min_size=2, max_size=8),
    numbers,
    st.integers(0, 6),
    st.integers(0, 4),
    st.sampled_from([[], ["a x b"], ["c x b x d", "a x b"]]),
)
def test_the_logit_rises_and_falls_as_it_must(seed, values, other, c, d, off):
    model = bounded()
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=float(torch.rand(1)) * 2)
    model.purify()
    for term in model.terms:
        model.switch([term.name], on=term.name not in off)
    values = torch.tensor(sorted(values))
    ids = torch.tensor([[c, d]]).expand(len(values), 2)
    for place, direction in ((0, 1), (1, -1)):
        cells = torch.full((len(values), 2), other)
        cells[:, place] = values
        logits = model(Batch(cells, ids, torch.zeros(len(values)))).double()
        scale = ROUNDING * (1 + logits.abs().max())
        assert (direction * logits.diff() >= -scale).all()


def test_products_of_both_signs_interact_either_way():
    """min(a, -b) and max(a, -b) rise with a and fall with b; their interactions are opposite."""
    model = network([["a", "b"]], monotone=BOUNDED, rank=2)
    (group,) = model.additive.groups
    batch = rows()
    first, second = group.factors(*model._inputs(batch)).unbind(1)
    places = first[0].detach(), second[0].detach()
    a, b = batch.numerical.T
    assert (places[0][a.argsort()].diff(dim=0)[:, 0] >= 0).all()
    assert (places[0][a.argsort()].diff(dim=0)[:, 1] <= 0).all()
    assert (places[1][b.argsort()].diff(dim=0)[:, 0] <= 0).all()
    assert (places[1][b.argsort()].diff(dim=0)[:, 1] >= 0).all()
    assert group.signs.tolist() == [1, -1]


def test_only_terms_of_such_numbers_are_bounded():
    groups = network(monotone={"b": 1}).additive.groups
    assert [type(group).__name__ for group in groups] == [
        *("Singles", "MonotoneProducts", "Products", "MonotoneProducts", "MonotoneProducts")
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"monotone": {"c": 1}}, "model.monotone must name numbers: a, b, got 'c'"),
        ({"monotone": {"a": 2}}, r"model.monotone.a must be 1 \(rises\) or -1 \(falls\), got 2"),
        ({"monotone": {"a": True}}, "model.monotone.a must be 1"),
        (
            {"monotone": {"a": 1}, "numerical_encoding": "learned_bins"},
            "model.monotone needs numerical_encoding: piecewise_linear",
        ),
    ],
)
def test_what_cannot_be_monotone_is_refused(options, message):
    with pytest.raises(ZooError, match=message):
        network(TERMS, **options)
