"""Each term is a function of its own fields, told apart from the others, and they add up."""

from itertools import combinations, product

import pytest
import torch
from support.additive import SCHEMA, TERMS, network, rows
from support.small_checkpoints import saved

from zoo import AdditiveNetwork, Batch, Field, Schema, ZooError
from zoo.data.lists import Lists


def assert_adds_up(model, batch):
    added = model.intercept + model.contributions(batch).sum(1)
    torch.testing.assert_close(added, model(batch), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("monotone", [None, {"b": 1}])
def test_contributions_add_up_to_the_logit(monotone):
    model = network(monotone=monotone)
    assert_adds_up(model, rows(1))
    model.negative_sampling_rate = 0.25  # whose logits are recalibrated
    assert_adds_up(model, rows(1))
    model.switch(["c x d", "a"], on=False)
    assert_adds_up(model, rows(1))


def test_terms_add_up_before_they_are_told_apart():
    model = AdditiveNetwork(SCHEMA, terms=TERMS, embedding_std=1.0).eval()
    assert_adds_up(model, rows(1))


@pytest.mark.parametrize("monotone", [None, {"b": -1}])
def test_each_term_depends_on_its_own_fields_bit_for_bit(monotone):
    model, batch, others = network(monotone=monotone), rows(1), rows(2)
    before = model.contributions(batch)
    for field in SCHEMA.fields:
        part = field.kind
        column = getattr(SCHEMA, part).index(field)
        values = getattr(batch, part).clone()
        values[:, column] = getattr(others, part)[:, column]
        after = model.contributions(batch._replace(**{part: values}))
        for number, term in enumerate(model.terms):
            same = torch.equal(before[:, number], after[:, number])
            assert same == (field.name not in term.fields), (field.name, term.name)


def test_each_term_is_zero_on_average_over_the_training_rows():
    model = network(monotone={"a": 1})
    found = model.contributions(rows())
    torch.testing.assert_close(found.mean(0), torch.zeros(len(TERMS)), atol=1e-5, rtol=0)
    torch.testing.assert_close(model.additive.spread, found.std(0, correction=0))


def grid():
    """All combinations of two numbers and two ids: fields that are independent."""
    values = [torch.tensor([-1.0, 0.3, 2.0]), torch.arange(7), torch.tensor([0.5, 1.0])]
    a, c, b, d = (torch.tensor(x) for x in zip(*product(*values, torch.arange(5)), strict=True))
    numbers = torch.stack([a, b], 1).float()
    return Batch(numbers, torch.stack([c, d], 1).long(), torch.zeros(len(a)))


@pytest.mark.parametrize("monotone", [None, {"a": 1}])
def test_terms_are_those_of_the_analysis_of_variance(monotone):
    """g_S = sum_{R in S} (-1)^(|S| - |R|) E[f | x_R], by the means over all cells of a grid."""
    batch = grid()
    every = [[*names] for size in (1, 2, 3) for names in combinations("acbd", size)]
    model = network(every, known=batch, monotone=monotone).double()
    batch = batch._replace(numerical=batch.numerical.double(), label=batch.label.double())
    model.purify()
    found = model.contributions(batch)
    cells = (model(batch) - model.intercept).detach().view(3, 7, 2, 5)
    for number, term in enumerate(model.terms):
        axes = [("acbd").index(name) for name in term.fields]
        effect = torch.zeros(1, dtype=torch.float64)
        for size in range(len(axes) + 1):
            for kept in combinations(axes, size):
                others = [axis for axis in range(4) if axis not in kept]
                mean = cells.mean(others, keepdim=True) if others else cells
                effect = effect + (-1) ** (len(axes) - size) * mean
        expected = effect.expand(cells.shape).flatten()
        torch.testing.assert_close(found[:, number], expected, atol=1e-6, rtol=1e-6)


def test_a_switched_off_term_predicts_as_if_it_were_zero(tmp_path):
    model, batch = network(), rows(1)
    whole, parts = model(batch), model.contributions(batch)
    model.switch(["a x b", "c"], on=False)
    assert [term.name for term in model.terms if not term.on] == ["c", "a x b"]
    names = [term.name for term in model.terms]
    gone = parts[:, names.index("c")] + parts[:, names.index("a x b")]
    torch.testing.assert_close(model(batch), whole - gone, atol=1e-5, rtol=1e-5)
    assert not model.contributions(batch)[:, [names.index("c"), names.index("a x b")]].any()
    path = saved(model, tmp_path / "m.ckpt")
    loaded = AdditiveNetwork.load_from_checkpoint(path, weights_only=True).eval()
    assert torch.equal(loaded(batch), model(batch))
    assert loaded.terms == model.terms
    loaded.switch(["c", "a x b"], on=True)
    assert torch.equal(loaded(batch), whole)


def test_a_shift_moves_each_logit():
    model, batch = network(), rows(1)
    before = model(batch)
    model.shift(0.5)
    torch.testing.assert_close(model(batch), before + 0.5)


def test_numbers_beyond_the_training_rows_are_as_at_their_ends():
    model, batch = network(), rows(1)
    ends = rows().numerical
    beyond = batch._replace(numerical=batch.numerical * 1000)
    inside = beyond.numerical.clamp(ends.min(0).values, ends.max(0).values)
    assert torch.equal(model(beyond), model(batch._replace(numerical=inside)))


def test_a_list_is_a_term_too():
    schema = Schema((Field("c", "categorical", 5), Field("tags", "multi", 5, vocabulary="c")))
    torch.manual_seed(0)
    terms = [["c"], ["tags"], ["c", "tags"]]
    model = AdditiveNetwork(schema, terms=terms, embedding_dim=4, embedding_std=1.0).eval()
    lists = Lists(
        torch.tensor([2, 3]), torch.tensor([[0], [0], [0]]), torch.tensor([[2], [1], [0]])
    )
    ids = torch.full((3, 1), 2)
    batch = Batch(torch.zeros(3, 0), ids, torch.zeros(3), lists=lists)
    found = model.contributions(batch)
    assert_adds_up(model, batch)
    assert torch.equal(found[:, 0], found[:1, 0].expand(3))
    assert found[2, 1] == 0  # an empty list
    # the list of one value is the vector of the category, of which each term is another function
    assert not torch.isclose(found[1, 0], found[1, 1])
    with pytest.raises(ZooError, match="attention would make the terms of a list depend on"):
        AdditiveNetwork(schema, terms=terms, pooling="attention")
