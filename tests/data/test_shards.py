"""Tables in parts: whoever wrote them, whoever reads them, the rows are the same."""

import errno
import os
import random
import re
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support.damage import damaged_bytes
from support.parted import SUM, TABLE, content_of, equal, positions_of, written
from support.running import ROOT

from zoo import ZooError
from zoo.data import shard_part
from zoo.data.partition import Partition
from zoo.data.shard_content import (
    copy_parts,
    of_weights,
    opened,
    remove_unnamed,
    restored,
    split_off,
)
from zoo.data.shard_part import part_name, write_part
from zoo.data.shards import TableBeside


def read(path):
    return torch.load(path, weights_only=True)


def shards_of(path):
    return opened(read(path), path)


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(shard_part, "ROWS_PER_PIECE", 128)


@pytest.fixture
def path(tmp_path, small_pieces):
    """A checkpoint of three parts."""
    path = tmp_path / "best.ckpt"
    written(path, content_of(1000))
    return path


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 900),
    st.integers(1, 5),
    st.integers(1, 5),
    st.sampled_from([torch.float32, torch.bfloat16, torch.int64, torch.bool]),
    st.randoms(use_true_random=False),
)
def test_any_number_of_readers_reads_what_any_number_of_writers_wrote(
    tmp_path_factory, rows, writers, readers, dtype, chance
):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shard_part, "ROWS_PER_PIECE", 64 * chance.randint(1, 4))
        content = content_of(rows, chance.randint(1, 4), dtype)
        path = tmp_path_factory.mktemp("shards") / "last.ckpt"
        written(path, content, writers)
        assert equal(restored(read(path), path), content)
        shards, partition = shards_of(path), Partition(rows, readers)
        for key, whole in ((TABLE, content["state_dict"]["table"]),):
            want = positions_of(whole, partition)
            found = [shards.rows(key, *partition.bounds(part)) for part in range(readers)]
            assert torch.equal(torch.cat(found), want)
            start, stop = sorted(chance.randint(0, partition.size) for _ in range(2))
            assert torch.equal(shards.rows(key, start, stop), want[start:stop])
            step = 64 * chance.randint(1, 4)
            pieces = [shards.of_ids(key, i, min(i + step, rows)) for i in range(0, rows, step)]
            assert torch.equal(torch.cat(pieces), whole)
            ids = torch.tensor([chance.randrange(rows) for _ in range(chance.randint(0, 200))])
            assert torch.equal(TableBeside(shards, key)[ids.long()], whole[ids.long()])


def test_the_small_file_holds_no_rows_and_says_where_they_are(path):
    small = read(path)
    (folder,) = path.parent.glob("*.shards")
    assert small["state_dict"]["table"].is_meta
    assert small["state_dict"]["table"].shape == (1000, 3)
    assert small["shards"] == {
        "folder": folder.name,
        "rows_per_block": 64,
        "tensors": {TABLE: 1000, SUM: 1000},
    }
    names = ["named", *(part_name(i, 3) for i in range(3))]
    assert sorted(file.name for file in folder.iterdir()) == names
    assert re.fullmatch(r"best-7-[0-9a-f]{8}\.shards", folder.name)
    # the values of a whole one, read by the library alone
    parts = [load_file(folder / part_name(i, 3))[TABLE] for i in range(3)]
    assert sum(map(len, parts)) == Partition(1000).size
    assert {*torch.cat(parts)[:, 0].tolist()} == {*range(0, 3000, 3)}


def test_a_checkpoint_that_is_split_stays_as_it_is():
    content = content_of(10)
    small, tensors = split_off(content, {TABLE: 10, SUM: 10}, Path("x.shards"))
    assert equal(content, content_of(10))
    assert tensors[TABLE] is content["state_dict"]["table"]
    assert [*small["state_dict"]] == ["layer", "table", "bias"]


def test_what_is_not_asked_for_is_not_read(path):
    found = restored(read(path), path, of_weights)
    assert torch.equal(found["state_dict"]["table"], content_of(1000)["state_dict"]["table"])
    assert found["optimizer_states"][0]["state"][0]["sum"].is_meta


