"""MovieLens: what is read, held out, drawn and ranked, and what is said of mistakes."""

import gzip
import json
import shutil
import subprocess
import sys
import warnings
import zipfile
from collections import Counter
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow.parquet as pq
import pytest
import pytorch_lightning as pl
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import train
from datamodules import MovieLens
from datamodules.leave_one_out import NegativeSampler, hold_out, read_lists, sample_lists
from datamodules.movielens_raw import read_movielens
from datamodules.pairs import FixedPairs, Tables, TrainingPairs
from datamodules.synthetic_movielens import PlantedRatings
from zoo import DeepFM, ZooError

ROOT = Path(train.__file__).parent
USERS = ["1::F::1::10::48067", "2::M::56::16::70072", "3::M::25::15::55117"]
MOVIES = [f"{i}::Film {i} ({1990 + i})::Drama|War" for i in range(10, 20)]
MOVIES[0] = "10::Café: A :: Life (1990)::Comedy"
# (user, movie, time): user 1 ends with 14, user 2 (two of the last time) with 11, user 3 has two
RATINGS = [
    (1, 10, 5), (2, 12, 9), (1, 14, 9), (1, 12, 7), (2, 10, 3), (1, 11, 8), (2, 13, 1),
    (2, 11, 9), (3, 10, 1), (3, 15, 2), (1, 13, 0),
]  # fmt: skip


@pytest.fixture
def movielens(tmp_path):
    """A `MovieLens` of ratings, or of a path, with its prepared folder among the test's files."""

    def make(ratings=RATINGS, users=USERS, movies=MOVIES, **options):
        path = ratings
        if not isinstance(ratings, Path):
            path = tmp_path / f"{len(list(tmp_path.iterdir()))}.zip"
            lines = [f"{u}::{i}::3::{t}" if not isinstance(u, str) else u for u, i, t in ratings]
            write_zip(path, {"ratings.dat": lines, "users.dat": users, "movies.dat": movies})
        small = {"eval_negatives": 1, "prepared": str(tmp_path / "prepared")}
        return MovieLens(str(path), **{**small, **options})

    return make


