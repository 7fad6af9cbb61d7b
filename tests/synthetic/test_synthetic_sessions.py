"""Generated listening sessions: their format, and what is planted in them."""

import json
import os
from itertools import pairwise
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from support.listening import CONTEXT, END, START, logs_of, tracks_of, whole

from datamodules import SyntheticSkipSessions
from datamodules.sessions.records import CONTEXT_FLAGS, FLAGS, INTERACTION_FLAGS, TRACK
from datamodules.synthetic.mechanisms import (
    GROUPS,
    MECHANISMS,
    NOISE,
    PERSISTENCE,
    POPULARITY,
    TASTE,
)
from datamodules.synthetic.sessions import PlantedSessions
from zoo import ZooError


def of_generator(root, tmp_path, **options):
    generator = PlantedSessions(**{"sessions": 400, "tracks": 300, **options})
    paths = (root / "session_logs/training_set", root / "track_features")
    prepared = str(tmp_path / "prepared")
    return SyntheticSkipSessions(*map(str, paths), prepared=prepared, synthetic=generator)


@pytest.fixture(scope="session")
def many(tmp_path_factory):
    """A datamodule of 20,000 generated sessions, set up."""
    folder = tmp_path_factory.mktemp("many")
    data = of_generator(folder / "root", folder, sessions=20_000, tracks=2000)
    data.prepare_data()
    data.setup("fit")
    return data


def test_generated_files_are_in_the_format(planted_sessions):
    rows, table = logs_of(planted_sessions), tracks_of(planted_sessions)
    assert rows.columns[0] == "session_id"
    assert len(rows.columns) == 21
    assert list(table.columns) == ["track_id", *TRACK]
    lengths = rows.groupby("session_id", sort=False).session_position.apply(list)
    for positions in lengths:
        assert positions == [str(i + 1) for i in range(len(positions))]
    assert set(lengths.map(len)) == set(range(10, 21))
    skips = rows[["skip_1", "skip_2", "skip_3", "not_skipped"]] == "True"
    assert not (skips.skip_1 & ~skips.skip_2).any()
    assert not (skips.skip_2 & ~skips.skip_3).any()
    assert not (skips.skip_3 & skips.not_skipped).any()
    assert set(rows[CONTEXT]) == {
        "radio", "catalog", "personalized_playlist", "editorial_playlist", "user_collection",
        "charts",
    }  # fmt: skip
    reasons = {
        "endplay", "fwdbtn", "clickrow", "trackdone", "uriopen", "remote", "playbtn", "backbtn",
        "trackerror", "popup", "appload",
    }  # fmt: skip
    assert set(rows[START]) | set(rows[END]) <= reasons
    assert rows.hour_of_day.astype(int).between(0, 23).all()
    popularity = table.us_popularity_estimate.astype(float)
    assert popularity.between(90, 100).all()
    assert abs((rows.premium == "True").mean() - 0.8) < 0.06
    assert set(rows.track_id_clean) <= set(table.track_id)


def test_the_same_options_give_the_same_bytes_and_more_sessions_begin_alike(
    planted_sessions, tmp_path
):
    for name, sessions in (("same", 400), ("more", 600)):
        PlantedSessions(sessions=sessions, tracks=300).write(tmp_path / name)
    log = "session_logs/training_set/log_00000.csv"
    for name in (log, "track_features/tf_0.csv", "truth.npy"):
        assert (tmp_path / "same" / name).read_bytes() == (planted_sessions / name).read_bytes()
    more = np.load(tmp_path / "more/truth.npy")[:400]
    assert more.tobytes() == np.load(planted_sessions / "truth.npy").tobytes()


def test_the_generator_writes_what_does_not_exist_and_spares_what_does(tmp_path):
    data = of_generator(tmp_path / "root", tmp_path)
    data.prepare_data()
    log = tmp_path / "root/session_logs/training_set/log_00000.csv"
    before = log.stat().st_mtime_ns
    of_generator(tmp_path / "root", tmp_path).prepare_data()
    assert log.stat().st_mtime_ns == before
    with pytest.raises(ZooError, match=r"root exists and was not generated with these"):
        of_generator(tmp_path / "root", tmp_path, seed=1).prepare_data()
    with pytest.raises(ZooError, match=r"set data.path and data.tracks to these"):
        SyntheticSkipSessions(
            "logs", "tracks", synthetic=PlantedSessions(sessions=400)
        ).prepare_data()
    with pytest.raises(ZooError, match=r"synthetic.tracks must be at least 100, got 3"):
        PlantedSessions(tracks=3)


