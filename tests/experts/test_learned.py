"""Subsets that are learned: what grows, what is chosen, and planted truth."""

from itertools import pairwise

import pytest
import torch
from support import expertise

from zoo import Batch, Field, Schema, ZooError
from zoo.data.batch import chunks
from zoo.experts.growth import choose, grow, kept
from zoo.experts.learned import LearnConfig, learn
from zoo.experts.masked import Judge, MaskedNetwork, NetworkConfig, SubsetScores, random_masks
from zoo.experts.parts import parts_of

VALUES = 4
NAMES = ("a", "b", "c", "d")
SMALL = NetworkConfig(hidden_units=(64, 32), learning_rate=0.01, epochs=30, patience=5, steps=600)


def planted(rows, seed):
    """a alone decides where a < 2, else a XOR b; c and d are noise."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(VALUES, (rows, len(NAMES)), generator=generator)
    sign = ids % 2 * 2 - 1
    told = torch.where(ids[:, 0] < VALUES // 2, sign[:, 0], sign[:, 0] * sign[:, 1])
    positive = torch.rand(rows, generator=generator) < torch.where(told > 0, 0.95, 0.05)
    return Batch(torch.zeros(rows, 0), ids + 2, positive.float())


def learned(**options):
    schema = Schema(tuple(Field(name, "categorical", VALUES + 2) for name in NAMES))
    train = planted(6000, 0)
    config = LearnConfig(network=SMALL, **options)
    return learn(schema, lambda: chunks(train, 300), planted(4000, 1), config)


def test_the_smallest_sufficient_subsets_of_planted_rows_are_learned():
    found = learned()
    assert found.subsets == {"a": ["a"], "a x b": ["a", "b"], "all": ["*"]}
    pair = next(c for c in found.choices if found.name(c.subset) == "a x b")
    assert pair.rows > 0.95
    assert found.choices[-1].fields == pytest.approx(1.5, abs=0.1)
    assert found.choices[-1].mixed == pytest.approx(found.logloss[1], abs=0.01)


# The network


def masks_of(*shown, parts):
    mask = torch.zeros(1, len(parts))
    mask[0, [list(parts).index(name) for name in shown]] = 1
    return mask.expand(6, -1)


@pytest.mark.parametrize("of", ["groups", "fields"])
def test_what_a_mask_hides_changes_no_logit(of):
    parts = parts_of(expertise.SCHEMA, of)
    torch.manual_seed(0)
    network = MaskedNetwork(expertise.SCHEMA, parts, NetworkConfig(), 1.0).eval()
    batch = expertise.random_batch()
    for name, fields in parts.items():
        other = expertise.changed(batch, set(expertise.NAMES) - set(fields))
        mask = masks_of(name, parts=parts)
        assert torch.equal(network(batch, mask), network(other, mask))
        everything = torch.ones_like(mask)
        assert not torch.equal(network(batch, everything), network(other, everything))


def test_a_cross_field_is_shown_with_all_that_it_crosses():
    fields = (*expertise.FIELDS, Field("c1 x c2", "categorical", 9, "cross"))
    schema = Schema(fields)
    parts = parts_of(schema, "fields")
    assert "c1 x c2" not in parts
    torch.manual_seed(0)
    network = MaskedNetwork(schema, parts, NetworkConfig(), 1.0).eval()
    batch = expertise.random_batch()
    cross = torch.arange(6).unsqueeze(1) % 9
    first, second = (
        batch._replace(categorical=torch.cat((batch.categorical, ids), 1))
        for ids in (cross, (cross + 1) % 9)
    )
    for shown, equal in ((("c1",), True), (("c2", "n0"), True), (("c1", "c2"), False)):
        mask = masks_of(*shown, parts=parts)
        assert torch.equal(network(first, mask), network(second, mask)) == equal


def test_masks_show_all_parts_in_a_quarter_and_small_subsets_often():
    masks = random_masks(20_000, 10, torch.Generator().manual_seed(0))
    sizes = masks.sum(1)
    assert sizes.min() == 1
    shares = torch.bincount(sizes.long(), minlength=11) / 20_000
    total = torch.log(torch.tensor(11.0))
    expected = [0.75 * torch.log(torch.tensor((k + 1) / k)) / total for k in range(1, 10)]
    torch.testing.assert_close(shares[1:10], torch.stack(expected), atol=0.015, rtol=0)
    torch.testing.assert_close(masks.mean(0), masks.mean().expand(10), atol=0.02, rtol=0)


# What is grown and chosen


class Table:
    """A judge of two rows: what each subset misses of them is given; its logloss follows."""

    def __init__(self, missing):
        self.missing = {frozenset(parts): torch.tensor(d) for parts, d in missing.items()}
        self.known = {}

    def __call__(self, subset):
        missing = self.missing.get(subset, torch.full((2,), float(subset < self.whole)))
        self.known[subset] = SubsetScores(missing + 0.1, missing)
        return self.known[subset]

    whole = frozenset(range(4))
    mean = staticmethod(lambda values: values.mean().item())


def test_the_subsets_that_save_most_fields_are_chosen_by_hand():
    judge = Table({(0,): (0.0, 1.0), (0, 1): (0.01, 0.01), (0, 1, 2): (0.0, 0.0)})
    grow(judge, 4, 1e-4)
    found = choose(judge, (1, 1, 2, 4), count=5, tolerance=0.02)
    assert [(sorted(c.subset), c.kept) for c in found] == [([0, 1], True), ([0], True)]
    # eight fields; two; one in one of the rows
    assert [c.fields for c in found] == [2, 1.5]
    assert [c.rows for c in found] == [1, 0.5]
    assert kept(found) == [frozenset({0}), frozenset({0, 1})]
    assert [c.mixed for c in found] == pytest.approx([0.11, 0.105])


def test_what_later_subsets_make_superfluous_is_taken_away():
    # each of two halves of the rows has a subset of its own, which the first is too large for
    judge = Table({(0, 1): (0.0, 0.0), (0,): (0.0, 1.0), (1,): (1.0, 0.0)})
    grow(judge, 4, 1e-4)
    found = choose(judge, (1, 1, 2, 4), count=5, tolerance=0.02)
    assert [(sorted(c.subset), c.kept) for c in found] == [
        ([0, 1], True),
        ([0], True),
        ([1], True),
        ([0, 1], False),
    ]
    assert kept(found) == [frozenset({0}), frozenset({1})]


def test_at_most_so_many_are_chosen():
    judge = Table({(0, 1): (0.0, 0.0), (0,): (0.0, 1.0), (1,): (1.0, 0.0)})
    grow(judge, 4, 1e-4)
    assert len(choose(judge, (1, 1, 2, 4), count=1, tolerance=0.02)) == 1


def test_of_many_parts_pairs_are_all_tried_and_the_best_grow():
    schema = Schema(tuple(Field(f"c{i}", "categorical", 4) for i in range(9)))
    torch.manual_seed(0)
    network = MaskedNetwork(schema, parts_of(schema), NetworkConfig(embedding_dim=2), 1.0).eval()
    ids = torch.randint(4, (50, 9))
    rows = Batch(torch.zeros(50, 0), ids, (ids[:, 0] > 1).float())
    judge = Judge(network, rows)
    growth = grow(judge, 9, least=-1.0)
    assert [step.tried for step in growth[:2]] == [9, 36]
    assert [len(step.subset) for step in growth] == [*range(1, 9)]
    assert sum(step.tried for step in growth) + 1 == len(judge.known) < 2**9
    for step, after in pairwise(growth):
        assert after.gained == pytest.approx(step.logloss - after.logloss)


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("size must be at least 2", {"size": 1}),
        ("tolerance must be more than 0", {"tolerance": 0.0}),
        ("least must be between 0 and 1", {"least": 1.0}),
        ("epochs must be at least 1", {"network": NetworkConfig(epochs=0)}),
        ("embedding_dim must be at least 1", {"network": NetworkConfig(embedding_dim=0)}),
    ],
)
def test_an_option_that_makes_no_sense_is_named(message, options):
    with pytest.raises(ZooError, match=f"^{message}"):
        LearnConfig(**options)


def test_too_few_rows_or_parts_are_reported():
    schema = Schema(tuple(Field(name, "categorical", 6) for name in NAMES))
    with pytest.raises(ZooError, match="at least 20 validation rows, got 5"):
        learn(schema, list, planted(5, 0), LearnConfig())
    with pytest.raises(ZooError, match="at least two groups, or fields"):
        learn(Schema(schema.fields[:1]), list, planted(50, 0), LearnConfig())
