"""Prepared folders: a manifest vouches for itself, and a read-only disk is enough to read."""

import errno
import json
import os
import random
import shutil

import numpy as np
import pytest
from filelock import FileLock
from support.preparation import ready

from datamodules import Criteo, SyntheticCriteo
from datamodules.prepared.arrays import Arrays
from datamodules.prepared.encoder import Encoder
from datamodules.prepared.folder import Manifest
from datamodules.sessions.prepare import load_encoder
from datamodules.sessions.tracks import TRACKS
from datamodules.synthetic.clicks import PlantedClicks
from datamodules.tabular.crosses import Cross
from zoo import ZooError

WRONG = {
    "source": [],
    "options": "x",
    "schema": {"format": 1},
    "splits": {"train": {"rows": "3", "positives": 1}},
    "rejected": {"a": "b"},
    "rejected_examples": [3],
    "checksums": {"x": 3},
    "notes": [],
    "format": "1",
}


@pytest.fixture
def folder(prepared_criteo, tmp_path):
    """A folder with the manifest of prepared data."""
    shutil.copy(prepared_criteo[2] / "manifest.json", tmp_path)
    return tmp_path


def rewritten(folder, change):
    """A manifest as an earlier version wrote it, without a checksum of its own, changed."""
    content = json.loads((folder / "manifest.json").read_text())
    del content["checksum"]
    change(content)
    (folder / "manifest.json").write_text(json.dumps(content))


def test_a_manifest_without_a_checksum_of_its_own_is_read(folder):
    want = Manifest.load(folder)
    rewritten(folder, lambda content: content.pop("notes"))
    assert Manifest.load(folder) == want


@pytest.mark.parametrize("key", WRONG)
def test_values_of_other_types(key, folder):
    rewritten(folder, lambda content: content.update({key: WRONG[key]}))
    with pytest.raises(ZooError, match=r"manifest.json is damaged: .*; delete .* to prepare"):
        Manifest.load(folder)


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", b"[" * 100_000, b'{"a": 1}'])
def test_no_manifest(content, folder):
    (folder / "manifest.json").write_bytes(content)
    with pytest.raises(ZooError, match=r"manifest.json is damaged: "):
        Manifest.load(folder)


def test_each_changed_character_is_found(folder):
    path, chance = folder / "manifest.json", random.Random(0)
    whole, want = path.read_text(), Manifest.load(folder)
    for _ in range(300):
        place = chance.randrange(len(whole))
        path.write_text(whole[:place] + chance.choice("0x}") + whole[place + 1 :])
        try:
            found = Manifest.load(folder)
        except ZooError as error:
            assert "manifest.json is damaged: " in str(error)  # noqa: PT017
        else:
            assert found == want  # white space, or the same character


@pytest.fixture
def read_only(monkeypatch):
    """No lock can be made, as on a disk that is mounted read-only."""

    def refuse(*args, **kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    return lambda: monkeypatch.setattr(FileLock, "acquire", refuse)


def test_prepared_data_on_a_read_only_disk(criteo_file, prepared_criteo, read_only):
    read_only()
    data = Criteo(str(criteo_file), prepared=str(prepared_criteo[2].parent))
    data.prepare_data()
    data.setup("fit")
    assert data.size("train").rows > 0


def test_generated_data_on_a_read_only_disk(tmp_path, read_only):
    given = {"path": str(tmp_path / "train.txt"), "prepared": str(tmp_path / "prepared")}
    data = ready(SyntheticCriteo(synthetic=PlantedClicks(rows=300), **given))
    want = data.size("train")
    read_only()
    again = ready(SyntheticCriteo(synthetic=PlantedClicks(rows=300), **given))
    assert again.size("train") == want


def test_nothing_is_prepared_on_a_read_only_disk(criteo, criteo_lines, read_only):
    read_only()
    with pytest.raises(ZooError, match=r"cannot write to .*: Read-only file system"):
        criteo(criteo_lines[:50]).prepare_data()


# Encoders


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("options", "x", "its options is not of the kind dict"),
        ("dataset", 3, "its dataset is not of the kind str"),
        ("schema", [], "its schema is not of the kind dict"),
        ("schema", {"format": 1, "fields": "x"}, "the schema is damaged: it has no list of fields"),
        ("schema", {"format": 1, "fields": [{"name": 3}]}, "the schema is damaged: its name"),
        ("means", {"I1": "x"}, "its means is not of the kind dict"),
        ("means", {"I1": 0.5}, "it has no mean of I10, I11, "),
    ],
)
def test_an_encoder_with_values_of_other_types(key, value, message, prepared_criteo, tmp_path):
    folder = shutil.copytree(prepared_criteo[2] / "encoder", tmp_path / "encoder")
    path = folder / "encoder.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(ZooError) as error:
        Encoder.load(folder)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "content",
    [
        {"members": "ab", "edges": {}, "cardinality": 3},
        {"members": ["a", "b"], "edges": {"a": ["x"]}, "cardinality": 3},
        {"members": ["a", "b"], "edges": {}, "cardinality": "3"},
    ],
)
def test_a_cross_with_values_of_other_types(content, tmp_path):
    (tmp_path / "cross.json").write_text(json.dumps({"format": 1, **content}))
    (tmp_path / "vocabulary.parquet").touch()
    with pytest.raises(ZooError, match=r"cross.json is damaged: its \w+ is not of the kind"):
        Cross.load(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        {"vocabulary": {"a": [3]}, "scales": {}},
        {"vocabulary": {}, "scales": {"a": [1.0]}},
        {"vocabulary": {}, "scales": "x"},
    ],
)
def test_an_encoder_of_sessions_with_values_of_other_types(content, tmp_path):
    (tmp_path / "encoder.json").write_text(json.dumps({"format": 1, "dataset": "x", **content}))
    (tmp_path / TRACKS.table).touch()
    with pytest.raises(ZooError, match=r"encoder.json is damaged: its \w+ is not of the kind"):
        load_encoder(tmp_path, "x")


# Arrays


@pytest.mark.parametrize(
    ("array", "changed"),
    [
        ("numerical", lambda a: a.astype(np.float64)),
        ("numerical", lambda a: np.asfortranarray(a)),
        ("categorical", lambda a: a[:, 0]),
        ("label", lambda a: a[:-1]),
        ("row", lambda a: a.astype(object)),
    ],
)
def test_arrays_that_do_not_fit_each_other(array, changed, prepared_criteo, tmp_path):
    shutil.copytree(prepared_criteo[2] / "val", tmp_path / "val")
    path = tmp_path / f"val/{array}.npy"
    np.save(path, changed(np.load(path)))
    with pytest.raises(ZooError, match=r"\.npy is damaged: .*; delete "):
        Arrays.open(tmp_path / "val")
