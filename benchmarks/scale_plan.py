"""What a training takes, on paper: memory, bytes, hours; the formulas of docs/scale.md.

    python benchmarks/scale_plan.py
    python benchmarks/scale_plan.py --ids 2e8 --processes 8 --dim 64 --rows 1e9

The defaults are a billion ids and the 4.3 billion rows of Criteo 1TB. `--distinct`, the share of a
batch's ids that differ, depends on the data; `--prepare`, the rows that one core prepares in a
second, and `--disk`, the bytes that a process writes in a second, on the machine.
"""

import argparse
from dataclasses import dataclass

from common import console, make_table

NUMBERS, FIELDS = 13, 26
FLOAT = ID = 4  # bytes
LABEL, ROW = 4, 8  # bytes that prepared arrays take of each row beside its values
EXACT = 20_000_000  # rows of a split on a process, up to which metrics keep them all
BINS = 2**21  # of logits, in which metrics count more rows
ADAGRAD = 2  # tables: that of the rows, and that of their sums


@dataclass(frozen=True)
class Plan:
    """A training on paper.

    Attributes:
        ids: Rows of the table, N.
        columns: Its columns, C = D + 1.
        processes: P.
        batch: Rows of a batch on a process, B.
        distinct: Distinct ids of a batch, U.
        dense: All other weights, W.
        rows: Rows of the data.
    """

    ids: float
    columns: int
    processes: int
    batch: int
    distinct: float
    dense: float
    rows: float

    @property
    def table(self) -> float:
        """Bytes of the table."""
        return FLOAT * self.ids * self.columns

    @property
    def memory(self) -> dict[str, float]:
        """Bytes of the table, its sums and its gradient on a process, by way."""
        wide = -(-self.columns // 4) * 4 / self.columns
        return {
            "dense": (ADAGRAD + 2) * self.table,  # its gradient, and DDP's copy
            "rows": ADAGRAD * self.table,
            "sharded": ADAGRAD * self.table / self.processes,
            "TorchRec": ADAGRAD * self.table * wide / self.processes,
        }

    @property
    def sent(self) -> dict[str, float]:
        """Bytes that a process sends in a step, by way; a ring for sums."""
        others, width = self.processes - 1, FLOAT * self.columns
        ring = 2 * others / self.processes
        weights = ring * FLOAT * self.dense
        shared = others / self.processes * self.distinct
        wide = FLOAT * -(-self.columns // 4) * 4
        return {
            "dense": weights + ring * self.table,
            "rows": weights + others * self.distinct * (width + ID),
            "sharded": weights + shared * (2 * width + ID),
            "TorchRec": weights + shared * (2 * wide + 2 * ID),
        }

    @property
    def arrays(self) -> float:
        """Bytes of the prepared arrays."""
        return self.rows * (FLOAT * NUMBERS + ID * FIELDS + LABEL + ROW)


def size(count: float) -> str:
    """Bytes in a unit that fits."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB"


def main() -> None:
    """Prints the plan."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ids", type=float, default=1e9)
    parser.add_argument("--dim", type=int, default=16, help="size of an embedding, D")
    parser.add_argument("--processes", type=int, default=32)
    parser.add_argument("--batch", type=int, default=8192, help="rows of a process")
    parser.add_argument("--distinct", type=float, default=0.45, help="share of a batch's ids")
    parser.add_argument("--weights", type=float, default=5e5, help="all other weights")
    parser.add_argument("--rows", type=float, default=4.3e9)
    parser.add_argument("--evaluated", type=float, default=0.1, help="share of the rows")
    parser.add_argument("--prepare", type=float, default=110_000, help="rows a second and core")
    parser.add_argument("--cores", type=int, default=64, help="that prepare")
    parser.add_argument("--exact", type=float, default=EXACT, help="model.exact_rows")
    parser.add_argument("--disk", type=float, default=2e8, help="bytes a second and process")
    options = parser.parse_args()
    distinct = options.distinct * options.batch * FIELDS
    plan = Plan(
        *(options.ids, options.dim + 1, options.processes, options.batch, distinct),
        *(options.weights, options.rows),
    )
    title = f"{plan.ids:,.0f} ids of {plan.columns} columns, {plan.processes} processes"
    table = make_table(f"{title}, Adagrad", "of each process", *plan.memory)
    table.add_row("memory of table and sums", *map(size, plan.memory.values()))
    table.add_row("sent in a step", *map(size, plan.sent.values()))
    console.print(table)
    kept = ADAGRAD * plan.table
    steps = plan.rows * (1 - 2 * options.evaluated) / plan.batch / plan.processes
    evaluated = plan.rows * options.evaluated
    hours = plan.rows / options.prepare / 3600
    bins = evaluated > options.exact
    # logits and labels come to all processes from all
    metrics = 2 * 8 * BINS if bins else 2 * FLOAT * evaluated
    facts = {
        "steps of an epoch": f"{steps:,.0f}",
        "checkpoint": f"{size(kept)}, {kept / plan.processes / options.disk:,.0f} s to write",
        "prepared arrays": size(plan.arrays),
        "preparation": f"{hours:,.0f} hours of a core, {hours / options.cores:,.1f} of all",
        "metrics of a split": f"{size(metrics)} a process, {'in bins' if bins else 'exact'}",
    }
    for name, fact in facts.items():
        console.print(f"{name}: {fact}", highlight=False)


if __name__ == "__main__":
    main()