def write_zip(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, lines in members.items():
            archive.writestr(f"any/{name}", "".join(line + "\n" for line in lines).encode("latin1"))


def opened(data):
    """The datamodule, set up, and the original ids of training, validation and test rows."""
    data.setup("fit")
    tables = Tables.open(data.folder / "encoder")
    splits = {}
    for split in ("train", "val", "test"):
        columns = [np.load(data.folder / split / f"{name}.npy") for name in ("user", "item")]
        splits[split] = (tables.user_ids[columns[0]], tables.item_ids[columns[1]])
    return tables, splits


def positives(data, splits, split):
    label = np.load(data.folder / split / "label.npy")
    user, item = splits[split]
    return dict(zip(user[label].tolist(), item[label].tolist(), strict=True))


@pytest.fixture(scope="session")
def planted(tmp_path_factory):
    """A generated zip of 300 users and 220 movies."""
    path = tmp_path_factory.mktemp("movielens") / "ml.zip"
    PlantedRatings(users=300, items=220).write(path)
    return path


# Leave-one-out


def test_the_last_interaction_is_held_out_and_ties_go_to_the_later_line(movielens):
    data = movielens()
    _, splits = opened(data)
    assert positives(data, splits, "test") == {1: 14, 2: 11}


def test_each_interaction_is_in_one_split(movielens):
    data = movielens()
    _, splits = opened(data)
    validation, test = (positives(data, splits, split) for split in ("val", "test"))
    training = set(zip(*(column.tolist() for column in splits["train"]), strict=True))
    held = set(validation.items()) | set(test.items())
    assert training.isdisjoint(held)
    assert training | held == {(u, i) for u, i, _ in RATINGS if u != 3}
    assert len(splits["train"][0]) == 9 - 4


def test_a_user_with_too_few_interactions_is_left_out_and_counted(movielens):
    manifest = movielens().manifest
    assert manifest.rejected == {"its user has fewer than 3 interactions": 2}
    assert manifest.splits["train"]["users"] == 2
    assert manifest.splits["train"]["rows"] == 5 * manifest.splits["train"]["positives"] == 25


def test_the_validation_item_is_any_of_the_others_as_the_seed_has_it(movielens):
    found = set()
    for seed in range(30):
        data = movielens(split_seed=seed)
        _, splits = opened(data)
        found.add(positives(data, splits, "val")[1])
        assert positives(data, splits, "test") == {1: 14, 2: 11}
    assert found == {10, 11, 12, 13}


def test_a_repeated_pair_counts_once_by_its_last_rating(movielens):
    data = movielens([*RATINGS, (1, 12, 10)])
    _, splits = opened(data)
    assert positives(data, splits, "test") == {1: 12, 2: 11}
    assert data.manifest.rejected["a later one is of the same user and movie"] == 1


def test_times_may_be_known_of_the_last_interaction_alone(movielens):
    last = {1: 12, 2: 13}
    data = movielens([(u, i, int(last.get(u) == i)) for u, i, _ in RATINGS])
    _, splits = opened(data)
    assert positives(data, splits, "test") == last


@settings(deadline=None, max_examples=100)
@given(st.lists(st.integers(3, 8), min_size=1, max_size=6), st.integers(0, 9), st.booleans())
def test_hold_out_takes_two_of_every_user(sizes, seed, listed):
    user = np.repeat(np.arange(len(sizes)), sizes)
    item = np.concatenate([np.random.default_rng(s).permutation(8)[:s] for s in sizes])
    # listed: each user's first item instead of the last
    wanted = item[np.cumsum([0, *sizes[:-1]])] if listed else np.full(len(sizes), -1)
    training, validation, test = hold_out(user, item, seed, wanted)
    assert np.array_equal(np.bincount(user[training]), np.array(sizes) - 2)
    for u in range(len(sizes)):
        mine = item[user == u]
        assert test[u] == (mine[0] if listed else mine[-1])
        assert {validation[u], test[u], *item[training & (user == u)]} == set(mine)


# Fields


def test_fields_follow_the_batch_contract(movielens):
    data = movielens()
    tables, _ = opened(data)
    names = [field.name for field in data.schema.categorical]
    assert names == ["user", "gender", "age", "occupation", "item", "year"]
    genres = [field.name for field in data.schema.numerical]
    assert genres == ["genre:Comedy", "genre:Drama", "genre:War"]
    groups = {f.name: f.group for f in data.schema.fields}
    assert groups["user"] == "user"
    assert groups["age"] == "user_profile"
    assert groups["item"] == "item"
    assert groups["year"] == groups["genre:War"] == "item_profile"
    # user 1 has three training rows, user 2 two; user 3 has none
    assert dict(zip(tables.user_ids.tolist(), tables.user[:, 0].tolist(), strict=True)) == {
        1: 2,
        2: 3,
        3: 0,
    }
    number = tables.item_ids.tolist().index(10)
    assert tables.item_numbers[number].tolist() == [1, 0, 0]


def test_vocabularies_are_of_training_rows_most_frequent_first(movielens):
    data = movielens()
    tables, splits = opened(data)
    vocabulary = pq.read_table(data.folder / "encoder/vocabulary.parquet").to_pandas()
    counts = dict(zip(*np.unique(splits["train"][1], return_counts=True), strict=True))
    found = vocabulary[vocabulary.field == "item"]
    assert {int(v): n for v, n in zip(found.value, found["count"], strict=True)} == counts
    assert found["count"].is_monotonic_decreasing
    assert found.id.tolist() == list(range(2, 2 + len(counts)))
    unseen = ~np.isin(tables.item_ids, list(counts))
    assert (tables.item[unseen, 0] == 0).all()


def test_content_that_the_tables_lack_is_missing_and_counted(movielens):
    data = movielens(users=USERS[1:], movies=MOVIES[1:])
    tables, _ = opened(data)
    user, item = tables.user_ids.tolist().index(1), tables.item_ids.tolist().index(10)
    assert tables.user[user].tolist() == [2, 1, 1, 1]
    assert tables.item[item, 1] == 1
    assert not tables.item_numbers[item].any()
    assert list(data.manifest.notes.values()) == [1, 1]


def test_titles_are_latin_1_and_may_hold_separators(movielens):
    files = read_movielens(movielens().path)
    assert files.movies[10] == ("1990", frozenset({"Comedy"}))


def test_ml_100k_and_its_unpacked_folder(movielens, tmp_path):
    folder = tmp_path / "ml-100k"
    folder.mkdir()
    texts = {
        "u.data": "".join(f"{u}\t{i}\t3\t{t}\n" for u, i, t in RATINGS),
        "u.user": "1|24|M|writer|1\n2|7|F|other|1\n3|60||none|\n",
        "u.genre": "unknown|0\nAction|1\n\n",
        "u.item": "".join(f"{i}|Caf\xe9 ({i + 1960})|||url|0|1\n" for i in range(10, 15))
        + "15|Toy (1995)|01-Jan-1996||url|1|0\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text, "latin-1")
    files = read_movielens(folder)
    assert files.users == {
        1: ("M", "18", "writer"),
        2: ("F", "1", "other"),
        3: (None, "56", "none"),
    }
    assert files.genres == ("unknown", "Action")
    assert files.movies[14] == ("1974", frozenset({"Action"}))
    assert files.movies[15] == ("1996", frozenset({"unknown"}))
    data = movielens(tmp_path)  # one folder further up
    _, splits = opened(data)
    assert positives(data, splits, "test") == {1: 14, 2: 11}
    before = data.folder
    (folder / "u.data").write_text(texts["u.data"] + "1\t15\t1\t99\n")
    assert data.folder != before


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


def epoch_of(data, epoch=0, rank=0, world_size=1, seed=0, batch_size=7):
    data.setup("fit")
    loader = data._loaders["train"](
        batch_size=batch_size, seed=seed, epoch=lambda: epoch, rank=rank, world_size=world_size
    )
    parts = list(loader.pairs())
    assert len(parts) == len(loader)
    return [tuple(map(int, row)) for part in parts for row in zip(*part, strict=True)]


def test_an_epoch_holds_every_positive_once_and_negatives_never_met(movielens, planted):
    data = movielens(planted)
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


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_share_the_rows_of_one(movielens, world_size):
    data = movielens(negatives=3)
    shares = [epoch_of(data, rank=r, world_size=world_size) for r in range(world_size)]
    assert [row for share in shares for row in share] == epoch_of(data)


def test_an_epoch_is_shuffled(movielens, planted):
    data = movielens(planted)
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
    data = movielens()
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


def test_lists_are_batches_with_a_query(movielens, planted):
    data = movielens(planted, eval_negatives=99, batch_size=1000)
    data.setup("validate")
    for loader in (data.val_dataloader(), data.test_dataloader()):
        query = torch.cat([batch.query for batch in loader])
        label = torch.cat([batch.label for batch in loader])
        assert query.dtype == torch.int64
        assert query.bincount().tolist() == [100] * 300
        assert query[label == 1].tolist() == list(range(300))
    again, other = movielens(planted, eval_negatives=99), movielens(planted, split_seed=1)
    items = [np.load(d.folder / "test/item.npy") for d in (data, again)]
    np.testing.assert_array_equal(*items)
    other.prepare_data()
    assert not np.isin(np.load(other.folder / "test/item.npy"), items[0][:3]).all()


def lists_file(tmp_path, *lines, name="lists.tsv"):
    path = tmp_path / name
    text = "".join(line + "\n" for line in ("user_id\tmovie_id\tnegatives", *lines))
    path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
    return str(path)


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


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1\t14\t15,999", "line 2: the ratings hold no movie 999"),
        ("1\t999\t15", "line 2: the ratings hold no movie 999"),
        ("77\t14\t15", "line 2: the ratings hold no user 77"),
        ("3\t10\t14", "no user of these lists has enough interactions"),
        ("1\t14", "line 2: it is not user, movie and negatives"),
        ("1\t14\t15\n1\t14\t15", "line 3: user 1 has a list already"),
    ],
)
def test_a_wrong_list_is_named(movielens, tmp_path, line, message):
    with pytest.raises(ZooError, match=message):
        movielens(test_list=lists_file(tmp_path, line)).prepare_data()


