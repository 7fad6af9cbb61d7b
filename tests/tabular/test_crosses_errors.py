"""Cross fields: files and options that cannot be used, damage, interruptions."""

import errno
import json
import math
import os
import signal
from pathlib import Path
from unittest import mock

import pytest
from support.crossing import CRITEO, assert_slow, folders, opened
from support.interruption import killed, killed_in_the_manifest, limit_files, run_process
from support.preparation import flip, ready

from datamodules import Criteo
from datamodules.tabular.cross_folders import prepare_cross
from datamodules.tabular.cross_options import CrossOptions
from zoo.data.errors import ZooError

DAMAGE = {
    "flipped bit": (lambda f: flip(f / "train" / "ids.npy"), "ids.npy does not match its checksum"),
    "missing ids": (lambda f: (f / "val" / "ids.npy").unlink(), "val/ids.npy is missing"),
    "vocabulary": (lambda f: flip(f / "encoder" / "vocabulary.parquet"), "parquet does not match"),
    "description": (lambda f: flip(f / "encoder" / "cross.json"), "cross.json does not match"),
    "missing manifest": (lambda f: (f / "manifest.json").unlink(), "manifest.json is damaged"),
}


# Damage and interruptions


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_found_before_use(crossed, tmp_path, case):
    crossed([["C6", "C14"]]).prepare_data()
    damage, message = DAMAGE[case]
    (folder,) = folders(tmp_path)
    damage(folder)
    with pytest.raises(ZooError, match=rf"{message}.*; delete {folder} to prepare the data again"):
        ready(crossed([["C6", "C14"]])).setup("fit")


def test_cut_ids_are_found_without_checksums(crossed, tmp_path):
    crossed([["C6", "C14"]]).prepare_data()
    (folder,) = folders(tmp_path)
    os.truncate(folder / "test" / "ids.npy", 200)
    with pytest.raises(ZooError, match=rf"{folder}/test/ids.npy is damaged: .*; delete {folder}"):
        ready(crossed([["C6", "C14"]], verify=False)).setup("fit")


def test_no_cross_is_made_of_damaged_data(crossed, criteo, criteo_file, tmp_path):
    base = criteo(criteo_file)
    base.prepare_data()
    flip(base.folder / "train" / "categorical.npy")
    with pytest.raises(ZooError, match=rf"categorical.npy does not.*; delete {base.folder} to"):
        crossed().prepare_data()
    assert folders(tmp_path) == set()


def cross_of(path, prepared, interactions):
    return Criteo(path, prepared=prepared, crosses=interactions)


def cross_and_die(path, prepared, interactions, step, death):
    Criteo(path, prepared=prepared).prepare_data()
    with mock.patch(step, death):
        cross_of(path, prepared, interactions).prepare_data()


def cross_with_small_files(path, prepared, interactions, size, messages):
    """Crosses on a disk that has become full."""
    Criteo(path, prepared=prepared).prepare_data()
    limit_files(size)
    try:
        cross_of(path, prepared, interactions).prepare_data()
    except ZooError as error:
        Path(messages).write_text(str(error)[:size])


STEPS = {
    "before counting": ("datamodules.tabular.cross_folders.fit_cross", killed),
    "after counting": ("datamodules.tabular.crosses.Cross.save", killed),
    "before the ids": ("datamodules.tabular.crosses.Cross.write", killed),
    "in the ids": ("datamodules.tabular.crosses._ids", killed),
    "after the ids": ("datamodules.tabular.cross_folders.checksums", killed),
    "in the manifest": ("datamodules.prepared.folder.Manifest.save", killed_in_the_manifest),
    "before the name": ("zoo.data.files.os.replace", killed),
}


@pytest.fixture
def small(make_file, criteo_lines, tmp_path, crosses_file):
    """(raw file, prepared folder, interactions) as text."""
    return str(make_file(criteo_lines)), str(tmp_path / "prepared"), crosses_file([["C6", "C14"]])


@pytest.mark.parametrize("moment", STEPS)
def test_a_killed_cross_is_not_taken_for_whole(small, tmp_path, moment):
    assert run_process(cross_and_die, *small, *STEPS[moment]) == -signal.SIGKILL
    assert {p for p in folders(tmp_path) if not p.name.startswith(".")} == set()
    assert_slow(cross_of(*small), [["C6", "C14"]], 1e-4)
    assert [p for p in folders(tmp_path) if p.name.endswith(".partial")] == []


