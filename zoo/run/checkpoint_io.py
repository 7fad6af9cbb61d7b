"""How checkpoints are written: beside their target, flushed, and moved into its place."""

from pathlib import Path
from typing import Any, BinaryIO

import torch
from lightning_fabric.plugins import TorchCheckpointIO

from zoo.data.files import atomic_file
from zoo.data.shard_content import remove_unnamed


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint whole or not at all.

    Lightning writes it into `TMPDIR` and moves it: where that is another file system, a full disk
    or a kill in the midst of that copy leaves half a file in place of the one before.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Writes a file; an address such as `s3://..` is left to Lightning."""
        if storage_options is not None or "://" in str(path):
            return super().save_checkpoint(checkpoint, path, storage_options)
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        # opened here, as torch would name the parts of the file after a path
        with atomic_file(target) as partial, open(partial, "wb") as file:
            _save(checkpoint, file)
        remove_unnamed(target.parent)  # of the checkpoint that it takes the place of

    def remove_checkpoint(self, path: str | Path) -> None:
        """Removes a file, and what lies beside it for no other one."""
        super().remove_checkpoint(path)
        if "://" not in str(path):
            remove_unnamed(Path(path).parent)


def _save(checkpoint: dict[str, Any], file: BinaryIO) -> None:
    try:
        torch.save(checkpoint, file)
    except RuntimeError as error:  # about the end of a file that a full disk kept it from writing
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise
