"""Listening sessions: prediction, damage, interruptions, `prepare`."""

import json
import shutil
import signal
from pathlib import Path
from unittest import mock

import pyarrow.parquet as pq
import pytest
import torch
from support.interruption import killed, run_process
from support.listening import batches, first_session, prepared_bytes, swapped
from support.running import command

from datamodules import SkipSessions
from datamodules.sessions.records import COUNTS, FLAGS, VALUES
from zoo import Schema, ZooError
from zoo.data.batch import concatenate


@pytest.fixture
def run(sessions, tmp_path):
    """A fitted datamodule and a copy of its encoder."""
    data = sessions()
    data.prepare_data()
    data.save_encoder(tmp_path / "encoder")
    return data, str(tmp_path / "encoder")


def predicting(encoder, path, **options):
    data = SkipSessions("gone", "gone", encoder=encoder, predict_path=str(path), **options)
    data.setup("predict")
    return data, list(data.predict_dataloader())


def test_an_encoder_scores_raw_sessions_whose_second_half_is_unknown(run, logs, tmp_path):
    data, encoder = run
    want, ids = batches(data, "test")
    rows = logs[logs.session_id.isin(ids)].copy()
    future = rows.session_position.astype(int) > rows.session_length.astype(int) // 2
    rows.loc[future, [*FLAGS, *COUNTS, *VALUES, "date", "hour_of_day"]] = ""
    rows.to_csv(tmp_path / "new.csv", index=False)
    shutil.rmtree(Path(data.path).parent)
    new, found = predicting(encoder, tmp_path / "new.csv", batch_size=7)
    assert new.predict_rows == len(ids)
    description = json.loads(Path(encoder, "encoder.json").read_text())
    assert new.schema == Schema.from_dict(description["schema"])
    joined = concatenate(found)
    assert joined.row.tolist() == list(range(len(ids)))
    for name in ("past", "past_mask", "future", "future_mask"):
        assert torch.equal(getattr(joined, name), getattr(want, name))
    assert joined.label.isnan().equal(joined.future_mask)


def test_splits_of_other_sessions_get_the_codes_of_the_run(run, sessions, logs, tracks, tmp_path):
    """As `predict` encodes them: other listeners, whose reasons are other ones and unknown."""
    _, encoder = run
    rows = logs[logs.session_id.isin(logs.session_id.drop_duplicates()[:200])].copy()
    rows["context_type"] = rows.context_type.iloc[::-1].to_numpy()
    rows.loc[rows.index[:200], "context_type"] = "never seen"
    other = sessions(rows=rows, table=tracks.iloc[::2], encoder=encoder)
    other.setup("fit")
    rows.to_csv(tmp_path / "new.csv", index=False)
    _, found = predicting(encoder, tmp_path / "new.csv", batch_size=1000)
    expected, total = concatenate(found), 0
    for split in ("train", "val", "test"):
        numbers = torch.from_numpy(other.records(split)["row"].astype("int64"))
        batch = concatenate(list(other.loader(split, with_row=True)))
        assert batch.row.tolist() == numbers.tolist()
        place = torch.searchsorted(expected.row, numbers)
        for name in ("past", "past_mask", "future", "future_mask"):
            longest = getattr(batch, name).shape[1]
            assert torch.equal(getattr(batch, name), getattr(expected, name)[place, :longest])
        total += len(numbers)
    assert total == rows.session_id.nunique()
    assert other.checksums()["encoder"] == run[0].checksums()["encoder"]


