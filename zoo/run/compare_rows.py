"""What `train.py compare` does with rows: scores runs, and compares those of the same rows."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text
from torch import Tensor

from zoo.data.errors import ZooError
from zoo.data.module import ZooDataModule
from zoo.inspect.runs.compared import SameRows, same_rows
from zoo.inspect.runs.overview import RunFacts, joined
from zoo.inspect.runs.rows import Rows
from zoo.inspect.runs.settings import same_configs
from zoo.run.found_runs import Run
from zoo.run.inspect import data_of
from zoo.run.run_scores import scored


def compared(
    runs: Sequence[Run], facts: Sequence[RunFacts], of_data: Sequence[str], options: Any
) -> tuple[tuple[SameRows, ...], str, list[str]]:
    """Scores runs, and compares those that were scored on the same rows.

    Args:
        runs: The runs.
        facts: What is known of each without data.
        of_data: Options `--data.*` of the command line.
        options: The other options.

    Returns:
        A comparison for each kind of rows, the name of the split, and notes.

    Raises:
        ZooError: names a run that cannot be scored.
    """
    data = [_data(run, of_data) for run in runs]
    split = options.split or ("test" if all(of.offers("test") for of in data) else "val")
    of_rows: dict[str, Rows] = {}
    logits: dict[str, dict[int, Tensor]] = {}
    console = Console(stderr=True, highlight=False)
    for i, run in enumerate(runs):
        told = Text(f"{run.name}: {split} rows, {i + 1} of {len(runs)}")
        console.print(told, soft_wrap=True)
        rows, mine = _scored(run, data[i], split, options.fresh)
        digest = rows.digest
        of_rows.setdefault(digest, rows)  # one copy of them for all runs
        logits.setdefault(digest, {})[i] = mine
    metric = options.metric or _monitored(facts)
    parts = tuple(
        same_rows(
            of_rows[digest],
            {runs[i].name: of for i, of in mine.items()},
            same_configs([facts[i].settings for i in mine]),
            metric,
            options.level,
            options.draws,
        )
        for digest, mine in logits.items()
    )
    measured = {name: None for part in parts for name in part.measured}
    if options.metric is not None and options.metric not in measured:
        raise ZooError(
            f"--metric: there is no {options.metric} of these rows; there are {', '.join(measured)}"
        )
    return parts, split, [*_notes(parts, split)]


def _data(run: Run, of_data: Sequence[str]) -> ZooDataModule:
    if not run.config.is_file():
        raise ZooError(f"{run.folder} has no config.yaml, which names its data: use --split none")
    return data_of(run.config, Path(run.found.file), of_data)


def _scored(run: Run, data: ZooDataModule, split: str, fresh: bool) -> tuple[Rows, Tensor]:
    if split == "predict" and not data.predict_path:
        raise ZooError("--split predict scores a file: give --data.predict_path FILE")
    try:
        return scored(run.found, run.folder, data, split, fresh)
    except ZooError as error:
        raise ZooError(f"{run.name} cannot be scored: {error}") from error


def _monitored(facts: Sequence[RunFacts]) -> str | None:
    """The metric that all runs monitor."""
    found = {str(of.settings.get("monitor")).partition("/")[2] for of in facts}
    return found.pop() if len(found) == 1 else None


def _notes(parts: Sequence[SameRows], split: str) -> Iterator[str]:
    if split == "val":
        yield (
            "the val rows have chosen best.ckpt of each run, which flatters it there; rows of "
            "--split test, or of another file (--split predict), do not"
        )
    if len(parts) > 1:
        told = "; ".join(f"{joined([*part.names])} on {_size(part)}" for part in parts)
        yield (
            f"not all runs were scored on the same rows, and no test pairs other rows: {told}; "
            "give all the same data (--data.path FILE), or the rows of a file (--split predict "
            "--data.predict_path FILE)"
        )


def _size(part: SameRows) -> str:
    return f"{part.rows:,} rows" + (
        "" if part.unit == "row" else f" in {part.units:,} {part.unit}s"
    )
