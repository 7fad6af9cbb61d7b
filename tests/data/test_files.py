"""Files that appear whole or not at all: full disks, kills, other file systems."""

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from support.interruption import fails_half_way
from support.running import ROOT

from zoo import ZooError
from zoo.data.files import (
    atomic_file,
    atomic_folder,
    partial_file,
    remove_leftovers,
    remove_old_folders,
    temporary_folder,
    write_text,
)
from zoo.run.checkpoint_io import AtomicCheckpointIO

HOLD = """
import sys, time
from pathlib import Path
from zoo.data.files import partial_file
with partial_file(Path(sys.argv[1])) as partial:
    print(partial, flush=True)
    time.sleep(60)
"""


def fail_half_way(partial, error):
    if partial.exists():
        partial.write_text("half")
    else:
        (partial / "a folder").mkdir(parents=True)
    raise error


@pytest.fixture
def held(tmp_path):
    """A process that is writing `tmp_path/a`, and the partial file that it writes."""
    line = [sys.executable, "-c", HOLD, str(tmp_path / "a")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env=environment) as process:
        partial = Path(process.stdout.readline().strip())
        os.utime(partial, (0, 0))  # as if it had begun long ago
        yield process, partial
        process.kill()


def test_a_file_appears_when_it_is_complete(tmp_path):
    file = tmp_path / "a"
    write_text(file, "before")
    with atomic_file(file) as partial:
        partial.write_text("after")
        assert file.read_text() == "before"
        assert partial.parent == tmp_path  # of the same file system, whatever TMPDIR is
    assert file.read_text() == "after"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt, SystemExit])
def test_what_fails_leaves_the_file_of_before(tmp_path, error):
    file = tmp_path / "a"
    file.write_text("before")
    with pytest.raises(error), atomic_file(file) as partial:
        fail_half_way(partial, error)
    assert file.read_text() == "before"
    assert os.listdir(tmp_path) == ["a"]


def test_an_error_names_the_file_and_not_the_partial_one(tmp_path):
    with pytest.raises(OSError, match="No such") as found, atomic_file(tmp_path / "no/a"):
        pass
    assert found.value.filename == str(tmp_path / "no/a")


def test_what_a_killed_process_left_is_removed_and_what_another_writes_is_not(held, tmp_path):
    process, partial = held
    write_text(tmp_path / "a", "mine")
    remove_leftovers(tmp_path)
    assert partial.exists()
    process.kill()
    process.wait()
    write_text(tmp_path / "another", "mine")
    assert partial.exists()
    write_text(tmp_path / "a", "mine")
    assert sorted(os.listdir(tmp_path)) == ["a", "another"]


def test_leftovers_of_all_files_of_a_folder(tmp_path):
    for name in (".a.1.partial", ".b.ckpt.22.partial", ".c.partial", "d.1.partial"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
    remove_leftovers(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".c.partial", "d.1.partial"]  # of somebody else
    remove_leftovers(tmp_path / "nowhere")


def test_a_partial_file_is_removed_in_any_case(tmp_path):
    with partial_file(tmp_path / "a") as partial:
        partial.write_text("a part")
    assert not os.listdir(tmp_path)


def test_a_folder_appears_when_it_is_complete(tmp_path):
    folder = tmp_path / "a"
    with pytest.raises(ZooError, match=r"cannot write .*a: full"), atomic_folder(folder) as partial:
        fail_half_way(partial, OSError(errno.ENOSPC, "full"))
    assert not os.listdir(tmp_path)
    (tmp_path / ".a.partial/of a killed process").mkdir(parents=True)
    with atomic_folder(folder) as partial:
        partial.mkdir()
        (partial / "whole").touch()
    assert [p.name for p in folder.iterdir()] == ["whole"]
    with atomic_folder(tmp_path / "none"):
        pass
    assert os.listdir(tmp_path) == ["a"]


# Checkpoints


def test_a_checkpoint_on_a_full_disk_leaves_the_one_before(tmp_path):
    path, tensor = tmp_path / "checkpoints/last.ckpt", torch.arange(100_000)
    AtomicCheckpointIO().save_checkpoint({"state": tensor}, path)
    before = path.read_bytes()
    with fails_half_way(path.parent, 10_000), pytest.raises(OSError, match="No space") as found:
        AtomicCheckpointIO().save_checkpoint({"state": tensor + 1}, path)
    assert found.value.filename == str(path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["last.ckpt"]


def test_a_checkpoint_needs_no_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    AtomicCheckpointIO().save_checkpoint({"state": torch.ones(3)}, tmp_path / "a.ckpt")
    saved = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert saved["state"].tolist() == [1, 1, 1]


def test_equal_checkpoints_are_equal_files(tmp_path):
    for name in ("a.ckpt", "b.ckpt"):
        AtomicCheckpointIO().save_checkpoint({"state": torch.ones(3)}, tmp_path / name)
    assert (tmp_path / "a.ckpt").read_bytes() == (tmp_path / "b.ckpt").read_bytes()


# Temporary folders


def test_temporary_folders_end_with_their_owner_and_those_of_killed_processes(
    tmp_path, monkeypatch
):
    class Owner:
        pass

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    killed = tmp_path / "interpretable-zoo-killed"
    killed.mkdir()
    (killed / "lock").touch()
    first, second = Owner(), Owner()
    held = temporary_folder(first)
    for folder in (killed, held):
        os.utime(folder / "lock", (0, 0))  # as if they were old
    other = temporary_folder(second)
    assert {killed.exists(), held.exists(), other.exists()} == {False, True}
    del first, second
    assert not os.listdir(tmp_path)


def test_what_is_left_of_a_folder_is_removed_when_it_is_old(tmp_path):
    for name in (".encoder.partial", ".new.partial", ".git"):
        (tmp_path / name / "more").mkdir(parents=True)
    for name in (".encoder.partial", ".git"):
        os.utime(tmp_path / name, (0, 0))
    remove_old_folders(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".git", ".new.partial"]