def test_a_session_that_cannot_be_scored_leaves_a_gap(run, logs, tmp_path):
    _, encoder = run
    rows = logs[logs.session_id.isin(logs.session_id.drop_duplicates()[:20])].copy()
    mine = first_session(rows)
    number = rows.session_id.drop_duplicates().tolist().index(rows.session_id[mine[0]])
    swapped(rows, mine)
    rows.to_csv(tmp_path / "new.csv", index=False)
    new, found = predicting(encoder, tmp_path / "new.csv", max_bad_sessions=0.1)
    assert new.predict_rows == 20
    rows = torch.cat([batch.row for batch in found])
    assert rows.tolist() == [i for i in range(20) if i != number]
    named, _ = predicting(
        encoder, tmp_path / "new.csv", max_bad_sessions=0.1, predict_columns=["session_id"]
    )
    carried = pq.read_table(named.carried).to_pandas()
    assert carried.row.tolist() == rows.tolist()
    ids = logs.session_id.drop_duplicates()[:20]
    assert carried.session_id.tolist() == ids[ids != logs.session_id[mine[0]]].tolist()
    with pytest.raises(ZooError, match=r"1 of 20 sessions are malformed"):
        predicting(encoder, tmp_path / "new.csv", max_bad_sessions=0.01)


def test_mistakes_in_predicting(run, tmp_path):
    data, encoder = run
    with pytest.raises(ZooError, match=r"give --data.predict_path"):
        SkipSessions("gone", "gone", encoder=encoder).setup("predict")
    with pytest.raises(ZooError, match=r"no such file or folder: gone \(data.predict_path\)"):
        predicting(encoder, "gone")
    with pytest.raises(ZooError, match=r"no such file or folder: gone"):
        _ = SkipSessions("gone", "gone", encoder=encoder).manifest
    description = Path(encoder, "encoder.json")
    text = description.read_text()
    description.unlink()  # the prepared data have it under another name
    description.write_text(text.replace("SkipSessions", "Criteo"))
    with pytest.raises(ZooError, match=r"was fitted on Criteo data, not on SkipSessions data"):
        predicting(encoder, data.path)
    description.write_text(text)
    Path(encoder, "track_ids.parquet").unlink()
    with pytest.raises(ZooError, match=r"encoder is damaged"):
        predicting(encoder, data.path)
    Path(encoder, "tracks.npy").unlink()
    with pytest.raises(ZooError, match=r"is not an encoder: encoder.json or tracks.npy is missing"):
        predicting(encoder, data.path)


def test_damage_shows(sessions):
    data = sessions()
    data.prepare_data()
    path = data.folder / "val/sessions.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ZooError, match=r"val/sessions.npy does not match its checksum"):
        data.setup("fit")
    path.write_bytes(content[:100])
    data.verify = False
    with pytest.raises(ZooError, match=r"val/sessions.npy is damaged"):
        data.setup("fit")


def prepare_and_die(path, tracks, prepared, step):
    with mock.patch(step, killed):
        SkipSessions(path, tracks, prepared=prepared).prepare_data()


@pytest.mark.parametrize(
    "step",
    [
        "datamodules.sessions.prepare.split_of",
        "datamodules.sessions.prepare._recode",
        "datamodules.prepared.folder.Manifest.save",
    ],
)
def test_killed_preparation_is_not_taken_for_whole(shared_sessions, sessions, step):
    data = sessions()
    paths = (data.path, data.tracks, str(data.prepared))
    assert run_process(prepare_and_die, *paths, step) == -signal.SIGKILL
    assert not data.folder.exists()
    assert prepared_bytes(data) == prepared_bytes(shared_sessions)
    assert sorted(p.name for p in data.prepared.iterdir() if p.is_dir()) == [data.folder.name]
    assert not (data.folder / "work").exists()


def test_prepare_prints_the_manifest(sessions, capsys):
    data = sessions()
    places = ["--data.path", data.path, "--data.tracks", data.tracks]
    places += ["--data.prepared", data.prepared]
    command("prepare", "--model=zoo.DeepFM", "--data=datamodules.SkipSessions", *places)
    shown = capsys.readouterr().out
    assert "acoustic_vector_7" in shown
    assert "0 malformed rows" in shown
    assert "sessions in the train split" in shown
