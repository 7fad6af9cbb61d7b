"""MovieLens: files, lists and options that cannot be used."""

from pathlib import Path

import pytest
from support.preparation import ready
from support.ratings import MOVIES, RATINGS, USERS, lists_file, write_zip

from datamodules import MovieLens
from datamodules.implicit.leave_one_out import read_lists
from zoo import ZooError

# Ranked lists


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
    with pytest.raises(
        ZooError, match=r"2 of 13 ratings are malformed, .* is line 4 of .*ratings.dat: it is not"
    ):
        movielens(bad).prepare_data()
    manifest = ready(movielens(bad, max_bad_rows=0.2)).manifest
    assert manifest.rejected["it is not user, movie, rating and time"] == 2
    assert [line for line, _ in manifest.rejected_examples] == [4, 5]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"other.txt": []}, "is not MovieLens 1M or 100K: it holds neither ratings.dat nor u.data"),
        ({"ratings.dat": ["1::2::3::4"]}, "holds no users.dat: download it again"),
        ({"ratings.dat": ["1::2::3::4"], "users.dat": USERS}, "holds no movies.dat"),
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


def test_a_damaged_or_missing_file(tmp_path, movielens, planted_ratings):
    with pytest.raises(ZooError, match=r"no such file: .*gone.zip \(data.path\)"):
        movielens(tmp_path / "gone.zip").prepare_data()
    path = tmp_path / "x.zip"
    path.write_bytes(planted_ratings.read_bytes()[:-1000])
    with pytest.raises(ZooError, match="is not a zip file, or is damaged"):
        movielens(path).prepare_data()
    data = bytearray(planted_ratings.read_bytes())
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


def test_the_encoder_of_other_ratings_is_refused(movielens, tmp_path):
    """Movies are ranked among those of the ratings: there is no going on with other ones."""
    own = ready(movielens())
    own.save_encoder(tmp_path / "encoder")
    same = MovieLens(str(own.path), eval_negatives=1, encoder=str(tmp_path / "encoder"))
    same.setup("fit")
    assert same.checksums().items() >= own.checksums().items()
    other = movielens(RATINGS[:-1], encoder=str(tmp_path / "encoder"))
    with pytest.raises(ZooError, match=r"encoder \(data.encoder\) was fitted on other data"):
        other.setup("fit")
