"""An edited checkpoint: a file, or a run directory of its own."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from zoo.data.errors import ZooError
from zoo.data.files import atomic_folder, write_text
from zoo.inspect.checkpoint import read
from zoo.models.base import ZooModule
from zoo.run.checkpoint_io import AtomicCheckpointIO
from zoo.run.directory import run_of

SUFFIX = ".ckpt"
# what a checkpoint keeps that is not of a training, which does not go on from an edited model
KEPT = (
    "epoch",
    "global_step",
    "pytorch-lightning_version",
    "hparams_name",
    "hparams_type",
    "model_class",
    "data",
    "versions",
    "negative_sampling_rate",
)


def check_output(output: Path, checkpoint: Path) -> None:
    """Refuses a place where an edited checkpoint cannot be written.

    Args:
        output: A file that ends in .ckpt, or a folder that does not exist.
        checkpoint: The checkpoint that is edited.

    Raises:
        ZooError: where it is none, or is what `metrics.json` of a run describes.
    """
    if output.suffix != SUFFIX:
        if output.exists():
            raise ZooError(
                f"--output: {output} exists: name a folder that does not, or a file that ends in "
                f"{SUFFIX}"
            )
        for needed in ("config.yaml", "encoder"):
            if not (run_of(checkpoint) / needed).exists():
                raise ZooError(
                    f"--output: {checkpoint} lies in no run directory, of which a folder would be "
                    f"a copy: name a file that ends in {SUFFIX}"
                )
        return
    if output.is_dir():
        raise ZooError(f"--output: {output} is a folder: name a file")
    if not output.absolute().parent.is_dir():
        raise ZooError(f"--output: there is no folder {output.absolute().parent}")
    run = run_of(output)
    if output.name == "best.ckpt" and (run / "metrics.json").is_file():
        raise ZooError(
            f"--output: {output} is the checkpoint that {run / 'metrics.json'} describes: name "
            f"another file, such as {output.with_name('edited.ckpt')}"
        )


def write(
    model: ZooModule, checkpoint: Path, output: Path, metrics: Mapping[str, float | None]
) -> None:
    """Writes an edited model, whole or not at all.

    Args:
        model: The model.
        checkpoint: The checkpoint that it was loaded from.
        output: As `check_output` takes it. A folder becomes a run directory: with the checkpoint as
            best.ckpt, its metrics, and config and encoder of the run that it comes from.
        metrics: Metrics that were measured of it, by name, such as `val/auc`.
    """
    known = {name: value for name, value in metrics.items() if value is not None}
    content = _content(model, read(checkpoint), known)
    if output.suffix == SUFFIX:
        AtomicCheckpointIO().save_checkpoint(content, output)
        return
    run = run_of(checkpoint)
    with atomic_folder(output) as folder:
        (folder / "checkpoints").mkdir(parents=True)
        shutil.copytree(run / "encoder", folder / "encoder")
        shutil.copyfile(run / "config.yaml", folder / "config.yaml")
        if known:
            write_text(folder / "metrics.json", json.dumps(known, indent=1))
        AtomicCheckpointIO().save_checkpoint(content, folder / "checkpoints" / "best.ckpt")


def _content(
    model: ZooModule, content: Mapping[str, Any], metrics: Mapping[str, float]
) -> dict[str, Any]:
    kept = {name: content[name] for name in KEPT if name in content}
    options = content.get("hyper_parameters") or {}
    return {
        **kept,
        "state_dict": {name: tensor.contiguous() for name, tensor in model.state_dict().items()},
        "hyper_parameters": {**options, **model.hparams},
        "description": model.description.to_dict(),
        "metrics": dict(metrics),
    }