@pytest.mark.parametrize(
    "step", ["datamodules.tabular.crosses._ids", "datamodules.tabular.crosses._count"]
)
def test_ctrl_c_leaves_no_cross(small, tmp_path, step):
    with mock.patch(step, side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        cross_of(*small).prepare_data()
    assert folders(tmp_path) == set()


def test_crosses_made_before_an_interruption_stay(crossed, made_crosses, tmp_path):
    whole = prepare_cross
    with (
        mock.patch(
            "datamodules.tabular.cross_folders.prepare_cross",
            side_effect=lambda *a, **k: whole(*a, **k) if "C6" in k["wanted"].members else 1 / 0,
        ),
        pytest.raises(ZeroDivisionError),
    ):
        crossed().prepare_data()
    assert len(folders(tmp_path)) == 1
    crossed().prepare_data()
    assert ("C6", "C14") not in made_crosses()


def test_a_full_disk_is_reported(small, tmp_path):
    full = OSError(errno.ENOSPC, "No space left on device")
    with (
        mock.patch("datamodules.tabular.crosses.array_file", side_effect=full),
        pytest.raises(ZooError, match=r"cannot write .*criteo-.*-cross-.*: No space left"),
    ):
        cross_of(*small).prepare_data()
    assert folders(tmp_path) == set()


@pytest.mark.parametrize("size", [200, 500])
def test_writes_that_fail_are_reported(small, tmp_path, size):
    messages = str(tmp_path / "messages")
    assert run_process(cross_with_small_files, *small, size, messages) == 0
    assert Path(messages).read_text().startswith(("cannot write", "reading or writing failed"))
    assert folders(tmp_path) == set()


def entry(*interactions):
    return {"format": 1, "interactions": list(interactions)}


GOOD = {"fields": ["C1", "C2"]}
MISTAKES = {
    "not JSON": (b"{", r"interactions.json is not JSON \(data.crosses\)"),
    "not text": (b"\xff\xfe\xfa", r"interactions.json is not JSON"),
    "empty": (b"", r"is not JSON"),
    "another kind of JSON": (["C1"], "is not a file of interactions"),
    "no format": ({"interactions": []}, 'is not a file of interactions: it has no "format"'),
    "another format": ({"format": 2, "interactions": []}, "has format 2, this version reads 1"),
    "no interactions": ({"format": 1}, '"interactions" is not a list'),
    "no fields": (entry(GOOD, {"count": 3}), 'interaction 2 has no "fields"'),
    "no object": (entry(["C1", "C2"]), 'interaction 1 has no "fields"'),
    "a text": (entry({"fields": "C1"}), 'interaction 1 has no "fields", a list of names'),
    "numbers": (entry({"fields": [1, 2]}), 'interaction 1 has no "fields", a list of names'),
    "unknown field": (entry(GOOD, {"fields": ["C1", "C99"]}), "interaction 2 .*unknown.*: C99"),
    "label": (entry({"fields": ["label", "C1"]}), "interaction 1 names an unknown field: label"),
    "one field": (entry({"fields": ["C1"]}), "interaction 1 has fewer than two fields: C1"),
    "no field": (entry({"fields": []}), "interaction 1 has fewer than two fields: none"),
    "twice": (entry({"fields": ["C1", "C2", "C1"]}), "interaction 1 names a field twice: C1"),
    "duplicate": (
        entry(GOOD, {"fields": ["C3", "C4"]}, {"fields": ["C2", "C1"]}),
        "interaction 3 makes the field 'C1 x C2', which interaction 1 has already",
    ),
}


# Mistakes


@pytest.mark.parametrize("case", MISTAKES)
def test_message_of_a_wrong_file(criteo, criteo_file, crosses_file, case):
    content, message = MISTAKES[case]
    content = json.dumps(content).encode() if isinstance(content, list) else content
    with (
        mock.patch(
            "datamodules.tabular.module.prepare", side_effect=AssertionError
        ),  # reported before the work
        pytest.raises(ZooError, match=message) as error,
    ):
        criteo(criteo_file, crosses=crosses_file(content), top_k=1).prepare_data()
    assert "\n" not in str(error.value)
    assert "interactions.json" in str(error.value)


def test_message_of_a_missing_file(criteo, criteo_file, tmp_path):
    with pytest.raises(ZooError, match=r"cannot read .*gone.json \(data.crosses\): No such file"):
        criteo(criteo_file, crosses=str(tmp_path / "gone.json")).prepare_data()


def test_a_name_that_is_taken(crosses_file):
    fields = ["a", "b", "a x b"]
    path = Path(crosses_file([fields[:2]]))
    with pytest.raises(ZooError, match="makes the field 'a x b', which the dataset"):
        CrossOptions(path, None, 100, 0).interactions(fields)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"top_k": 0}, "data.top_k must be at least 1, got 0"),
        ({"cross_bins": 1}, "data.cross_bins must be at least 2, got 1"),
        ({"cross_min_share": 1}, "data.cross_min_share is a share from 0 to below 1, got 1"),
        ({"cross_min_share": -0.1}, "data.cross_min_share is a share from 0 to below 1"),
        ({"cross_min_share": math.nan}, "data.cross_min_share is a share from 0 to below 1"),
    ],
)
def test_message_of_a_wrong_option(options, message):
    with pytest.raises(ZooError, match=message):
        Criteo("train.txt", **options)


def test_fewer_interactions_than_top_k_are_all_taken(crossed, capsys):
    datamodule = crossed(CRITEO[:2], top_k=40)
    assert len(opened(datamodule)["val"].crosses) == 2
    said = "interactions.json: interactions found: 2 of the 40 that data.top_k asks for"
    assert capsys.readouterr().err.count(said) == 1


def test_no_interactions_are_no_crosses(crossed, capsys):
    datamodule = crossed([])
    assert opened(datamodule)["val"].crosses == ()
    assert "interactions found: 0" in capsys.readouterr().err
