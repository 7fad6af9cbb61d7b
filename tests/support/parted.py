"""Checkpoints whose tables lie in parts, written without processes."""

import os
import random
import signal
import sys
from pathlib import Path

import torch

from zoo.data.files import atomic_file
from zoo.data.partition import Partition
from zoo.data.shard_content import new_folder, remove_unnamed, restored, split_off
from zoo.data.shard_part import write_part

TABLE, SUM = "state_dict/table", "optimizer_states/0/state/0/sum"


def content_of(rows, columns=3, dtype=torch.float32, step=7):
    """A checkpoint whose tensors a test knows by their numbers."""
    table = torch.arange(rows * columns).view(rows, columns).to(dtype)
    layers = {"layer": torch.ones(2), "table": table, "bias": torch.zeros(1)}
    state = {0: {"step": torch.tensor(3.0), "sum": step - table[:, 0].double()}, 1: {}}
    return {"state_dict": layers, "optimizer_states": [{"state": state}], "global_step": step}


def positions_of(whole, partition):
    """The rows of a tensor at their positions, zeros between them."""
    found = torch.zeros(partition.size, *whole.shape[1:], dtype=whole.dtype)
    found[partition.positions(torch.arange(len(whole)))] = whole
    return found


def written(path, content, parts=3):
    """Saves a checkpoint as so many processes do; the folder of the parts."""
    folder = new_folder(path, content["global_step"])
    rows = len(content["state_dict"]["table"])
    partition, small = Partition(rows, parts), {}
    for part in range(parts):
        start, stop = partition.bounds(part)
        state = dict(content["optimizer_states"][0]["state"][0])
        local = {**content, "state_dict": dict(content["state_dict"])}
        local["optimizer_states"] = [{"state": {0: state, 1: {}}}]
        for place, name in ((local["state_dict"], "table"), (state, "sum")):
            place[name] = positions_of(place[name], partition)[start:stop]
        small, tensors = split_off(local, {TABLE: rows, SUM: rows}, folder)
        write_part(folder, part, parts, start, tensors)
    with atomic_file(path) as partial:
        torch.save(small, partial)
    remove_unnamed(path.parent)
    return folder


def equal(one, other):
    """Whether two checkpoints hold the same, in the same order."""
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return [*one] == [*other] and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


def die_at(count):
    """Ends this process by SIGKILL at so many of its next operations on files."""
    left = count

    def hear(event, _):
        nonlocal left
        if event in ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.scandir"):
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hear)


def killed_saves(folder, trials):
    """Kills processes that save one checkpoint after another, and prints what was left of each.

    Run as a script: a process of tests may have threads, which do not outlive a fork.
    """
    path, before = folder / "last.ckpt", 0
    chance = random.Random(0)
    moments = [chance.randint(1, 120) for _ in range(trials)]
    written(path, content_of(2000, step=0))
    for trial, moment in enumerate(moments):
        child = os.fork()
        if not child:
            die_at(moment)
            for step in range(before, before + 1000):
                written(path, content_of(2000, step=step))
            os._exit(0)
        os.waitpid(child, 0)
        found = restored(torch.load(path, weights_only=True), path)
        assert equal(found, content_of(2000, step=found["global_step"])), trial
        assert found["global_step"] >= before, trial
        before = found["global_step"]
    named = torch.load(path, weights_only=True)["shards"]["folder"]
    left = [*folder.glob("*.shards")]
    for place in folder.rglob("*"):  # as if an hour had gone by
        os.utime(place, (0, 0))
    remove_unnamed(folder)
    assert [place.name for place in folder.glob("*.shards")] == [named]
    print(f"{before} saves, {len(left) - 1} cut short")


if __name__ == "__main__":
    killed_saves(Path(sys.argv[1]), int(sys.argv[2]))