def test_a_part_is_checked_by_those_who_read_its_rows(path):
    (folder,) = path.parent.glob("*.shards")
    last = folder / part_name(2, 3)
    last.write_bytes(last.read_bytes()[:-1] + b"\x7f")
    key = max((TABLE, SUM), key=lambda key: offset_of(last, key))
    shards, partition = shards_of(path), Partition(1000, 3)
    for part in range(2):
        shards.rows(key, *partition.bounds(part))
    with pytest.raises(ZooError, match=r"part-00002-of-00003\.safetensors is damaged: the checks"):
        shards.rows(key, *partition.bounds(2))


def offset_of(file, key):
    with safe_open(file, "pt") as opened:
        return [*opened.offset_keys()].index(key)


# Damage


def refusal(path):
    with pytest.raises(ZooError) as caught:
        restored(read(path), path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_parts_that_are_missing(path):
    (folder,) = path.parent.glob("*.shards")
    (folder / part_name(1, 3)).unlink()
    assert refusal(path) == f"{folder} is not whole: {part_name(1, 3)} is missing"
    (folder / part_name(2, 3)).unlink()
    (folder / part_name(0, 3)).unlink()
    assert refusal(path) == f"{folder} is not whole: it holds no parts of tables"
    shutil.rmtree(folder)
    assert refusal(path) == (
        f"{path} is not whole: its tables lie in {folder}, which is missing; a copy of a "
        "checkpoint needs a copy of its folder beside it"
    )


def test_parts_that_are_no_files(path):
    (folder,) = path.parent.glob("*.shards")
    part = folder / part_name(1, 3)
    part.unlink()
    os.mkfifo(part)  # reading it would wait for ever
    assert refusal(path) == f"{part} is no file"


def test_a_part_that_was_cut_short(path):
    (folder,) = path.parent.glob("*.shards")
    part = folder / part_name(0, 3)
    whole = part.read_bytes()
    for length in (0, 4, 100, len(whole) - 1):
        part.write_bytes(whole[:length])
        assert refusal(path).startswith(f"{part} is damaged or was cut short: ")
    part.write_bytes((2**60).to_bytes(8, "little") + whole[8:])
    assert refusal(path).startswith(f"{part} is damaged or was cut short: ")


def test_parts_of_other_checkpoints(path):
    (folder,) = path.parent.glob("*.shards")
    first, second = (folder / part_name(i, 3) for i in range(2))
    other = written(path.with_name("last.ckpt"), content_of(1000))
    whole = first.read_bytes()
    shutil.copyfile(other / first.name, first)
    assert refusal(path) == f"{first} is of another checkpoint: it was saved into {other.name}"
    shutil.copyfile(second, first)
    assert refusal(path) == (
        f"{first} is another part than its name says: it was saved as {second.name}"
    )
    first.write_bytes(whole)
    shutil.copyfile(first, folder / part_name(0, 2))
    assert refusal(path) == (
        f"{folder} holds parts of two checkpoints: {part_name(0, 2)} and {first.name}"
    )


def rewritten(part, change):
    """Writes a part again, whose header then is as this project would write it."""
    with safe_open(part, "pt") as opened:
        metadata = opened.metadata()
    save_file(change(load_file(part)), part, metadata)


def test_parts_whose_tensors_are_others(path):
    (folder,) = path.parent.glob("*.shards")
    part = folder / part_name(1, 3)
    whole = part.read_bytes()
    for change in (
        lambda held: {key: rows.half() for key, rows in held.items()},
        lambda held: {key: rows[:-64] for key, rows in held.items()},
        lambda held: {TABLE: held[TABLE]},
    ):
        rewritten(part, change)
        assert refusal(path) == (
            f"{part} is damaged or was cut short: its tensors are not those of its header"
        )
    held = load_file(part)
    for key, change, message in (
        (TABLE, lambda rows: rows.half(), f"the others: {TABLE} is of another kind"),
        (TABLE, lambda rows: rows[:, :2], f"the others: {TABLE} is of another kind"),
        (SUM, lambda rows: rows[:64], "the others: its rows of"),
    ):
        part.write_bytes(whole)
        held = load_file(part)
        part.unlink()
        write_part(folder, 1, 3, 384, {**held, key: change(held[key])})
        assert f"does not fit {message}" in refusal(path)
    part.unlink()
    write_part(folder, 1, 3, 384, {TABLE: held[TABLE]})
    assert refusal(path) == f"{part} does not fit: {SUM} is in it or its checkpoint"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"folder": "../x.shards"}, "'../x.shards' is no name of a folder of shards beside it"),
        ({"folder": "/etc/x.shards"}, "'/etc/x.shards' is no name of a folder of shards"),
        ({"folder": "..shards"}, "'..shards' is no name of a folder of shards"),
        ({"folder": ".."}, "'..' is no name of a folder of shards"),
        ({"folder": 3}, "its folder is not of the kind str"),
        ({"rows_per_block": 32}, "its rows do not lie in blocks of 64"),
        ({"tensors": {TABLE: 0}}, "one of its tables has no possible number of rows"),
        ({"tensors": {TABLE: 2**70}}, "one of its tables has no possible number of rows"),
        ({"tensors": []}, "its tensors is not of the kind dict"),
    ],
)
def test_a_small_file_that_names_what_cannot_be(change, reason, path):
    small = read(path)
    torch.save({**small, "shards": {**small["shards"], **change}}, path)
    assert refusal(path).startswith(f"{path} is damaged: {reason}")


