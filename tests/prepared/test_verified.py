"""Prepared files are compared with their checksums once, until they change."""

import json
import os
import shutil
import threading
from pathlib import Path
from unittest import mock

import pytest

from datamodules.prepared import folder as folders
from datamodules.prepared import verified
from datamodules.prepared.folder import Manifest
from datamodules.prepared.verified import verify
from zoo.data.checksums import checksum, checksums
from zoo.data.errors import ZooError
from zoo.data.schema import Field, Schema

FILES = {"train/label.npy": b"labels", "train/row.npy": b"rows", "encoder/encoder.json": b"{}"}


@pytest.fixture(autouse=True)
def old():
    """Files count as old at once."""
    with mock.patch.object(verified, "RECENT", -1e12):
        yield


@pytest.fixture
def prepared(tmp_path):
    """A folder of prepared data, and its manifest."""
    folder = tmp_path / "data" / "clicks-0"
    for name, content in FILES.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    splits = {"train": {"rows": 1, "positives": 0}}
    schema = Schema((Field("n", "numerical"),)).to_dict()
    Manifest({}, {}, schema, splits, {}, [], checksums(folder)).save(folder)
    return folder


def hashed(folder, how="once"):
    """Verifies; which files were read for it."""
    found = []

    def counted(path):
        found.append(path.relative_to(folder).as_posix())
        return checksum(path)

    with mock.patch.object(folders, "checksum", counted):
        verify(folder, Manifest.load(folder), how)
    return sorted(found)


@pytest.mark.parametrize("how", ["once", True])
def test_each_file_is_compared_once(prepared, how):
    assert hashed(prepared, how) == sorted(FILES)
    assert hashed(prepared, how) == []


def test_always_and_never(prepared):
    assert [hashed(prepared, "always") for _ in range(2)] == [sorted(FILES)] * 2
    (prepared / "train/row.npy").write_bytes(b"damaged")
    assert hashed(prepared, False) == []


def replaced(path):
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content)


def rewritten(path):
    """The same size and the same time of modification, as a copy by `rsync -t` has."""
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=times)


CHANGES = {"touched": os.utime, "replaced": replaced, "written, with its time": rewritten}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_has_changed_is_compared_again(prepared, change):
    hashed(prepared)
    change(prepared / "train/row.npy")
    assert hashed(prepared) == ["train/row.npy"]
    assert hashed(prepared) == []


def test_damage_after_the_first_time_is_named(prepared):
    hashed(prepared)
    (prepared / "train/row.npy").write_bytes(b"rowz")
    said = f"{prepared}/train/row.npy does not match its checksum; delete {prepared} to prepare"
    for _ in range(2):
        with pytest.raises(ZooError, match=said):
            hashed(prepared)
    (prepared / "train/row.npy").unlink()
    with pytest.raises(ZooError, match=r"row.npy is missing, or cannot be read"):
        hashed(prepared)


def test_a_copy_is_compared(prepared, tmp_path):
    hashed(prepared)
    shutil.copytree(prepared.parent, tmp_path / "other")  # with the times, and what was noted
    assert hashed(tmp_path / "other" / prepared.name) == sorted(FILES)


def test_another_manifest_is_compared(prepared):
    hashed(prepared)
    manifest = Manifest.load(prepared)
    manifest.checksums["train/row.npy"] = "0" * 64
    with pytest.raises(ZooError, match="does not match"):
        verify(prepared, manifest, "once")


def cut(record):
    record.write_text(record.read_text()[:40])


def forged(record):
    """What was noted, changed by hand."""
    content = json.loads(record.read_text())
    content["files"].pop("train/row.npy")
    record.write_text(json.dumps(content))


@pytest.mark.parametrize("damage", [cut, forged, Path.unlink, lambda r: r.write_text("[]")])
def test_a_damaged_note_counts_for_nothing(prepared, damage):
    hashed(prepared)
    damage(prepared.with_name(f"{prepared.name}.verified"))
    assert hashed(prepared) == sorted(FILES)
    assert hashed(prepared) == []


def test_what_was_written_just_now_is_not_noted(prepared):
    """Of two writes within a tick of the clock the second cannot be seen."""
    with mock.patch.object(verified, "RECENT", 3600e9):
        assert [hashed(prepared) for _ in range(2)] == [sorted(FILES)] * 2


def test_a_folder_that_cannot_be_written_to(prepared, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(verified, "write_text", refuse)
    monkeypatch.setattr(folders.FileLock, "acquire", refuse)
    assert [hashed(prepared) for _ in range(2)] == [sorted(FILES)] * 2


def test_processes_that_come_meanwhile_compare_nothing(prepared):
    """The first one holds the lock until all have come."""
    waiting = threading.Barrier(3)
    compared = []

    def unknown(folder, manifest):
        found = compare_unknown(folder, manifest)
        if threading.current_thread() not in seen:
            seen.add(threading.current_thread())
            waiting.wait(30)
        return found

    seen, compare_unknown = set(), verified._unknown
    original = Manifest.verify

    def counted(self, folder, paths=None):
        compared.append(sorted(paths))
        original(self, folder, paths)

    with (
        mock.patch.object(verified, "_unknown", unknown),
        mock.patch.object(Manifest, "verify", counted),
    ):
        manifest = Manifest.load(prepared)
        threads = [
            threading.Thread(target=verify, args=(prepared, manifest, "once")) for _ in "123"
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert compared == [sorted(FILES)]