def test_no_lists(tmp_path, movielens):
    with pytest.raises(ZooError, match="holds no lists"):
        read_lists(Path(lists_file(tmp_path)))
    with pytest.raises(ZooError, match=r"no such file: gone \(data.test_list\)"):
        movielens(test_list="gone").prepare_data()
    (tmp_path / "x.gz").write_bytes(b"text")
    with pytest.raises(ZooError, match=r"cannot read .*x.gz"):
        read_lists(tmp_path / "x.gz")


# Mistakes


def test_malformed_ratings_are_counted_up_to_a_limit(movielens):
    bad = [*RATINGS[:3], ("1::12", 0, 0), ("x::1::2::3", 0, 0), *RATINGS[3:]]
    with pytest.raises(ZooError, match=r"2 of 13 ratings are malformed, .* is line 4: it is not"):
        movielens(bad).prepare_data()
    manifest = movielens(bad, max_bad_rows=0.2).manifest
    assert manifest.rejected["it is not user, movie, rating and time"] == 2
    assert [line for line, _ in manifest.rejected_examples] == [4, 5]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"other.txt": []}, "is not MovieLens 1M or 100K: it holds neither ratings.dat nor u.data"),
        ({"ratings.dat": ["1::2::3::4"]}, "lacks users.dat: download it again"),
        ({"ratings.dat": ["1::2::3::4"], "users.dat": USERS}, "lacks movies.dat"),
        (
            {"users.dat": ["1::F"], "ratings.dat": []},
            "line 1 of users.dat in .* has 2 cells, not 5",
        ),
        ({"users.dat": ["x::F::1::1::1"], "ratings.dat": []}, "begins with 'x', which is not"),
        ({"users.dat": USERS, "movies.dat": MOVIES, "ratings.dat": []}, "no rating that can be"),
        (
            {"users.dat": USERS, "movies.dat": MOVIES, "ratings.dat": ["1::2::3::4"]},
            "no user has the 3 interactions",
        ),
    ],
)
def test_what_is_not_movielens_is_named(tmp_path, movielens, members, message):
    path = tmp_path / "x.zip"
    write_zip(path, members)
    with pytest.raises(ZooError, match=message):
        movielens(path).prepare_data()