def test_an_interrupted_generator_leaves_nothing(tmp_path):
    with (
        mock.patch("datamodules.synthetic.sessions.np.save", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        PlantedSessions(sessions=100, tracks=100).write(tmp_path / "root")
    assert os.listdir(tmp_path) == []


def joined(data, split="train"):
    """Truth, labels and mask of the second halves of a split."""
    records = data.records(split)
    mask = np.arange(10) < records["future"][:, None]
    return data.truth(split), records["label"].astype(bool), mask


def test_skip_rate_and_mechanisms(many):
    about = json.loads((Path(many.path).parents[1] / "truth.json").read_text())
    assert abs(about["skip_rate"] - 0.517) < 0.005
    assert about["groups"] == GROUPS
    assert about["mechanisms"] == list(MECHANISMS)
    truth, label, mask = joined(many)
    assert np.array_equal(truth["mechanism"] < 255, mask)
    assert np.array_equal(np.isfinite(truth["probability"]), mask)
    shares = [
        [(truth["mechanism"][:, j] == m).sum() / mask[:, j].sum() for j in range(10)]
        for m in range(4)
    ]
    persistence = shares[PERSISTENCE]
    assert all(a > b for a, b in pairwise(persistence))
    assert persistence[0] > 0.75
    overall = np.bincount(truth["mechanism"][mask], minlength=4) / mask.sum()
    assert (overall[[PERSISTENCE, TASTE, POPULARITY]] > 0.2).all()
    for m in range(4):
        mine = truth["mechanism"] == m
        assert abs(label[mine].mean() - 0.517) < 0.03


def test_true_probabilities_are_calibrated(many):
    truth, label, mask = joined(many)
    for m in range(4):
        for low in np.arange(0, 1, 0.1):
            p = truth["probability"]
            mine = mask & (truth["mechanism"] == m) & (p >= low) & (p < low + 0.1)
            if mine.sum() > 200:
                error = 5 * np.sqrt(0.25 / mine.sum())
                assert abs(label[mine].mean() - p[mine].mean()) < error


def from_fields(data):
    """What the fields alone say of each track of B of the test split: its mechanism, and the
    likelier label."""
    batch = whole(data.test_dataloader())
    names = [field.name for field in data.schema.numerical]
    future = [field.name for field in data.schema.future]
    scales = json.loads((data.folder / "encoder/encoder.json").read_text())["scales"]
    mean, deviation = scales["us_popularity_estimate"]
    popularity = batch.future[..., future.index("us_popularity_estimate")] * deviation + mean
    vectors = [f"acoustic_vector_{i}" for i in range(8)]

    def raw(values, fields):
        columns = [fields.index(name) for name in vectors]
        moments = torch.tensor([scales[name] for name in vectors])
        return values[..., columns] * moments[:, 1] + moments[:, 0]

    past, vector = raw(batch.past, names), raw(batch.future, future)
    skipped = batch.past[..., names.index("skip_2")] > 0
    length = batch.past_mask.sum(1)
    last = skipped[torch.arange(len(length)), length - 1]
    run = torch.zeros_like(length)
    for i in range(1, 11):
        here = skipped[torch.arange(len(length)), (length - i).clamp(min=0)]
        run += (run == i - 1) & (here == last) & (i <= length)
    tasty = past.norm(dim=-1) > 0.6
    kept = (tasty & ~skipped & batch.past_mask).unsqueeze(-1)
    centre = (past * kept).sum(1) / kept.sum(1).clamp(min=1)
    distance = (vector - centre[:, None]).norm(dim=-1)
    hit, obscure = popularity > 99, popularity < 96
    taste = vector.norm(dim=-1) > 0.6
    persistent = torch.arange(1, 11) < run[:, None]
    mechanism = np.select(
        [persistent, hit | obscure, taste], [PERSISTENCE, POPULARITY, TASTE], NOISE
    )
    answer = np.select([persistent, hit | obscure, taste], [
        last[:, None].expand(-1, 10), obscure, distance > 0.8], True)  # fmt: skip
    return mechanism, answer


def test_the_truth_follows_from_the_fields(many):
    mechanism, answer = from_fields(many)
    truth, _, mask = joined(many, "test")
    assert (mechanism == truth["mechanism"])[mask].mean() > 0.99
    best = truth["probability"] > 0.5
    for m in (PERSISTENCE, TASTE, POPULARITY):
        mine = truth["mechanism"] == m
        assert (answer == best)[mine].mean() > 0.99


def test_without_the_interactions_nothing_tells_persistence_or_taste(many):
    batch = whole(many.test_dataloader())
    names = [field.name for field in many.schema.numerical]
    vectors = [names.index(f"acoustic_vector_{i}") for i in range(8)]
    general = [names.index(name) for name in ("us_popularity_estimate", "release_year")]
    skipped = batch.past[..., names.index("skip_2")] > 0
    features = batch.past[..., general + vectors][batch.past_mask].numpy()
    skips = skipped[batch.past_mask].numpy()
    related = np.corrcoef(np.column_stack((skips, features)), rowvar=False)[0, 1:]
    assert (np.abs(related) < 0.04).all()
    # a track of B with a taste says that A has liked and disliked ones, not which they are
    scales = json.loads((many.folder / "encoder/encoder.json").read_text())["scales"]
    moments = torch.tensor([scales[names[i]] for i in vectors])
    tasty = (batch.past[..., vectors] * moments[:, 1] + moments[:, 0]).norm(dim=-1) > 0.6
    tasty &= batch.past_mask
    ruled = (many.truth("test")["mechanism"] == TASTE).any(1)
    for mine in (tasty & skipped, tasty & ~skipped):
        assert mine.any(1)[ruled].float().mean() > 0.99


def test_the_ceiling_is_that_of_the_bayes_rule(many):
    for split in ("val", "test"):
        truth, label, mask = joined(many, split)
        right = (truth["probability"] > 0.5) == label
        lengths = mask.sum(1)
        average = [
            sum(r[: i + 1].mean() * r[i] for i in range(n)) / n
            for r, n in zip(right, lengths, strict=True)
        ]
        p = np.where(label, truth["probability"], 1 - truth["probability"])[mask]
        assert many.ceiling(split) == pytest.approx(
            {
                "acc": right[mask].mean(),
                "acc@1": right[:, 0].mean(),
                "maa": np.mean(average),
                "logloss": -np.log(p.astype(float)).mean(),
            }
        )
    assert 0.88 < many.ceiling()["acc"] < 0.93


def test_the_truth_is_known_of_generated_sessions_alone(sessions):
    data = sessions()
    assert data.ceiling() == {}
    assert not hasattr(data, "truth")


def test_flags_of_the_two_groups_are_all_flags():
    assert CONTEXT_FLAGS + INTERACTION_FLAGS == FLAGS
