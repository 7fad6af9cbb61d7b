"""The run directory: what `fit` and `predict` write, and where.

runs/<name>/version_<n>/config.yaml          repeats the run
                        encoder/             scores new raw files
                        checkpoints/         best.ckpt last.ckpt
                        metrics.csv          every epoch; TensorBoard events beside it
                        metrics.json         the best checkpoint, when the fit has ended
                        report.html          what `inspect` says of it, where that is asked for
                        predictions/         what `predict` wrote
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pytorch_lightning.utilities import rank_zero_only

from zoo.data.errors import ZooError
from zoo.data.files import remove_leftovers, remove_old_folders
from zoo.data.shard_content import remove_unnamed

VERSION_VARIABLE = "INTERPRETABLE_ZOO_RUN"  # tells the processes that Lightning starts


def new_run_directory(root: Path, name: str) -> Path:
    """Makes the next `version_<n>` below `root/name`; all processes of a run get the same."""
    folder = root / name
    if rank_of_process() != 0:
        # only rank 0 writes; a launcher that starts all ranks at once leaves this unset
        return Path(os.environ.get(VERSION_VARIABLE, folder / "version_of_rank_0"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for killed in folder.glob("version_*"):
            for place in (killed, killed / "checkpoints"):
                remove_leftovers(place)
                remove_old_folders(place)
            remove_unnamed(killed / "checkpoints")
        taken = [int(p.name[8:]) for p in folder.glob("version_*") if p.name[8:].isdecimal()]
        version = max(taken, default=-1) + 1
        while True:
            try:
                (folder / f"version_{version}").mkdir()
                break
            except FileExistsError:  # another run was quicker
                version += 1
    except OSError as error:
        raise ZooError(f"cannot make a run directory in {folder}: {error.strerror}") from error
    os.environ[VERSION_VARIABLE] = str(folder / f"version_{version}")
    return folder / f"version_{version}"


def check_name(name: str, option: str = "name") -> None:
    """Raises `ZooError` unless a name, such as that of an experiment, is one of a folder."""
    if name in ("", ".", "..") or not name.isprintable() or {*name} & {"/", "\\"}:
        raise ZooError(
            f"{option}: {name!r} is no name of a folder: leave out slashes and '..'; --runs says "
            "in which folder the runs lie"
        )


def rank_of_process() -> int:
    """The rank of this process among all, which is known before a trainer is there."""
    return getattr(rank_zero_only, "rank", 0)


def run_of(checkpoint: Path) -> Path:
    """The run directory of `<run>/checkpoints/best.ckpt`."""
    return checkpoint.resolve().parent.parent


def best_of(configs: Iterable[str]) -> Path | None:
    """The best checkpoint of the last run among whose `config.yaml` these are; None without one."""
    best = [Path(config).parent / "checkpoints" / "best.ckpt" for config in configs]
    return next((path for path in reversed(best) if path.is_file()), None)


def checkpoint_of(run: str | Path) -> Path:
    """The checkpoint that a run directory, or the path of a checkpoint, means.

    Raises:
        ZooError: where there is none.
    """
    path = Path(run)
    if not path.is_dir():
        return path  # which `read` refuses, if it is none
    best = path / "checkpoints" / "best.ckpt"
    if not best.is_file():
        raise ZooError(f"{path} is no run directory with a checkpoint: there is no {best}")
    return best


def use_encoder(data: Any, checkpoint: Path) -> None:
    """Gives a datamodule's options the encoder of a checkpoint's run, if they have none."""
    options = data.get("init_args", {})  # none where the class takes no arguments
    encoder = run_of(checkpoint) / "encoder"
    if options.get("encoder", "") is None and encoder.is_dir():
        options.encoder = str(encoder)