def test_a_damaged_or_missing_file(tmp_path, movielens, planted):
    with pytest.raises(ZooError, match=r"no such file: .*gone.zip \(data.path\)"):
        movielens(tmp_path / "gone.zip").prepare_data()
    path = tmp_path / "x.zip"
    path.write_bytes(planted.read_bytes()[:-1000])
    with pytest.raises(ZooError, match="is not a zip file, or is damaged"):
        movielens(path).prepare_data()
    data = bytearray(planted.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    with pytest.raises(ZooError, match=r"ratings.dat of .* is damaged"):
        movielens(path).prepare_data()


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("batch_size", 0, "data.batch_size must be at least 1, got 0"),
        ("negatives", 0, "data.negatives must be at least 1, got 0"),
        ("split_seed", -1, "data.split_seed must be at least 0, got -1"),
        ("max_bad_rows", 2.0, "data.max_bad_rows is a share between 0 and 1"),
        ("eval_negatives", 99, "data.eval_negatives is 99, but .* 5 of 6 movies: choose at most 1"),
    ],
)
def test_an_impossible_option_is_named(movielens, option, value, message):
    with pytest.raises(ZooError, match=message):
        movielens(**{option: value}).prepare_data()


def test_damaged_prepared_data_are_found(movielens):
    data = movielens()
    data.prepare_data()
    (data.folder / "train/item.npy").write_bytes(b"x")
    with pytest.raises(ZooError, match="does not match its checksum"):
        data.setup("fit")


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
    data.prepare_data()
    data.setup("fit")
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


# The generator


def test_generated_files_are_read_back(planted):
    files = read_movielens(planted)
    assert len(files.users) == 300
    assert len(files.movies) == 220
    assert files.ratings.malformed == 0
    assert all(genres and year for year, genres in files.movies.values())
    assert np.bincount(files.ratings.user)[1:].min() >= 5
    with zipfile.ZipFile(planted) as archive:
        assert "Café 1 (" in archive.read("ml-1m/movies.dat").decode("latin-1")


