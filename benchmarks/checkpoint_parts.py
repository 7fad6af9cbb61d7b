"""CPU seconds and memory of checkpoints whose tables lie in parts, beside one file of torch.

    python benchmarks/checkpoint_parts.py --folder /scratch
    python benchmarks/checkpoint_parts.py --quick

A table [ids, 17] of float32 and what Adagrad keeps of it: written by four processes, each a part;
read by three, each its rows; put together, as `inspect` does; put together without what Adagrad
keeps, as `detect` and `zoo.load` do; made one file by `consolidate`; and, to compare, saved and
loaded as one file. Each is done by a process of its own, and the longest of several counts.

`own` is the largest memory of a process without the pages of files that are mapped, less what it
held before; `with files` with those. All numbers are compared with those written.
"""

import argparse
import os
import pickle
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from common import console, make_table, print_machine
from measured import Memory, anonymous, resident
from torch import Tensor

from zoo.data.archive import check_archive
from zoo.data.consolidated import write_consolidated
from zoo.data.files import atomic_file
from zoo.data.partition import Partition
from zoo.data.shard_content import new_folder, of_weights, opened, restored, split_off
from zoo.data.shard_part import write_part
from zoo.inspect.checkpoint import read

COLUMNS, WRITERS, READERS = 17, 4, 3
TABLE, SUM = "state_dict/table", "optimizer_states/0/state/0/sum"
Measured = tuple[float, float, float]  # CPU seconds, bytes of its own, with files


def rows_at(partition: Partition, start: int, stop: int) -> Tensor:
    """The rows at positions: the id and the column of each number, as far as float32 goes."""
    ids = partition.ids(torch.arange(start, stop)).float()
    return ids.unsqueeze(1) + torch.arange(COLUMNS)


def content_of(table: Tensor) -> dict:
    """A checkpoint of a table and what Adagrad keeps of it."""
    state = {0: {"step": torch.tensor(1.0), "sum": -table}}
    return {"state_dict": {"table": table}, "optimizer_states": [{"state": state}]}


def in_a_process(work: Callable[[], Callable[[], None]]) -> Measured:
    """What the second part of some work takes in a process of its own; it must do it right."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        measured = work()
        before = anonymous(), resident()
        began = time.process_time()
        with Memory() as memory:
            measured()
        seconds = time.process_time() - began
        found = seconds, memory.anonymous - before[0], memory.resident - before[1]
        os.write(writing, pickle.dumps(found))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    os.close(writing)
    if status:
        raise SystemExit("a process failed")
    with open(reading, "rb") as file:
        return pickle.loads(file.read())


class Work:
    """What is measured, on checkpoints of a folder."""

    def __init__(self, folder: Path, ids: int) -> None:
        self.ids = ids
        self.parted, self.plain = folder / "parted.ckpt", folder / "plain.ckpt"
        self.parts = new_folder(self.parted, 1)

    def write(self, part: int) -> Callable[[], None]:
        """One process writes its part; the last one the small file too."""
        partition = Partition(self.ids, WRITERS)
        start, stop = partition.bounds(part)
        content = content_of(rows_at(partition, start, stop))
        small, tensors = split_off(content, dict.fromkeys((TABLE, SUM), self.ids), self.parts)

        def measured() -> None:
            write_part(self.parts, part, WRITERS, start, tensors)
            torch.save(small, self.parted)

        return measured

    def read(self, part: int) -> Callable[[], None]:
        """One process reads its rows."""

        def measured() -> None:
            shards = opened(read(self.parted), self.parted)
            partition = Partition(self.ids, READERS)
            start, stop = partition.bounds(part)
            for key, sign in ((TABLE, 1), (SUM, -1)):
                found = shards.rows(key, start, stop)
                expected = rows_at(partition, start, min(start + 1000, stop))
                assert torch.equal(found[:1000], sign * expected)

        return measured

    def assemble(self, path: Path, wanted: Callable[[str], bool]) -> None:
        """One process puts the tables together."""
        found = restored(read(path), path, wanted)["state_dict"]["table"]
        for start in range(0, self.ids, 1_000_000):  # every millionth row, and some after it
            expected = torch.arange(start, min(start + 9, self.ids)).float()
            assert torch.equal(found[start : start + 9, 0], expected)
            assert torch.equal(found[start : start + 9, -1], expected + COLUMNS - 1)

    def save(self) -> Callable[[], None]:
        """One process saves a whole table."""
        content = content_of(torch.arange(self.ids).float().unsqueeze(1) + torch.arange(COLUMNS))

        def measured() -> None:
            with atomic_file(self.plain) as partial:
                torch.save(content, partial)

        return measured

    def load(self) -> None:
        """One process loads a whole table."""
        check_archive(self.plain)
        found = torch.load(self.plain, weights_only=True)["state_dict"]["table"]
        assert len(found) == self.ids

    def consolidate(self) -> None:
        """One process makes one file of the parts."""
        write_consolidated(read(self.parted), self.parted, self.plain)


def most(found: list[Measured]) -> Measured:
    """The largest of each."""
    seconds, own, files = zip(*found, strict=True)
    return max(seconds), max(own), max(files)


def report(folder: Path, ids: int) -> None:
    """Prints the table."""
    work, size = Work(folder, ids), 4 * ids * COLUMNS
    title = f"{ids:,} ids, D = {COLUMNS - 1} + 1: the table takes {size / 1e9:.2f} GB"
    table = make_table(title, "", "own, GB", "with files, GB", "CPU seconds")

    def add(name: str, *found: Measured) -> None:
        seconds, own, files = most([*found])
        table.add_row(name, f"{own / 1e9:.2f}", f"{files / 1e9:.2f}", f"{seconds:.1f}")

    written = [in_a_process(lambda part=part: work.write(part)) for part in range(WRITERS)]
    add(f"a part of {WRITERS} written", *written)
    parts = [in_a_process(lambda part=part: work.read(part)) for part in range(READERS)]
    add(f"the rows of one of {READERS} read", *parts)
    for name, wanted in (("all put together", lambda key: True), ("weights alone", of_weights)):
        add(name, in_a_process(lambda w=wanted: lambda: work.assemble(work.parted, w)))
    add("consolidated", in_a_process(lambda: work.consolidate))
    work.assemble(work.plain, of_weights)
    shutil.rmtree(work.parts)
    work.plain.unlink()
    add("one file, saved", in_a_process(work.save))
    add("one file, loaded", in_a_process(lambda: work.load))
    console.print(table)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ids", type=int, default=10_000_000)
    parser.add_argument("--quick", action="store_true", help="1e6 ids")
    parser.add_argument("--folder", type=Path, help="where the checkpoints go; they are removed")
    options = parser.parse_args()
    print_machine("torch", "safetensors")
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp(prefix="parts ", dir=options.folder))
    try:
        report(folder, 1_000_000 if options.quick else options.ids)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
