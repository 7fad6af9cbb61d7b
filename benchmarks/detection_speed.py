"""What `detect` costs: rows per second, whole commands, memory.

    python benchmarks/detection_speed.py

A DeepFM and an AutoInt of the demo are trained for an epoch on 200,000 generated rows (39 fields).

- rows per second: the detectors alone, of a DeepFM, black box included: Walsh regression (2,000
  scores of a row) beside networks (`--detector nid`, 6,000 scores, one permutation).
- whole command: `train.py detect` of 1,000 rows, from start to interactions.json.
- memory: of 20 rows of a black box of numbers with planted pairs among 200 and 1,000 fields, the
  largest resident size of a process of its own, beside that of a process that only imports.
"""

import argparse
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path

import black_boxes
import numpy as np
import torch
from black_boxes import Explained
from common import PROJECT, console, make_table, print_machine

from zoo.data.batch import Batch
from zoo.glider.detector import Detector
from zoo.glider.perturb import OnOff
from zoo.glider.surrogates.detector import MadexDetector
from zoo.glider.surrogates.madex import MadexConfig
from zoo.glider.walsh import walsh
from zoo.glider.walsh.detector import WalshDetector
from zoo.glider.walsh.search import WalshConfig

MODELS = ("deepfm", "autoint")
WIDE = (0, 200, 1000)  # fields; 0 for imports alone


def rows_per_second(
    kind: Callable[..., Detector], config: object, permutations: int, explained: Explained
) -> float:
    """Of the detector alone, all rows in the chunks of the command.

    Args:
        kind: The detector.
        config: Its settings.
        permutations: Number of permutations.
        explained: The model, with the rows.
    """
    count = len(explained.rows.label)
    with tempfile.TemporaryDirectory() as folder:
        given = (explained.model, explained.rows, explained.neighbours, config, Path(folder))
        detector = kind(*given, permutations)
        start = time.perf_counter()
        with torch.inference_mode():
            for first in detector.chunk_starts(1):
                detector.predict_step(torch.tensor(first))
        return count / (time.perf_counter() - start)


def whole_command(run: Path, instances: int, folder: Path) -> float:
    """Seconds of `train.py detect` of so many rows.

    Args:
        run: The run directory.
        instances: Number of rows.
        folder: Where interactions.json goes.
    """
    command = [sys.executable, str(PROJECT / "train.py"), "detect"]
    command += ["--config", str(run / "config.yaml")]
    command += ["--ckpt_path", str(run / "checkpoints" / "best.ckpt")]
    command += ["--instances", str(instances), "--trainer.enable_progress_bar", "false"]
    command += ["--output", str(folder / f"{run.parent.name}.json")]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return time.perf_counter() - start


def wide(fields: int) -> tuple[float, float, int]:
    """Largest resident size in MB, seconds a row, and how many of 20 planted pairs are found.

    Args:
        fields: Number of fields.
    """
    seconds, found = math.nan, 0
    if fields:
        random = np.random.default_rng(fields)
        planted = random.permutation(fields)[:40].reshape(20, 2)
        weights = torch.from_numpy(random.normal(size=fields)).float() / math.sqrt(fields)
        a, b = torch.from_numpy(planted.T)

        def scores(rows: Batch) -> torch.Tensor:
            z = rows.numerical
            return z @ weights + 0.4 * (z[:, a] * z[:, b]).sum(1)

        rows = [Batch(torch.ones(1, fields), torch.zeros(1, 0).int(), torch.zeros(1))] * 20
        start = time.perf_counter()
        explanations = walsh(scores, rows, OnOff(torch.zeros(fields)))
        seconds = (time.perf_counter() - start) / len(rows)
        sets = {c.features for c in explanations[0].interactions}
        found = len(sets & {tuple(sorted(pair)) for pair in planted.tolist()})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # of Linux, in KB
    return peak, seconds, found


def print_memory() -> None:
    """Of processes of their own; a process counts what its parent has held before it began."""
    columns = ("MB", "seconds a row", "pairs found of 20")
    table = make_table("20 rows, memory of the process", "fields", *columns)
    for fields in WIDE:
        with get_context("spawn").Pool(1) as pool:
            peak, seconds, found = pool.apply(wide, (fields,))
        cells = (f"{peak:,.0f}", f"{seconds:.3f}", str(found)) if fields else (f"{peak:,.0f}",)
        table.add_row(str(fields) if fields else "imports", *cells)
    console.print(table)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--instances", type=int, default=1000, help="rows of the whole commands")
    parser.add_argument("--walsh_rows", type=int, default=512, help="of the detector alone")
    parser.add_argument("--nid_rows", type=int, default=32, help="of the other detector alone")
    parser.add_argument("--rows", type=int, default=200_000, help="generated rows")
    parser.add_argument("--folder", type=Path, help="of data and runs, kept; without it, a new one")
    options = parser.parse_args()
    print_machine("torch", "numpy")
    console.print(f"{torch.get_num_threads()} threads", highlight=False)
    print_memory()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        epoch = ("--trainer.max_epochs=1",)
        runs = {m: black_boxes.demo_run(m, options.rows, 0, folder, *epoch) for m in MODELS}
        table = make_table("the detector alone, DeepFM, 39 fields", "", "rows", "rows per second")
        walsh_config, nid = WalshConfig(), MadexConfig()
        kinds = {
            "walsh": (WalshDetector, walsh_config, 0, options.walsh_rows),
            "nid": (MadexDetector, nid, 1, options.nid_rows),
        }
        for name, (kind, config, permutations, count) in kinds.items():
            explained = Explained.of(runs["deepfm"], count, 0)
            speed = rows_per_second(kind, config, permutations, explained)
            table.add_row(name, str(count), f"{speed:.3g}")
        console.print(table)
        table = make_table("whole command", "", "rows", "seconds")
        for model, run in runs.items():
            seconds = whole_command(run, options.instances, Path(temporary))
            table.add_row(model, f"{options.instances:,}", f"{seconds:.1f}")
        console.print(table)


if __name__ == "__main__":
    main()