def test_generation_repeats_and_refuses_what_it_did_not_make(tmp_path):
    options = PlantedRatings(users=20, items=30)
    for name in ("a.zip", "b.zip"):
        options.ensure(tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    options.ensure(tmp_path / "a.zip")
    for other in (PlantedRatings(users=20, items=30, seed=1), PlantedRatings(users=21, items=30)):
        with pytest.raises(ZooError, match="exists and was not generated with these"):
            other.ensure(tmp_path / "a.zip")
    (tmp_path / "c.zip").write_text("mine")
    with pytest.raises(ZooError, match="was not generated"):
        options.ensure(tmp_path / "c.zip")
    with pytest.raises(ZooError, match=r"synthetic\.items must be at least 10, got 3"):
        PlantedRatings(items=3)


class WithoutIds:
    """Batches whose users and items are all unknown."""

    def __init__(self, loader):
        self.loader = loader

    def __iter__(self):
        for batch in self.loader:
            batch.categorical[:, [0, 4]] = 0
            yield batch


def test_who_met_what_tells_more_than_content_and_content_more_than_chance(movielens, planted):
    data = movielens(planted, eval_negatives=99)
    data.setup("fit")
    found = []
    for wrap in (WithoutIds, lambda loader: loader):
        torch.manual_seed(0)
        model = DeepFM(
            data.schema,
            hidden_units=[16],
            embedding_std=0.1,
            optimizer="adam",
            learning_rate=0.01,
            train_metrics=False,
        )
        trainer = pl.Trainer(
            max_epochs=4,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(model, wrap(data.train_dataloader()), wrap(data.val_dataloader()))
        (values,) = trainer.test(model, wrap(data.test_dataloader()), verbose=False)
        found.append(values["test/hr@10"])
    assert 0.15 < found[0] < found[1] - 0.05


# The command line


def command(*args):
    given = ["train.py", *map(str, args)]
    with mock.patch("sys.argv", given), warnings.catch_warnings():
        train.main()


def error_of(*args):
    with pytest.raises(SystemExit) as exit_:
        command(*args)
    message = str(exit_.value.code)
    assert "\n" not in message
    return message


def fit_arguments(path, *more):
    config = ROOT / "configs/movielens/deepfm.yaml"
    small = ["--model.hidden_units=[16]", "--model.learning_rate=0.01", "--trainer.accelerator=cpu"]
    quiet = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
    return ["fit", "--config", config, "--data.path", path, *small, *quiet, "--name=t", *more]


def test_a_fit_ranks_far_better_than_chance_and_predicts(tmp_path, monkeypatch, planted, capsys):
    monkeypatch.chdir(tmp_path)
    made = tmp_path / "made.zip"
    synthetic = ["--data.synthetic.users=300", "--data.synthetic.items=220"]
    command(*fit_arguments(made, "--trainer.max_epochs=4", *synthetic))
    assert made.read_bytes() == planted.read_bytes()
    run = Path("runs/t/version_0")
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["test/hr@10"] > 0.25
    assert metrics["val/ndcg@10"] > 0.1
    # best.ckpt is that of the highest val/ndcg@10
    epochs = np.genfromtxt(run / "metrics.csv", delimiter=",", names=True, deletechars="")
    assert metrics["val/ndcg@10"] == pytest.approx(np.nanmax(epochs["val/ndcg@10"][:-1]))
    # the saved config serves the other commands, once the raw file is gone
    checkpoint = ["--config", run / "config.yaml", "--ckpt_path", run / "checkpoints/best.ckpt"]
    command("validate", *checkpoint)
    assert yaml.safe_load((run / "config.yaml").read_text())["monitor"] == "val/ndcg@10"
    made.unlink()
    shutil.rmtree("prepared")
    Path("pairs.csv").write_text("user,movie\n1,3\n1\t4\n99999,3\noops\n1,99999\n")
    command("predict", *checkpoint, "--data.predict_path=pairs.csv", "--data.max_bad_rows=0.5")
    scored = pq.read_table(run / "predictions/pairs.parquet").to_pandas()
    assert scored.row.tolist() == [0, 1, 2, 3, 4]
    assert scored.probability.isna().tolist() == [False, False, False, True, False]
    capsys.readouterr()
    message = error_of("predict", *checkpoint, "--data.predict_path=pairs.csv")
    assert "pairs.csv: 1 of 5 rows are malformed" in message
    assert "the first is line 5: it is not user,movie" in message
    assert "give --data.predict_path FILE" in error_of("predict", *checkpoint)


def test_predictions_are_those_of_the_lists(movielens, planted, tmp_path):
    data = movielens(planted)
    _, splits = opened(data)
    pairs = tmp_path / "pairs.csv"
    user, item = (column[:50] for column in splits["test"])
    pairs.write_text("".join(f"{u},{i}\n" for u, i in zip(user, item, strict=True)))
    data.save_encoder(tmp_path / "encoder")
    new = MovieLens("gone.zip", encoder=str(tmp_path / "encoder"), predict_path=str(pairs))
    new.setup("predict")
    (found,) = new.predict_dataloader()
    expected = next(iter(data.test_dataloader()))
    assert new.schema == data.schema
    assert torch.equal(found.categorical, expected.categorical[:50])
    assert torch.equal(found.numerical, expected.numerical[:50])
    assert found.row.tolist() == list(range(50))


def test_prepare_tells_what_was_left_out(tmp_path, monkeypatch, movielens, capsys):
    monkeypatch.chdir(tmp_path)
    data = movielens(users=USERS[1:])
    config = ROOT / "configs/movielens/deepfm.yaml"
    command("prepare", "--config", config, "--data.path", data.path, "--data.eval_negatives=1")
    shown = " ".join(capsys.readouterr().out.split())
    assert "2: its user has fewer than 3 interactions" in shown
    assert "1 users of the ratings are missing from the table of users" in shown


def test_an_unknown_metric_to_monitor_is_named(tmp_path, monkeypatch, planted):
    monkeypatch.chdir(tmp_path)
    message = error_of(*fit_arguments(planted, "--monitor=val/hr@5", "--trainer.callbacks=null"))
    assert message.startswith("error: monitor: this fit logs no val/hr@5; choose one of ")
    assert "val/hr@10" in message


@pytest.mark.slow
def test_two_processes_and_one_measure_the_same(tmp_path, planted):
    options = ["--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.max_epochs=1"]
    line = [sys.executable, ROOT / "train.py", *fit_arguments(planted, *options)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs/t/version_0"
    measured = json.loads((run / "metrics.json").read_text())
    data = MovieLens(str(planted), prepared=str(tmp_path / "prepared"))
    model = DeepFM.load_from_checkpoint(run / "checkpoints/best.ckpt", weights_only=True)
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False)
    (alone,) = trainer.test(model, data, verbose=False)
    for name in ("test/hr@10", "test/ndcg@10", "test/auc"):
        assert alone[name] == pytest.approx(measured[name], abs=1e-6)


# The real files, where they lie beside the repository


def test_ml_100k(shared_data, tmp_path):
    data = MovieLens(str(shared_data / "movielens/ml-100k.zip"), prepared=str(tmp_path))
    assert data.manifest.splits["train"] == {
        "rows": 5 * (100_000 - 2 * 943),
        "positives": 100_000 - 2 * 943,
        "users": 943,
        "items": 1682,
    }
    assert data.manifest.rejected == data.manifest.notes == {}
    assert len(data.schema.numerical) == 19


def test_the_held_out_movies_of_ml_1m_are_the_published_ones(shared_data, tmp_path):
    files = shared_data / "movielens"
    lists = str(files / "ml-1m-leave-one-out.tsv.gz")
    path = str(files / "ml-1m.zip")
    data = MovieLens(path, prepared=str(tmp_path), test_list=lists, verify=False)
    manifest = data.manifest
    assert manifest.notes["held-out movies of data.test_list are not their user's last"] == 0
    # 156 of the published negatives are the held-out movie itself
    assert sorted(manifest.notes.values()) == [0, 0, 0, 0, 156]
    assert manifest.splits["test"] == {"rows": 6040 * 100 - 156, "positives": 6040}
    assert manifest.splits["train"]["items"] == 3706
    assert manifest.splits["train"]["positives"] == 1_000_209 - 2 * 6040
