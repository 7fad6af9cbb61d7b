"""The runs that paths on a command line mean."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from zoo.data.errors import ZooError
from zoo.inspect.inspection import Inspection, load
from zoo.inspect.runs.overview import RunFacts, joined
from zoo.inspect.runs.settings import settings_of
from zoo.run.directory import run_of

BEST = "checkpoints/best.ckpt"


@dataclass(frozen=True)
class Run:
    """A checkpoint to compare.

    Attributes:
        name: Its name among the others.
        found: Its inspection.
        folder: Its run directory.
    """

    name: str
    found: Inspection
    folder: Path

    @property
    def config(self) -> Path:
        """The config of the run."""
        return self.folder / "config.yaml"


def runs_of(paths: Sequence[str]) -> tuple[list[Run], list[str]]:
    """The runs that paths mean, each once, and what is said of paths that mean none.

    Args:
        paths: Run directories, folders that hold such, or checkpoints.

    Raises:
        ZooError: where a path does not exist, or there is no run.
    """
    checkpoints, notes = dict[Path, Path](), []
    for path in map(Path, paths):
        found = [*_checkpoints(path)]
        checkpoints |= {one.resolve(): one for one in found}
        if not found:
            if not path.exists():
                raise ZooError(f"no such run: {path}")
            notes.append(f"{path} is left out: there is no {BEST} in it, nor in folders of it")
    if not checkpoints:
        raise ZooError(
            f"no run with a checkpoint in {joined([*map(str, paths)])}: name run directories, "
            "such as runs/demo/version_0"
        )
    named = zip(_names([*checkpoints]), checkpoints.values(), strict=True)
    return [Run(name, load(path), run_of(path)) for name, path in named], notes


def _checkpoints(path: Path) -> Iterator[Path]:
    """The checkpoints that a path means: itself, that of a run, or those of all runs below."""
    if path.is_file() and path.suffix == ".ckpt":
        yield path
    elif (path / BEST).is_file():
        yield path / BEST
    elif path.is_dir():
        below = [*path.glob(f"*/{BEST}"), *path.glob(f"*/*/{BEST}")]
        yield from sorted(below, key=lambda found: [*map(_natural, found.parts)])


def _natural(part: str) -> tuple[str, int]:
    """Orders version_10 behind version_9."""
    name, _, number = part.rpartition("_")
    return (name, int(number)) if number.isdecimal() else (part, -1)


def _names(checkpoints: Sequence[Path]) -> list[str]:
    """Names by what differs in the paths of the runs."""
    folders = [path.parent.parent for path in checkpoints]
    same = Path(os.path.commonpath([str(folder.parent) for folder in folders]))
    if len({*folders}) == 1:
        same = folders[0].parent.parent
    names = [folder.relative_to(same).as_posix() for folder in folders]
    return [
        name if path.name == "best.ckpt" else f"{name}/{path.stem}"
        for name, path in zip(names, checkpoints, strict=True)
    ]


def facts_of(run: Run) -> RunFacts:
    """What is known of a run without data."""
    of = run.found.run
    settings = settings_of(of.config) if of else {}
    is_best = Path(run.found.file).name == "best.ckpt"
    metrics = (of.metrics or {}) if of and is_best else {}
    size = run.found.parameters, run.found.bytes
    return RunFacts(run.name, str(run.folder), settings, metrics, *size)
