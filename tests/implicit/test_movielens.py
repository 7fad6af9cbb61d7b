"""MovieLens: what is read and held out, and the fields of its rows."""

import numpy as np
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st
from support.preparation import ready
from support.ratings import MOVIES, RATINGS, USERS, opened, positives

from datamodules import MovieLens
from datamodules.implicit.grouplens import read_movielens
from datamodules.implicit.leave_one_out import hold_out

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
    manifest = ready(movielens()).manifest
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


def test_content_that_is_not_in_the_tables_is_missing_and_counted(movielens):
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


# The real files, where they lie beside the repository


def test_ml_100k(shared_data, tmp_path):
    data = ready(MovieLens(str(shared_data / "movielens/ml-100k.zip"), prepared=str(tmp_path)))
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
    manifest = ready(data).manifest
    assert manifest.notes["held-out movies of data.test_list are not their user's last"] == 0
    # 156 of the published negatives are the held-out movie itself
    assert sorted(manifest.notes.values()) == [0, 0, 0, 0, 156]
    assert manifest.splits["test"] == {"rows": 6040 * 100 - 156, "positives": 6040}
    assert manifest.splits["train"]["items"] == 3706
    assert manifest.splits["train"]["positives"] == 1_000_209 - 2 * 6040
