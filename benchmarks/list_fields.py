"""What fields of lists cost a training step, beside categorical fields in their place.

    python benchmarks/list_fields.py --repeats 5

The rows of `train_throughput.py`, 13 numerical and 26 categorical fields. Of the two largest, one
becomes a `multi` field, the other a `sequence`, each a list of 0 to 20 values, 10 in the mean;
`attention` pools the sequence as DIN does, with a categorical field of the same vocabulary as its
candidate. Both train with Adagrad, from rows in memory, in turns; a ratio is that of the medians.
"""

import argparse
import statistics
import time

import torch
from common import console, make_schema, make_table, print_machine
from train_throughput import MODELS, make_model

from zoo.ctr.base import CTRModule
from zoo.data.batch import Batch
from zoo.data.lists import Lists
from zoo.data.schema import Field, Schema

LONGEST = 20
STEPS = 10


def schemas(ids: int) -> tuple[Schema, Schema]:
    """The fields without lists, and with them."""
    plain = make_schema(ids)
    *others, candidate, first, second = sorted(plain.categorical, key=lambda f: f.cardinality)
    second = Field(second.name, "categorical", second.cardinality)
    kept = (*plain.numerical, *others, candidate)
    genres = Field(first.name, "multi", first.cardinality)
    history = Field(second.name, "sequence", candidate.cardinality, vocabulary=candidate.name)
    alike = Field(second.name, "categorical", candidate.cardinality, vocabulary=candidate.name)
    return Schema((*kept, first, alike)), Schema((*kept, genres, history))


def batches(schema: Schema, rows: int) -> list[Batch]:
    """Random rows."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(STEPS):
        uniform = torch.rand(rows, len(schema.categorical), generator=generator)
        sizes = torch.tensor([field.cardinality for field in schema.categorical])
        ids = ((sizes + 1) ** uniform - 1).long().clamp(max=sizes - 1)
        lists = None
        if schema.lists:
            lengths = torch.randint(0, LONGEST + 1, (rows, 2), generator=generator)
            owner = torch.arange(2).repeat(rows).repeat_interleave(lengths.flatten())
            sizes = torch.tensor([field.cardinality for field in schema.lists])[owner]
            values = ((sizes + 1) ** torch.rand(len(owner), generator=generator) - 1).int()
            flat = lengths.flatten()
            lists = Lists(values, (flat.cumsum(0) - flat).view_as(lengths), lengths)
        numbers = torch.randn(rows, len(schema.numerical), generator=generator)
        label = (torch.rand(rows, generator=generator) < 0.25).float()
        found.append(Batch(numbers, ids.int(), label, lists=lists))
    return found


def seconds(model: CTRModule, rows: list[Batch]) -> float:
    """Seconds of a training step."""
    model.embedding.sparse = True
    model.metrics = torch.nn.ModuleDict()
    optimizer = torch.optim.Adagrad(model.parameters(), lr=0.01)
    for batch in rows[:3]:
        _step(model, optimizer, batch)
    start = time.perf_counter()
    for batch in rows:
        _step(model, optimizer, batch)
    return (time.perf_counter() - start) / len(rows)


def _step(model: CTRModule, optimizer: torch.optim.Optimizer, batch: Batch) -> None:
    optimizer.zero_grad()
    torch.nn.functional.binary_cross_entropy_with_logits(model(batch), batch.label).backward()
    optimizer.step()


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--batch_size", type=int, default=1024)
    parser.add_argument("--ids", type=int, default=1_000_000, help="ids of all fields together")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print_machine("torch")
    plain, listed = schemas(options.ids)
    attention = {listed.lists[1].name: "attention"}
    kinds = {
        "categorical": (plain, {}),
        "mean": (listed, {}),
        "sum": (listed, {"pooling": "sum"}),
        "attention": (listed, {"pooling": attention}),
    }
    rows = {schema: batches(schema, options.batch_size) for schema in (plain, listed)}
    title = f"batch size {options.batch_size}: samples per second, and ratio to categorical fields"
    columns = [column for kind in [*kinds][1:] for column in (kind, "ratio")]
    table = make_table(title, "", "categorical", *columns)
    for name in options.models:
        found: dict[str, list[float]] = {kind: [] for kind in kinds}
        for _ in range(options.repeats):
            for kind, (schema, pooling) in kinds.items():
                speed = options.batch_size / seconds(
                    make_model(name, schema, **pooling), rows[schema]
                )
                found[kind].append(speed)
        median = {kind: statistics.median(speeds) for kind, speeds in found.items()}
        ratios = ((median[k], median[k] / median["categorical"]) for k in [*kinds][1:])
        cells = [cell for speed, ratio in ratios for cell in (f"{speed:,.0f}", f"{ratio:.2f}")]
        table.add_row(name, f"{median['categorical']:,.0f}", *cells)
    console.print(table)


if __name__ == "__main__":
    main()
