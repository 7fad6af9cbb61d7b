"""Pairs of user and item: training negatives, shuffled epochs, ranked lists."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.preparation import ready
from support.ratings import lists_file, opened, positives

from datamodules.implicit.leave_one_out import NegativeSampler, sample_lists
from datamodules.implicit.pairs import FixedPairs, Tables, TrainingPairs
from zoo import ZooError

# Training negatives


@settings(deadline=None, max_examples=100)
@given(st.lists(st.sets(st.integers(0, 6), max_size=6), min_size=1, max_size=5))
def test_the_sampler_reaches_exactly_the_items_not_met(met):
    user = np.array([u for u, items in enumerate(met) for _ in items], np.int64)
    item = np.array([i for items in met for i in sorted(items, reverse=True)], np.int64)
    sampler = NegativeSampler(user, item, len(met), 7)
    for u, items in enumerate(met):
        free = 7 - len(items)
        # one number in the middle of each of the equal parts of [0, 1)
        random = (np.arange(free) + 0.5) / free
        drawn = sampler.draw(np.full(free, u), random)
        assert drawn.tolist() == sorted(set(range(7)) - items)


def test_a_user_who_has_met_all_items_is_an_error():
    with pytest.raises(ZooError, match="1 users have interacted with all 2 movies in training"):
        NegativeSampler(np.array([0, 0, 1]), np.array([0, 1, 1]), 2, 2)


def batches_of(data, epoch=0, rank=0, world_size=1, seed=0, batch_size=7):
    ready(data).setup("fit")
    loader = data._loaders["train"](
        batch_size=batch_size, seed=seed, epoch=lambda: epoch, rank=rank, world_size=world_size
    )
    parts = list(loader.pairs())
    assert len(parts) == len(loader)
    return [[tuple(map(int, row)) for row in zip(*part, strict=True)] for part in parts]


def epoch_of(data, **options):
    return [row for part in batches_of(data, **options) for row in part]


def test_an_epoch_holds_every_positive_once_and_negatives_never_met(movielens, planted_ratings):
    data = movielens(planted_ratings)
    rows = epoch_of(data, batch_size=1000)
    train = [np.load(data.folder / "train" / f"{n}.npy").tolist() for n in ("user", "item")]
    met = list(zip(*train, strict=True))
    assert sorted((u, i) for u, i, label in rows if label) == sorted(met)
    negatives = [(u, i) for u, i, label in rows if not label]
    assert len(negatives) == 4 * len(met)
    assert set(negatives).isdisjoint(met)
    per_user = np.bincount([u for u, _ in negatives])
    assert np.array_equal(per_user, 4 * np.bincount(train[0]))
    # those of validation and test may come
    held = [np.load(data.folder / "val" / f"{n}.npy") for n in ("user", "item", "label")]
    validation = set(zip(held[0][held[2]].tolist(), held[1][held[2]].tolist(), strict=True))
    assert validation & set(negatives)


def test_epochs_differ_and_repeat(movielens):
    data = movielens()
    first, second = epoch_of(data), epoch_of(data, epoch=1)
    assert first != second
    assert epoch_of(data) == first
    assert epoch_of(movielens()) == first
    assert epoch_of(data, seed=1) != first


@pytest.mark.parametrize("balanced", [False, True])
def test_an_epoch_goes_on_after_the_batches_trained_on(movielens, balanced):
    data = movielens(balance_users=balanced, batch_size=4)
    ready(data).setup("fit")
    whole, resumed = (
        data.loader("train", seed=3, epoch=lambda: 2, trained=lambda: 4) for _ in range(2)
    )
    assert len(whole) > 5
    resumed.load_state_dict(resumed.state_dict())
    found, expected = ([batch.categorical.tolist() for batch in part] for part in (resumed, whole))
    assert found == expected[4:]


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_share_the_rows_of_one(movielens, world_size):
    data = movielens(negatives=3)
    shares = [batches_of(data, rank=r, world_size=world_size) for r in range(world_size)]
    steps = [[row for part in step for row in part] for step in zip(*shares, strict=True)]
    assert steps == batches_of(data, batch_size=7 * world_size)


def test_an_epoch_is_shuffled(movielens, planted_ratings):
    data = movielens(planted_ratings)
    labels = np.array([label for *_, label in epoch_of(data, batch_size=500)])
    share = labels[: len(labels) // 500 * 500].reshape(-1, 500).mean(1)
    assert np.abs(share - 0.2).max() < 0.1


def test_batches_hold_the_fields_of_their_pairs(movielens):
    data = movielens()
    tables, _ = opened(data)
    loader = data.train_dataloader()
    for batch, (user, item, label) in zip(loader, loader.pairs(), strict=True):
        np.testing.assert_array_equal(batch.categorical[:, :4], tables.user[user])
        np.testing.assert_array_equal(batch.categorical[:, 4:], tables.item[item])
        np.testing.assert_array_equal(batch.numerical, tables.item_numbers[item])
        np.testing.assert_array_equal(batch.label, label)
        assert batch.numerical.dtype == batch.label.dtype == torch.float32
        assert batch.query is None


def test_the_means_are_those_of_many_epochs(movielens):
    data = ready(movielens())
    data.setup("fit")
    loader = data._loaders["train"]
    rows = [b.numerical for e in range(300) for b in loader(batch_size=99, epoch=lambda e=e: e)]
    found = torch.cat(rows).mean(0).numpy()
    np.testing.assert_allclose(data.numerical_means(), found, atol=0.02)


# Ranked lists


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sets(st.integers(0, 9), min_size=1, max_size=6), min_size=1, max_size=5))
def test_sampled_negatives_are_distinct_and_never_met(met):
    user = np.array([u for u, items in enumerate(met) for _ in items], np.int64)
    item = np.array([i for items in met for i in items], np.int64)
    held = np.array([min(items) for items in met])
    lists = sample_lists(user, item, held, 10, 4, (0, 1))
    for u, items in enumerate(met):
        mine = lists.user == u
        assert lists.item[mine & lists.label].tolist() == [held[u]]
        negatives = set(lists.item[mine & ~lists.label].tolist())
        assert len(negatives) == 4
        assert negatives.isdisjoint(items)


def test_lists_are_batches_with_a_query(movielens, planted_ratings):
    data = movielens(planted_ratings, eval_negatives=99, batch_size=1000)
    ready(data).setup("validate")
    for loader in (data.val_dataloader(), data.test_dataloader()):
        query = torch.cat([batch.query for batch in loader])
        label = torch.cat([batch.label for batch in loader])
        assert query.dtype == torch.int64
        assert query.bincount().tolist() == [100] * 300
        assert query[label == 1].tolist() == list(range(300))
    again, other = (
        movielens(planted_ratings, eval_negatives=99),
        movielens(planted_ratings, split_seed=1),
    )
    items = [np.load(d.folder / "test/item.npy") for d in (data, again)]
    np.testing.assert_array_equal(*items)
    other.prepare_data()
    assert not np.isin(np.load(other.folder / "test/item.npy"), items[0][:3]).all()


@pytest.mark.parametrize("name", ["lists.tsv", "lists.tsv.gz"])
def test_a_published_list_wins_over_the_rule(movielens, tmp_path, name):
    # 14 is user 1's last; 15 and 16 were never met, 14 was; 16 is in no rating
    path = lists_file(tmp_path, "1\t12\t15,16,14,15,12", "2\t11\t14,15", "3\t10\t14", name=name)
    data = movielens(test_list=path)
    _, splits = opened(data)
    assert positives(data, splits, "test") == {1: 12, 2: 11}
    assert splits["test"][1].tolist() == [12, 15, 16, 14, 11, 14, 15]
    training = set(zip(*(column.tolist() for column in splits["train"]), strict=True))
    assert (1, 12) not in training
    assert (1, 14) in training | set(positives(data, splits, "val").items())
    assert list(data.manifest.notes.values()) == [1, 1, 2, 0, 1]


def test_a_held_out_movie_that_was_never_rated_is_no_validation_negative(movielens, tmp_path):
    path = lists_file(tmp_path, "1\t15\t16,17")
    data = movielens(test_list=path, eval_negatives=1)
    # user 1 has met all six movies but 15, which is held out
    with pytest.raises(ZooError, match="has interacted with 6 of 6 movies: choose at most 0"):
        data.prepare_data()
    assert not data.folder.exists()


# Mistakes


def test_rows_are_dealt_to_as_many_processes_as_there_are():
    tables = Tables(*[np.zeros((1, 1), np.int32)] * 4, np.zeros((1, 0), np.float32))
    one = np.zeros(1, np.int64)
    with pytest.raises(ZooError, match="1 rows cannot be dealt to 2 processes"):
        FixedPairs(tables, one, one, one, 4, world_size=2)
    loader = TrainingPairs(tables, one, one, NegativeSampler(one, one, 1, 3), 1, 4)
    assert len(loader) == 1


@pytest.mark.parametrize("balanced", [False, True])
def test_users_weigh_by_their_ratings_or_the_same(balanced):
    counts = np.array([1, 20, 900])
    user = np.repeat(np.arange(3), counts)
    item = np.concatenate([np.arange(n) for n in counts])
    tables = Tables(*[np.zeros((1000, 1), np.int32)] * 4, np.zeros((1000, 0), np.float32))
    sampler = NegativeSampler(user, item, 3, 1000)
    epoch = iter(range(2))
    loader = TrainingPairs(
        tables, user, item, sampler, 4, 64, balanced=balanced, epoch=lambda: next(epoch)
    )
    epochs = [
        [np.concatenate(column) for column in zip(*loader.pairs(), strict=True)] for _ in range(2)
    ]
    for users, items, label in epochs:
        assert len(label) == 5 * counts.sum()
        assert label.sum() == counts.sum()
        assert (label == (items < counts[users])).all()  # negatives are nobody's positives
        rows = np.bincount(users)
        # six standard deviations of a binomial count
        expected = rows.sum() / 3 if balanced else 5 * counts
        assert abs(rows - expected).max() <= (5 * 6 * (counts.sum() * 2 / 9) ** 0.5) * balanced
    assert not np.array_equal(*(np.sort(items) for _, items, _ in epochs))


def test_balanced_rows_are_dealt_whole_to_two_processes(movielens):
    data = movielens(balance_users=True)
    ready(data).setup("fit")
    whole, *shares = (
        Counter(
            row
            for pairs in data.loader("train", **of).pairs()
            for row in zip(*(column.tolist() for column in pairs), strict=True)
        )
        for of in ({}, {"rank": 0, "world_size": 2}, {"rank": 1, "world_size": 2})
    )
    dealt = shares[0] + shares[1]
    assert not dealt - whole
    assert whole.total() - dealt.total() <= 1  # an odd row is left out
