"""Recommendations: the best items of each user are those of a plain loop over all pairs."""

import subprocess
import sys
import zipfile
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import pytorch_lightning as pl
import torch
from support.running import QUIET, ROOT, command, error_of

from datamodules import MovieLens
from datamodules.implicit import every_pair, movielens
from zoo import DeepFM
from zoo.run.recommendations import RecommendationWriter

pytestmark = pytest.mark.filterwarnings("ignore:expert .* has the largest attribution")
TRAINER = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False}


def met_in(path):
    """The pairs of a file of ratings, read in another way."""
    with zipfile.ZipFile(path) as archive:
        name = next(n for n in archive.namelist() if n.endswith(("ratings.dat", "u.data")))
        lines = archive.read(name).decode("latin-1").replace("::", "\t").split("\n")
    return {tuple(map(int, line.split("\t")[:2])) for line in lines if line}


def best_of(scores, met, count):
    """The plain loop: of each user the items of highest probability that it has not met.

    Args:
        scores: Probability of each item, in order, by user.
        met: Pairs that are left out.
        count: Number of items.
    """
    found = {}
    for user, items in scores.items():
        unmet = [(item, p) for item, p in items if (user, item) not in met]
        left = [(-p, place, item) for place, (item, p) in enumerate(unmet)]
        found[user] = [(item, -p) for p, _, item in sorted(left)[:count]]
    return found


def check_lists(found, expected):
    """The lists are equal; neighbours that differ by rounding alone may change places."""
    assert found["user"].drop_duplicates().tolist() == [*expected]
    same = total = 0
    for user, mine in found.groupby("user", sort=False):
        items, p = zip(*expected[user], strict=True)
        assert mine["rank"].tolist() == list(range(1, len(items) + 1))
        np.testing.assert_allclose(mine.probability, p, atol=1e-6)
        same += sum(a == b for a, b in zip(mine.movie, items, strict=True))
        total += len(items)
    assert same >= 0.999 * total


