"""Speed of all that concerns listening sessions, on generated sessions.

    python benchmarks/sessions.py prepare --rows 1000000 --repeats 3
    python benchmarks/sessions.py load --rows 1000000

`prepare`: rows of the logs a second and peak memory of `SkipSessions.prepare_data` into an empty
folder, beside a bare scan of the same files by Arrow on one core, the ceiling of the reader. The
contestants take turns, each in a fresh process; imports are left out of the time, not of the
memory.

`load`: sessions a second that the loader assembles to batches, shuffled, on one core.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
from common import console, make_table, print_machine, spread
from prepare import peak_memory

from datamodules import SkipSessions
from datamodules.prepared.form import first_line
from datamodules.synthetic.sessions import LOGS, TRACKS, PlantedSessions

MEAN_LENGTH = 15  # rows of a generated session


def open_data(root: Path, prepared: Path, batch_size: int = 256) -> SkipSessions:
    """The datamodule of generated sessions."""
    paths = (str(root / LOGS), str(root / TRACKS))
    return SkipSessions(*paths, prepared=str(prepared), batch_size=batch_size)


def run_zoo(root: Path, folder: Path) -> float:
    """Seconds of the project's preparation."""
    data = open_data(root, folder)
    start = time.perf_counter()
    data.prepare_data()
    return time.perf_counter() - start


def run_scan(root: Path, folder: Path) -> float:
    """Seconds of reading all cells of the logs as text."""
    start = time.perf_counter()
    options = pa.csv.ReadOptions(use_threads=False)
    for file in sorted((root / LOGS).iterdir()):
        names = first_line(file).split(",")
        text = pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
        for _ in pa.csv.open_csv(file, options, convert_options=text):
            pass
    return time.perf_counter() - start


CONTESTANTS: dict[str, Callable[[Path, Path], float]] = {"zoo": run_zoo, "Arrow scan": run_scan}


def measure(contestant: str, root: Path) -> tuple[float, float]:
    """Seconds and peak memory in GB of a contestant, in a process of its own."""
    with tempfile.TemporaryDirectory(dir=root.parent) as folder:
        command = [sys.executable, __file__, "measure", "--contestant", contestant]
        command += ["--root", str(root), "--folder", str(Path(folder) / "prepared")]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return tuple(json.loads(done.stdout.splitlines()[-1]))


def generate(options: argparse.Namespace, scratch: str) -> Path:
    """The folder of the generated files, which are written unless they exist."""
    root = (options.folder or Path(scratch)) / f"sessions_{options.rows}_{options.tracks}"
    sessions = -(-options.rows // MEAN_LENGTH)
    PlantedSessions(sessions=sessions, tracks=options.tracks).write_once(root)
    return root


def prepare(options: argparse.Namespace, root: Path) -> None:
    """Prints rows/s and peak memory of the preparation."""
    files = list((root / LOGS).iterdir())
    rows = sum(file.read_bytes().count(b"\n") - 1 for file in files)
    size = sum(file.stat().st_size for file in files) / 1e9
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in CONTESTANTS}
    for _ in range(options.repeats):
        for name, runs in found.items():
            runs.append(measure(name, root))
    title = f"{rows:,} rows, {size:.2f} GB of text, {options.tracks:,} tracks"
    table = make_table(title, "", "rows/s", "min .. max", "peak GB")
    for name, runs in found.items():
        speeds = spread([rows / seconds for seconds, _ in runs])
        table.add_row(name, *speeds, f"{max(memory for _, memory in runs):.2f}")
    console.print(table)


def load(options: argparse.Namespace, root: Path) -> None:
    """Prints sessions/s of the loader."""
    table = make_table("batches of training sessions", "batch size", "sessions/s", "min .. max")
    with tempfile.TemporaryDirectory() as prepared:
        for batch_size in (64, 256, 1024):
            data = open_data(root, Path(prepared), batch_size)
            data.prepare_data()
            data.setup("fit")
            speeds = []
            for _ in range(options.repeats):
                start = time.perf_counter()
                sessions = sum(len(batch.label) for batch in data.train_dataloader())
                speeds.append(sessions / (time.perf_counter() - start))
            table.add_row(str(batch_size), *spread(speeds))
    console.print(table)


COMMANDS = {"prepare": prepare, "load": load}


def main() -> None:
    """Runs a benchmark, or one contestant of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, command in COMMANDS.items():
        one = commands.add_parser(name, help=command.__doc__)
        one.add_argument("--rows", type=int, default=1_000_000, help="of the logs, about")
        one.add_argument("--tracks", type=int, default=50_000)
        one.add_argument("--repeats", type=int, default=3)
        one.add_argument("--folder", type=Path, help="keep the files here, and use them again")
    one = commands.add_parser("measure")  # a contestant of `prepare`
    one.add_argument("--contestant", choices=CONTESTANTS)
    one.add_argument("--root", type=Path)
    one.add_argument("--folder", type=Path)
    options = parser.parse_args()
    if options.command == "measure":
        seconds = CONTESTANTS[options.contestant](options.root, options.folder)
        print(json.dumps((seconds, peak_memory())))
        return
    print_machine("numpy", "pyarrow", "torch")
    with tempfile.TemporaryDirectory() as scratch:
        COMMANDS[options.command](options, generate(options, scratch))


if __name__ == "__main__":
    main()