def test_a_small_file_that_does_not_fit_its_parts(path):
    (folder,) = path.parent.glob("*.shards")
    small = read(path)
    small["shards"]["tensors"][SUM] = 1100
    torch.save(small, path)
    assert refusal(path) == (
        f"{folder} does not fit its checkpoint: it holds 1,024 rows of {SUM} instead of 1,152"
    )
    small["shards"]["tensors"][SUM] = 1000
    small["state_dict"]["table"] = small["state_dict"]["table"].half()
    torch.save(small, path)
    assert refusal(path) == f"{path} does not fit {folder}: its {TABLE} is of another kind"
    for place in (None, torch.zeros(2)):
        small["state_dict"]["table"] = place
        torch.save(small, path)
        assert refusal(path) == f"{path} is damaged: there is no place for its {TABLE}"
    del small["state_dict"]["table"]
    torch.save(small, path)
    assert refusal(path) == f"{path} is damaged: there is no place for its {TABLE}"
    torch.save({**small, "shards": 3}, path)
    assert refusal(path) == f"{path} is damaged: it is no mapping"


def test_random_damage_to_a_part_is_one_sentence(path):
    (folder,) = path.parent.glob("*.shards")
    part, chance = folder / part_name(1, 3), random.Random(0)
    whole, want = part.read_bytes(), content_of(1000)
    for _ in range(150):
        part.write_bytes(damaged_bytes(chance, whole))
        said, found = None, want
        try:
            found = restored(read(path), path)
        except ZooError as error:
            said = str(error)
        assert equal(found, want)
        assert said is None or (str(part) in said and "\n" not in said)


def test_a_disk_that_takes_no_more_is_named(tmp_path):
    folder, limits = tmp_path / "x.shards", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            write_part(folder, 0, 1, 0, {TABLE: torch.zeros(64, 1000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.errno == errno.EFBIG
    assert caught.value.filename == str(folder / part_name(0, 1))
    assert [*folder.iterdir()] == []


def test_parts_are_as_readable_as_other_files(path, tmp_path):
    (tmp_path / "other").touch()
    (folder,) = path.parent.glob("*.shards")
    modes = {file.stat().st_mode for file in (*folder.iterdir(), tmp_path / "other", path)}
    assert len(modes) == 1


# Folders


def test_a_copy_has_parts_of_its_own(path, tmp_path):
    (folder,) = path.parent.glob("*.shards")
    target = tmp_path / "other" / "last.ckpt"
    target.parent.mkdir()
    copy_parts(read(path), path, target)
    shutil.copyfile(path, target)
    shutil.rmtree(folder)
    assert equal(restored(read(target), target), content_of(1000))


def test_a_kill_while_one_is_saved_leaves_the_one_before(tmp_path):
    line = [sys.executable, ROOT / "tests/support/parted.py", tmp_path, "25"]
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    saves, cut_short = map(int, re.findall(r"\d+", done.stdout))
    assert saves >= 10
    assert cut_short >= 10


def test_parts_that_no_checkpoint_names_are_removed(path, tmp_path):
    (folder,) = path.parent.glob("*.shards")
    remove_unnamed(tmp_path)
    assert folder.is_dir()
    later = written(path, content_of(1000))  # in place of the first
    shutil.copyfile(path, tmp_path / "last.ckpt")
    remove_unnamed(tmp_path)
    assert [*tmp_path.glob("*.shards")] == [later]
    path.unlink()
    remove_unnamed(tmp_path)
    assert later.is_dir()  # the last one names it
    (tmp_path / "last.ckpt").unlink()
    remove_unnamed(tmp_path)
    assert not later.exists()