def recommended(data, model, output, devices=1):
    """What a trainer writes of data that are set up for it."""
    trainer = pl.Trainer(callbacks=[RecommendationWriter(output)], devices=devices, **TRAINER)
    trainer.predict(model, data, return_predictions=False)
    return pd.read_parquet(output) if output.suffix == ".parquet" else pd.read_csv(output)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory, planted_ratings):
    """The folder of a run of a mixture of experts on generated ratings."""
    folder = tmp_path_factory.mktemp("fitted")
    config = ROOT / "configs/movielens/interpretable_mlp.yaml"
    widths = {name: [8, 4] for name in ("content", "user", "movie", "both")}
    small = [f"--model.hidden_units={widths}", "--model.embedding_dim=4", "--trainer.max_epochs=1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        given = ["--data.path", planted_ratings, "--trainer.accelerator=cpu", "--name=t"]
        command("fit", "--config", config, *small, *given, *QUIET)
    return folder


@pytest.fixture
def run(fitted, monkeypatch):
    """The run, in the current folder, which tests add predictions to."""
    monkeypatch.chdir(fitted)
    return Path("runs/t/version_0")


def predict(run, *more):
    given = ["--data.predict_output=written.parquet", *QUIET[:1]]
    command("predict", "--config", run / "config.yaml", *more, *given)
    return pq.read_table("written.parquet").to_pandas()


def test_the_lists_are_those_of_predict_on_all_pairs(run, planted_ratings):
    met = met_in(planted_ratings)
    users, items = (sorted({pair[i] for pair in met}) for i in (0, 1))
    pairs = [(user, item) for user in users for item in items]
    Path("pairs.csv").write_text("".join(f"{u},{i}\n" for u, i in pairs))
    scored = predict(run, "--data.predict_path=pairs.csv")
    scores = {user: [] for user in users}
    for (user, item), p in zip(pairs, scored.probability, strict=True):
        scores[user].append((item, p))
    found = predict(run, "--data.recommend=20", "--data.predict_columns=title")
    check_lists(found, best_of(scores, met, 20))
    named = [column for column in scored if column.startswith("attribution_")]
    assert [*found] == ["row", "rank", "user", "movie", "title", "probability", *named]
    assert len(named) == 4
    of_pair = dict(zip(pairs, scored.index, strict=True))
    rows = [of_pair[pair] for pair in zip(found.user, found.movie, strict=True)]
    np.testing.assert_allclose(found[named], scored.loc[rows, named], atol=1e-5)
    np.testing.assert_allclose(found[named].sum(axis=1), 1, atol=1e-5)
    assert found.row.tolist() == np.repeat(np.arange(len(users)), 20).tolist()
    assert found.title[found.movie == items[0]].str.contains(f" {items[0]} (", regex=False).all()


@pytest.mark.slow
def test_two_processes_write_the_same_file(run, tmp_path):
    alone = predict(run, "--data.recommend=3")
    output = tmp_path / "both.parquet"
    line = [sys.executable, ROOT / "train.py", "predict", "--config", run / "config.yaml", *QUIET]
    line += ["--data.recommend=3", "--trainer.devices=2", "--trainer.strategy=ddp"]
    done = subprocess.run(
        [*line, f"--data.predict_output={output}"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    both = pd.read_parquet(output)
    keys = ["row", "rank", "user", "movie"]
    assert both[keys].equals(alone[keys])
    np.testing.assert_allclose(both.probability, alone.probability, atol=1e-6)
    assert [*tmp_path.iterdir()] == [output]


def test_users_of_a_file_and_movies_to_choose_from(run, planted_ratings, tmp_path):
    met = met_in(planted_ratings)
    (tmp_path / "users.txt").write_text("user\n7\n99999\nx\n7\n5\n")
    rated = [item for user, item in met if user == 5][:4]
    chosen = [*rated, *[item for item in range(1, 60) if (5, item) not in met][:2]]
    chosen = [item for item in chosen if item in {pair[1] for pair in met}]
    (tmp_path / "movies.csv").write_text("".join(f"{item}\n" for item in [*chosen, chosen[0]]))
    given = [f"--data.predict_path={tmp_path / 'users.txt'}", "--data.max_bad_rows=0.5"]
    given += ["--data.recommend=100", f"--data.recommend_items={tmp_path / 'movies.csv'}"]
    found = predict(run, *given)
    assert found.row.drop_duplicates().tolist() == [0, 1, 2, 3, 4]
    by_row = dict([*found.groupby("row")])
    assert by_row[2].drop(columns="row").isna().all(axis=None)  # the malformed line
    assert set(by_row[1].movie) == set(chosen)  # a user whom nobody knows has met nothing
    assert by_row[1].user.tolist() == [99999] * len(chosen)
    assert set(by_row[4].movie) == {item for item in chosen if (5, item) not in met}
    again = by_row[3].drop(columns="row").reset_index(drop=True)
    assert again.equals(by_row[0].drop(columns="row").reset_index(drop=True))
    # all that are left have been met: a line without a recommendation
    (tmp_path / "movies.csv").write_text(f"{rated[0]}\n")
    found = predict(run, *given)
    assert found.movie[found.row == 4].isna().all()
    assert (found.row == 4).sum() == 1


def test_what_a_user_has_met_is_left_out_as_asked(run, planted_ratings, tmp_path):
    met = met_in(planted_ratings)
    every = ["--data.recommend=1000"]
    kept = {}
    for exclude in ("all", "train", "none"):
        found = predict(run, *every, f"--data.recommend_exclude={exclude}")
        kept[exclude] = {*zip(found.user, found.movie, strict=True)}
    users, movies = ({pair[i] for pair in kept["none"]} for i in (0, 1))
    assert users == {user for user, _ in met}
    assert len(kept["none"]) == len(users) * len(movies)
    assert kept["all"] == kept["none"] - met
    held_out = kept["train"] - kept["all"]  # of each user one for validation, one for test
    assert held_out <= met
    assert len(held_out) == pytest.approx(2 * len(users), abs=20)  # some are in no training pair
    pairs = sorted(kept["all"])[::7]
    (tmp_path / "met.csv").write_text("".join(f"{u},{i}\n" for u, i in [*pairs, (99999, 1)]))
    found = predict(run, *every, f"--data.recommend_exclude={tmp_path / 'met.csv'}")
    assert {*zip(found.user, found.movie, strict=True)} == kept["none"] - {*pairs}


@pytest.fixture(scope="module")
def plain(planted_ratings, tmp_path_factory):
    """A `MovieLens` of generated ratings, and a model of it that was never trained."""
    options = {"prepared": str(tmp_path_factory.mktemp("prepared"))}

    def make(**more):
        return MovieLens(str(planted_ratings), **{**options, "recommend": 5, **more})

    data = make()
    data.prepare_data()
    torch.manual_seed(0)
    return make, DeepFM(data.schema, hidden_units=[8], embedding_dim=4, embedding_std=0.5)


def test_parts_of_the_items_change_nothing(plain, tmp_path):
    make, model = plain
    whole = recommended(make(), model, tmp_path / "whole.parquet")
    sizes = [batch.rows for batch in make_loader(make())]
    assert len(sizes) == 9  # of 37 users and more
    assert max(sizes) < 1.1 * every_pair.PAIRS_AT_ONCE
    with mock.patch.object(movielens, "PAIRS_AT_ONCE", 64):
        assert len(list(make_loader(make(batch_size=1)))) == 300 * 4
        parts = recommended(make(batch_size=1), model, tmp_path / "parts.csv")
    keys = ["row", "rank", "user", "movie"]
    assert parts[keys].equals(whole[keys])
    np.testing.assert_allclose(parts.probability, whole.probability, atol=1e-6)


def make_loader(data):
    data.prepare_data()
    data.setup("predict")
    return data.predict_dataloader()


def test_of_equal_probability_the_first_items_come_first(plain, tmp_path, planted_ratings):
    make, model = plain
    model = DeepFM(model.schema, hidden_units=[8], embedding_dim=4)
    for weight in model.parameters():
        torch.nn.init.zeros_(weight)
    with mock.patch.object(movielens, "PAIRS_AT_ONCE", 64):
        found = recommended(make(batch_size=1), model, tmp_path / "ties.parquet")
    met = met_in(planted_ratings)
    data = make()
    make_loader(data)
    movies = data.recommended.items["movie"].to_pylist()
    assert movies == sorted(movies)
    for user, mine in found.groupby("user"):
        assert mine.movie.tolist() == [i for i in movies if (user, i) not in met][:5]


def test_a_failure_leaves_no_file(plain, tmp_path):
    make, model = plain
    seen = []

    def fails(batch):
        seen.append(batch)
        if len(seen) == 3:
            raise RuntimeError("gone")
        return type(model).predicted(model, batch)

    with mock.patch.object(model, "predicted", fails), pytest.raises(RuntimeError, match="gone"):
        recommended(make(), model, tmp_path / "out.parquet")
    assert [*tmp_path.iterdir()] == []


def test_pairs_left_out_are_those_of_sets():
    random = np.random.default_rng(0)
    user, item = np.array([3, -1, 0, 3]), np.array([5, 2, 9])
    met = random.integers(-1, 12, size=(2, 200))
    found = every_pair.pairs_left_out(user, item, *met)
    pairs = {*zip(*met.tolist(), strict=True)}
    wanted = [
        u * 3 + i
        for u, mine in enumerate(user.tolist())
        for i, of in enumerate(item.tolist())
        if mine >= 0 and (mine, of) in pairs
    ]
    assert found.tolist() == wanted
    assert every_pair.pairs_left_out(user, item, *np.zeros((2, 0), np.int64)).tolist() == []


def test_lists_of_movielens_100k_are_those_of_a_plain_loop(shared_data, tmp_path):
    path = shared_data / "movielens/ml-100k.zip"
    data = MovieLens(str(path), prepared=str(tmp_path / "prepared"), recommend=20)
    data.prepare_data()
    torch.manual_seed(0)
    model = DeepFM(data.schema, hidden_units=[8], embedding_dim=4, embedding_std=0.5).eval()
    found = recommended(data, model, tmp_path / "found.parquet")
    tables = every_pair.Tables.open(data.folder / "encoder")
    items = np.flatnonzero(tables.item[:, 0] > 0)
    scores = {}
    for number, user in enumerate(tables.user_ids.tolist()):
        batch = tables.batch(np.full(len(items), number), items, np.zeros(len(items)))
        with torch.inference_mode():
            p = model.predicted(batch)["probability"].tolist()
        scores[user] = [*zip(tables.item_ids[items].tolist(), p, strict=True)]
    check_lists(found, best_of(scores, met_in(path), 20))
    assert len(found) == 943 * 20


# Mistakes


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--data.recommend=0"], "data.recommend must be at least 1, got 0"),
        (["--data.recommend=5", "--data.recommend_exclude=tain"], "no such file: tain"),
        (["--data.recommend=5", "--data.recommend_items=gone.txt"], "no such file: gone.txt"),
        (["--data.recommend=5", "--data.predict_path=gone.txt"], "no such file: gone.txt"),
        (
            ["--data.recommend=5", "--data.predict_path=pairs.csv"],
            "no usable row; the first is line 1",
        ),
        (
            ["--data.recommend=5", "--data.predict_columns=year"],
            "has no column 'year' to carry along",
        ),
        (["--data.recommend=5", "--data.path=gone.zip"], "no such file: gone.zip (data.path)"),
        (["--data.recommend=5", "--data.predict_output=a.txt"], "must name a file that ends in"),
    ],
)
def test_mistakes_are_named(run, given, message):
    Path("pairs.csv").write_text("1,2\n3,4\n")
    assert message in error_of("predict", "--config", run / "config.yaml", *given)


def test_movies_that_nobody_knows_are_refused(run, tmp_path):
    (tmp_path / "movies.txt").write_text("1\n99999\n")
    given = ["--data.recommend=5", f"--data.recommend_items={tmp_path / 'movies.txt'}"]
    said = error_of("predict", "--config", run / "config.yaml", *given)
    assert "1 of its 2 movies are not among those of the data, such as 99999" in said


def test_the_run_alone_recommends_where_nothing_is_left_out(run):
    given = ["--data.recommend=5", "--data.path=gone.zip", "--data.recommend_exclude=none"]
    command("predict", "--config", run / "config.yaml", *given, *QUIET[:1])
    assert len(pd.read_parquet(run / "predictions/users-top-5.parquet")) == 5 * 300


def test_data_without_users_and_items_are_refused(fitted_once, monkeypatch):
    monkeypatch.chdir(fitted_once)
    said = error_of("predict", "--config=runs/t/version_0/config.yaml", "--data.recommend=5")
    assert said == (
        "error: data.recommend: Criteo has no users and items to recommend from; "
        "datamodules.MovieLens has"
    )
