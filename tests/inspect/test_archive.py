"""A checkpoint as an archive: damage shows, packed again it means the same, tricks are refused."""

import random
import struct
import time
import zipfile
from contextlib import suppress

import pytest
import torch
from support.inspection import changed, lightning_warnings, refusal, shown
from support.running import error_of

from zoo import ZooError
from zoo.inspect import load
from zoo.inspect.checkpoint import read
from zoo.inspect.comparison import Comparison

pytestmark = lightning_warnings


def members(path):
    """Names and contents of a zip, in its order."""
    with zipfile.ZipFile(path) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def packed(path, content, compression=zipfile.ZIP_DEFLATED):
    """Writes members as a zip program does."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in content:
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_what_a_zip_program_packed_again_is_the_same_checkpoint(compression, deepfm):
    want, whole = load(deepfm).to_dict(), torch.load(deepfm, weights_only=True)
    packed(deepfm, members(deepfm), compression)
    found = read(deepfm)["state_dict"]
    assert all(torch.equal(found[name], tensor) for name, tensor in whole["state_dict"].items())
    assert {**load(deepfm).to_dict(), "bytes": None} == {**want, "bytes": None}


def test_the_format_of_before_torch_1_6_is_read(deepfm):
    whole = torch.load(deepfm, weights_only=True)
    want = load(deepfm).to_dict()
    torch.save(whole, deepfm, _use_new_zipfile_serialization=False)
    assert {**load(deepfm).to_dict(), "bytes": None} == {**want, "bytes": None}


def test_each_flipped_bit_of_a_member_is_found(deepfm):
    whole, chance = deepfm.read_bytes(), random.Random(0)
    want = {name: tensor.clone() for name, tensor in read(deepfm)["state_dict"].items()}
    with zipfile.ZipFile(deepfm) as archive:
        held = sum(member.file_size for member in archive.infolist())
    missed = []
    for _ in range(200):
        place = chance.randrange(8 * len(whole))
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        deepfm.write_bytes(damaged)
        with suppress(ZooError):
            found = read(deepfm)["state_dict"]
            missed.append(place)
            assert all(torch.equal(found[name], tensor) for name, tensor in want.items())
    # what was read is whole: the bit lay in a header, or between members
    assert len(missed) < 200 * (1 - held / len(whole)) * 1.2


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    "change",
    [
        lambda content: [*content, content[0]],
        lambda content: [*content, ("outside", b"")],
        lambda content: [*content, ("/etc/passwd", b"")],
        lambda content: [],
    ],
)
def test_members_that_torch_would_not_write(change, deepfm):
    packed(deepfm, change(members(deepfm)), zipfile.ZIP_STORED)
    assert refusal(deepfm).startswith(f"{deepfm} is")


@pytest.mark.parametrize(
    "around",
    [
        lambda whole: whole + whole,
        lambda whole: whole + b"\0",
        lambda whole: b"PK\x03\x04" + whole,
        lambda whole: whole[:-2] + struct.pack("<H", 4) + b"more",
    ],
)
def test_an_archive_with_something_around_it(around, deepfm):
    deepfm.write_bytes(around(deepfm.read_bytes()))
    assert refusal(deepfm).startswith(f"{deepfm} is ")


def test_sizes_of_the_directory_that_no_member_has(deepfm):
    whole = bytearray(deepfm.read_bytes())
    entry = whole.rindex(b"PK\x01\x02")
    whole[entry + 20 : entry + 28] = struct.pack("<II", 2**31, 2**31)
    deepfm.write_bytes(whole)
    assert refusal(deepfm).startswith(f"{deepfm} is ")


def test_what_would_unpack_to_far_more(tmp_path):
    torch.save({"state_dict": {"w": torch.zeros(4_000_000)}}, tmp_path / "zeros.ckpt")
    path = packed(tmp_path / "zeros.ckpt", members(tmp_path / "zeros.ckpt"))
    assert "bytes would unpack to 16,0" in refusal(path)


# What is small in the file and large in memory


def test_tensors_whose_elements_share_their_memory(deepfm):
    path = changed(deepfm, lambda c: c["state_dict"].update(w=torch.zeros(1).expand(3 * 10**9)))
    started = time.monotonic()
    assert "bytes hold tensors of 12,000,0" in refusal(path)
    assert time.monotonic() - started < 5


def test_small_tensors_may_be_expanded(deepfm):
    path = changed(deepfm, lambda c: c["state_dict"].update(w=torch.zeros(1).expand(8)))
    assert load(path).parts["w"].parameters == 8


def doubling(levels):
    node = [0.5]
    for _ in range(levels):
        node = [node, node]
    return node


@pytest.mark.parametrize("place", ["hyper_parameters", "callbacks", "description", "loops"])
def test_values_that_are_shared_without_end(place, deepfm):
    path = changed(deepfm, lambda c: c.setdefault(place, {}).update(x=doubling(40)))
    assert refusal(path) == f"{path} holds more than 1,000,000 values: it is not read"


def test_a_value_that_holds_itself(deepfm):
    node = []
    node.append(node)
    path = changed(deepfm, lambda c: c["hyper_parameters"].update(x=node))
    assert "nested deeper than 64 levels" in refusal(path)


@pytest.mark.usefixtures("workplace")
def test_other_commands_read_it_first(deepfm):
    whole = bytearray(deepfm.read_bytes())
    weights = max(members(deepfm), key=lambda member: len(member[1]))[1]
    whole[whole.index(weights) + 1] ^= 1
    deepfm.write_bytes(whole)
    for command in ("fit", "validate", "test", "predict", "detect"):
        given = ["--model=DeepFM", "--data=GaussianClusters", f"--ckpt_path={deepfm}"]
        message = error_of(command, *given)
        assert message == f"error: {deepfm} is damaged: its checksums or its members do not fit"


# Options, in words


def nested(levels):
    return {"class_path": "Mine", "init_args": {"inner": levels and nested(levels - 1), "n": [1]}}


def test_nested_options_are_no_dictionaries_of_python(deepfm, copy_of):
    path = changed(deepfm, lambda c: c["hyper_parameters"].update(mine=nested(2), all=[nested(0)]))
    for found in (load(path), Comparison(load(path), load(copy_of("DeepFM", "other.ckpt")))):
        said = shown(found, width=60)
        assert "{'" not in said
        assert "mine.inner.inner.n" in said.replace("\n", "")
        assert "all[0].class_path" in said


def test_a_network_of_200_000_layers_is_read_in_seconds(deepfm):
    path = changed(deepfm, lambda c: c["hyper_parameters"].update(hidden_units=[1] * 200_000))
    started = time.monotonic()
    said = shown(load(path))
    assert time.monotonic() - started < 5
    assert "1, 1, 1, " in said
    assert len(said) < 100_000
