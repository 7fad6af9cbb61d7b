"""Listening sessions with a table of users: generated, prepared, scored, restricted, refused."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from support.listening import logs_of, whole
from support.preparation import ready

from datamodules import SkipSessions, SyntheticSkipSessions
from datamodules.sessions.records import SESSION, USER_SESSION
from datamodules.synthetic.mechanisms import FAVOURITES, HABIT, PERSISTENCE
from datamodules.synthetic.sessions import PlantedSessions
from zoo import InterpretableGRU, InterpretableTransformer, ZooError
from zoo.data.batch import concatenate
from zoo.export.readers.sessions import MIXED, Model

FEATURES = [
    "mean_skip_rate",
    *(f"liked_vector_{i}" for i in range(8)),
    "age",
    "days_since_registration",
]
SUBSETS = {
    "interaction": ["position", "interaction"],
    "user": ["position", "user"],
    "affinity": ["position", "user", "track_music"],
    "all": ["*"],
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """400 generated sessions of 50 users."""
    folder = tmp_path_factory.mktemp("users") / "root"
    PlantedSessions(sessions=400, tracks=300, users=50).write(folder)
    return folder


@pytest.fixture
def with_users(root, tmp_path):
    """A `SkipSessions` of them; of other users or options where these are given."""

    def make(users=root / "user_features", logs=root / "session_logs/training_set", **options):
        prepared = str(tmp_path / "prepared")
        tracks = str(root / "track_features")
        return SkipSessions(
            str(logs), tracks, users=str(users), prepared=prepared, batch_size=64, **options
        )

    return make


def table_of(root):
    return pd.read_csv(root / "user_features/uf_0.csv", dtype={"user_id": str})


def test_users_are_a_group_of_fields_the_same_for_all_tracks_of_a_session(with_users, root):
    data = ready(with_users())
    mine = [field.name for field in data.schema.fields if field.group == "user"]
    assert mine == FEATURES == [field.name for field in data.schema.future][-len(FEATURES) :]
    data.setup("fit")
    assert data.records("train").dtype == USER_SESSION
    batch, rows, table = whole(data.train_dataloader()), logs_of(root), table_of(root)
    users = rows.groupby("session_id", sort=False).user_id.first().to_numpy()[batch.row]
    raw = table.set_index("user_id").loc[users, FEATURES].to_numpy(float)
    want = (raw - raw.mean(0)) / raw.std(0)  # over training sessions
    for part, mask in ((batch.past, batch.past_mask), (batch.future, batch.future_mask)):
        found = part[..., -len(FEATURES) :]
        expected = torch.from_numpy(want).float()[:, None] * mask[..., None]
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_an_unknown_user_has_the_mean_features_and_is_counted(with_users, root, tmp_path):
    table_of(root).iloc[10:].to_csv(tmp_path / "some.csv", index=False)
    data = ready(with_users(tmp_path / "some.csv"))
    note = "sessions have a user that is not in the user table: its features are the means"
    rows = logs_of(root)
    unknown = rows[rows.user_id.isin(table_of(root).user_id[:10])].session_id
    assert data.manifest.notes[note] == unknown.nunique() > 0
    data.setup("fit")
    batch = whole(data.train_dataloader())
    ids = rows.session_id.drop_duplicates().to_numpy()[batch.row]
    zero = (batch.future[:, 0, -len(FEATURES) :] == 0).all(1).numpy()
    assert np.array_equal(zero, np.isin(ids, unknown))


def test_the_features_of_users_can_be_named(with_users):
    data = ready(with_users(user_features=["age", "mean_skip_rate"]))
    assert [f.name for f in data.schema.fields if f.group == "user"] == ["age", "mean_skip_rate"]
    assert data.folder != with_users().folder


def test_an_encoder_scores_raw_sessions_of_users(with_users, root, tmp_path):
    data = ready(with_users())
    data.setup("fit")
    data.save_encoder(tmp_path / "encoder")
    new = SkipSessions(
        "gone", "gone", encoder=str(tmp_path / "encoder"), predict_path=data.path, batch_size=100
    )
    new.setup("predict")
    assert new.schema == data.schema
    found, want = concatenate(list(new.predict_dataloader())), whole(data.test_dataloader())
    for name in ("past", "future"):
        assert torch.equal(getattr(found, name)[want.row], getattr(want, name))
    other = ready(with_users(encoder=str(tmp_path / "encoder")))
    assert other.checksums()["encoder"] == data.checksums()["encoder"]


def test_without_users_the_encoder_has_the_bytes_of_earlier_versions(sessions):
    data = sessions()
    data.prepare_data()
    data.setup("fit")
    assert "user_features" not in json.loads((data.encoder_folder / "encoder.json").read_text())
    assert data.records("train").dtype == SESSION
    assert not list(data.encoder_folder.glob("user*"))


@pytest.mark.parametrize("model_class", [InterpretableGRU, InterpretableTransformer])
@pytest.mark.parametrize("gate", ["abs", "sufficiency"])
def test_restriction_holds_bit_for_bit(with_users, model_class, gate):
    """Other users change the experts of users alone, and other tracks those of tracks."""
    data = ready(with_users())
    data.setup("fit")
    model = model_class(data.schema, subsets=SUBSETS, width=16, gate=gate).eval()
    batch = next(iter(data.train_dataloader()))
    for group, changed in (
        ("user", ["user", "affinity", "all"]),
        ("track_music", ["affinity", "all"]),
        ("interaction", ["interaction", "all"]),
    ):
        other = batch
        for part, fields in (("past", data.schema.numerical), ("future", data.schema.future)):
            columns = [i for i, field in enumerate(fields) if field.group == group]
            values = getattr(other, part).clone()
            values[..., columns] += 1.0
            other = other._replace(**{part: values})
        with torch.no_grad():
            (z, d), (other_z, other_d) = model.judged_outputs(batch), model.judged_outputs(other)
        for i, name in enumerate(SUBSETS):
            same = torch.equal(z[..., i], other_z[..., i])
            if d is not None:
                same &= torch.equal(d[..., i, :], other_d[..., i, :])
            assert same == (name not in changed)


def test_served_sessions_of_users_are_read_alike(with_users, root, tmp_path):
    """What a graph is given by the reader that goes along with it."""
    data = ready(with_users())
    data.setup("fit")
    served = data.serving()
    assert served.columns[-1].name == "user_id"
    reader = Model.__new__(Model)  # without a graph
    reader.plan, reader.arrays = json.loads(json.dumps(served.plan)), served.arrays
    rows = logs_of(root)
    rows.loc[rows.session_id == rows.session_id[0], "user_id"] = "never seen"
    other = rows.session_id.drop_duplicates()[1:2].index[0]  # of another user than its session
    rows.loc[other, "user_id"] = "never seen"
    inputs, tracks, problem = reader.encode({name: rows[name].tolist() for name in rows.columns})
    assert problem[:3] == [None, MIXED, None]
    assert set(problem[3:]) == {None}
    assert tracks[1] == 0
    rows.to_csv(tmp_path / "new.csv", index=False)
    data.save_encoder(tmp_path / "encoder")
    new = SkipSessions(
        "gone", "gone", encoder=str(tmp_path / "encoder"), predict_path=str(tmp_path / "new.csv")
    )
    new.setup("predict")
    want = concatenate(list(new.predict_dataloader()))
    for part in ("past", "past_mask", "future", "future_mask"):
        torch.testing.assert_close(torch.from_numpy(inputs[part])[want.row], getattr(want, part))


BAD = {
    "a table without the ids": (
        lambda t: t.rename(columns={"user_id": "user"}),
        {},
        r"its header has no user_id",
    ),
    "a feature that it does not have": (
        lambda t: t,
        {"user_features": ["mean_skiprate"]},
        r"its header has no mean_skiprate",
    ),
    "a feature of texts": (
        lambda t: t.assign(country="DE"),
        {},
        r"column country of the user table holds no number.*data.user_features",
    ),
    "a feature whose name is taken": (
        lambda t: t.rename(columns={"age": "duration"}),
        {},
        r"distinct fields, got \['duration'\]",
    ),
    "no feature": (lambda t: t[["user_id"]], {}, r"no features beside user_id \(data.users\)"),
    "no user": (lambda t: t[:0], {}, r"is empty: it holds no rows"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_user_tables_are_refused(with_users, root, tmp_path, case):
    change, options, message = BAD[case]
    change(table_of(root)).to_csv(tmp_path / "bad.csv", index=False)
    with pytest.raises(ZooError, match=message):
        with_users(tmp_path / "bad.csv", **options).prepare_data()


def test_users_that_cannot_be_told_are_refused(with_users, planted_sessions, root, tmp_path):
    with pytest.raises(ZooError, match=r"no such file or folder: none \(data.users\)"):
        with_users("none").prepare_data()
    with pytest.raises(ZooError, match=r"has no user_id: name other files \(data.path\)"):
        with_users(logs=planted_sessions / "session_logs/training_set").prepare_data()
    rows, users = logs_of(root), table_of(root).user_id
    rows.loc[0, "user_id"] = users[users != rows.user_id[0]].iloc[0]
    rows.to_csv(tmp_path / "log.csv", index=False)
    data = with_users(logs=tmp_path / "log.csv")
    data.prepare_data()
    assert data.manifest.notes["sessions left out: its rows are of more than one user"] == 1
    with pytest.raises(ZooError, match=r"user_features are columns of the files of users"):
        SkipSessions("logs", "tracks", user_features=["age"])


# What is planted


def test_users_are_written_where_they_are_asked_for(tmp_path):
    root = tmp_path / "root"
    paths = [str(root / "session_logs/training_set"), str(root / "track_features")]
    planted = PlantedSessions(sessions=50, tracks=100, users=5)
    with pytest.raises(ZooError, match=r"generates 5 users: set data.users to .*user_features"):
        SyntheticSkipSessions(*paths, synthetic=planted).prepare_data()
    with pytest.raises(ZooError, match=r"generates 0 users: set data.users to null"):
        SyntheticSkipSessions(*paths, users=str(root / "user_features")).prepare_data()
    options = {"synthetic": planted, "users": str(root / "user_features")}
    prepared = str(tmp_path / "prepared")
    data = SyntheticSkipSessions(*paths, **options, prepared=prepared)
    data.prepare_data()
    assert len(table_of(root)) == 5
    assert json.loads((root / "truth.json").read_text())["generator"]["users"] == 5


def test_habits_follow_from_the_user_and_favourites_from_user_and_music(tmp_path):
    root = tmp_path / "root"
    PlantedSessions(sessions=3000, tracks=500, users=200).write(root)
    truth, rows, table = np.load(root / "truth.npy"), logs_of(root), table_of(root)
    tracks = pd.read_csv(root / "track_features/tf_0.csv").set_index("track_id")
    length = rows.session_length.astype(int)
    future = rows[rows.session_position.astype(int) > length // 2].copy()
    future["mechanism"] = truth["mechanism"][truth["mechanism"] < 255]
    future["probability"] = truth["probability"][truth["mechanism"] < 255]
    future["skip"] = future.skip_2 == "True"
    users = table.set_index("user_id").loc[future.user_id]
    rate = users.mean_skip_rate.to_numpy()
    habit = future.mechanism == HABIT
    assert 0.1 < habit.mean() < 0.3
    assert np.array_equal(habit, np.abs(rate - 0.5) > 0.28)
    assert np.array_equal(future.probability[habit] > 0.5, rate[habit] > 0.5)
    assert not ((future.mechanism == PERSISTENCE) & habit).any()
    mine = (future.mechanism == FAVOURITES).to_numpy()
    assert mine.mean() > 0.1
    vectors = tracks.loc[future.track_id_clean, [f"acoustic_vector_{i}" for i in range(8)]]
    liked = users[[f"liked_vector_{i}" for i in range(8)]].to_numpy()
    agree = (vectors.to_numpy() * liked).sum(1)[mine] > 0
    assert np.array_equal(agree, future.probability.to_numpy()[mine] < 0.5)
    for chosen in (habit.to_numpy(), mine):
        error = future.skip.to_numpy()[chosen].mean() - future.probability.to_numpy()[chosen].mean()
        assert abs(error) < 0.03
