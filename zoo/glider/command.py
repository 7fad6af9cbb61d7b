"""What `train.py detect` does: rows in, interactions.json, a table and a picture out."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from pytorch_lightning import LightningModule, Trainer
from rich.console import Console
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from zoo.data.batch import Batch
from zoo.data.encoder import check_encoder
from zoo.data.errors import ZooError
from zoo.data.files import atomic_file, write_text
from zoo.data.interactions import write_interactions
from zoo.data.module import ZooDataModule
from zoo.glider.detector import Detector, check_instances, rows_at, sample_positions
from zoo.glider.madex import MadexConfig
from zoo.glider.madex_detector import MadexDetector, read_results
from zoo.glider.perturb import OnOff, features_of
from zoo.glider.shown import picture, report
from zoo.glider.statistics import summarise
from zoo.glider.walsh_detector import WalshDetector, WalshRows
from zoo.glider.walsh_search import WalshConfig
from zoo.glider.walsh_summary import summarise_effects


@dataclass(frozen=True)
class Detection:
    """A detection over validation rows; see `ZooTrainer.detect` for the options."""

    output: Path
    settings: MadexConfig | WalshConfig
    sampler: str = "bernoulli"
    instances: int = 1000
    permutations: int = 1
    top_k: int | None = None
    seed: int = 0
    contexts: bool = False

    def __post_init__(self) -> None:
        if not self.output.name or self.output.suffix == ".html" or self.output.is_dir():
            raise ZooError(
                f"output: {self.output} must name a file such as interactions.json; a picture "
                "with the suffix .html is written beside it"
            )
        for option, least in {"permutations": 0, "seed": 0, "top_k": 1}.items():
            value = getattr(self, option)
            if value is not None and value < least:
                raise ZooError(f"{option} must be at least {least}, got {value}")

    @property
    def folder(self) -> Path:
        """Where the results lie until all are there."""
        return self.output.with_name(f".{self.output.name}.partial")

    def run(
        self,
        trainer: Trainer,
        model: LightningModule,
        datamodule: ZooDataModule,
        checkpoint: Path,
    ) -> None:
        """Explains the rows on all processes of the trainer, and reports on the first."""
        datamodule.prepare_data()
        datamodule.setup("fit")
        datamodule.setup("validate")
        schema = datamodule.schema
        names = features_of(schema)
        positions = self._positions(datamodule, len(names))
        instances = rows_at(datamodule.val_dataloader(), positions)
        means = torch.from_numpy(datamodule.numerical_means())
        load_weights(model, checkpoint, datamodule)
        lists = instances.lists or ()
        kind = WalshDetector if isinstance(self.settings, WalshConfig) else MadexDetector
        detector = kind(
            model.eval(),
            instances,
            OnOff.of(schema, means, self.sampler),
            self.settings,
            self.folder,
            self.permutations,
            self.seed,
        )
        if isinstance(detector, WalshDetector):
            detector.contexts = self.contexts
        device, processes = trainer.strategy.root_device, trainer.world_size
        data = [instances.numerical, instances.categorical, *lists, means]
        detector.chunk = self._begin(checkpoint, data, detector.chunk_on(device, processes))
        chunks = DataLoader(cast(Dataset[int], detector.chunk_starts(processes)), batch_size=None)
        # Lightning's own, whatever a subclass of Trainer takes
        Trainer.predict(trainer, detector, dataloaders=chunks, return_predictions=False)
        trainer.strategy.barrier("all explained")
        if trainer.is_global_zero:
            self._finish(type(model).__name__, *self._found(detector, names, positions))

    def _positions(self, datamodule: ZooDataModule, fields: int) -> np.ndarray:
        """The numbers of the rows to explain, drawn from the validation rows."""
        if not isinstance(next(iter(datamodule.val_dataloader()), None), Batch):
            raise ZooError("detect explains models of rows, not of sessions")
        rows = datamodule.size("val").rows
        check_instances(self.instances, rows, fields)
        return sample_positions(rows, self.instances, self.seed)

    def _begin(self, checkpoint: Path, data: Sequence[Tensor], chunk: int) -> int:
        """Makes the folder of the results, or checks that those in it are of this detection.

        Args:
            checkpoint: The checkpoint.
            data: The rows to explain and what their fields are where they are off.
            chunk: Number of rows that are explained at once, here.

        Returns:
            The same, or the number of the unfinished detection, whose files hold so many.
        """
        digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
        content = hashlib.sha256(b"".join(part.cpu().numpy().tobytes() for part in data))
        plain = asdict(self) | {"checkpoint": digest, "data": content.hexdigest()}
        del plain["output"], plain["top_k"]  # which change no result
        mine = json.loads(json.dumps(plain, default=str))
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "options"
        begun = json.loads(file.read_text()) if file.exists() else mine
        chunk = begun.pop("chunk", chunk)
        if begun != mine:
            raise ZooError(
                f"{self.folder} holds an unfinished detection of another model, of other data or "
                "with other options: repeat that command to finish it, remove the folder, or give "
                "another --output"
            )
        write_text(file, json.dumps(mine | {"chunk": chunk}))
        return chunk

    def _found(
        self, detector: Detector, names: list[str], positions: np.ndarray
    ) -> tuple[dict[str, Any] | None, int]:
        """What was found in all rows, None where there are none, and how many were left out."""
        if isinstance(detector, WalshDetector):
            rows, left_out = WalshRows.read(self.folder)
            self._check_all(left_out + (0 if rows is None else len(rows.instance)))
            if rows is None:
                return None, left_out
            masks = detector.masks
            return summarise_effects(rows, masks, names, positions.tolist(), self.top_k), left_out
        results, left_out = read_results(self.folder)
        self._check_all(left_out + len(results))
        order = 2 if self.settings.detector == "gradient_nid" else self.settings.max_order
        found = summarise(results, names, order, self.top_k) if results else None
        return found, left_out

    def _check_all(self, explained: int) -> None:
        if explained < self.instances:
            raise ZooError(
                f"{explained} of {self.instances} rows have been explained: trainer options must "
                "not limit the batches"
            )

    def _finish(self, model: str, found: dict[str, Any] | None, left_out: int) -> None:
        if found is None:
            shutil.rmtree(self.folder)
            raise ZooError(
                f"the model gives NaN or infinite scores around each of the {left_out:,} rows: "
                "are there NaN in its weights, in the rows, or in the means of the data?"
            )
        found = {
            "model": model,
            "detector": self.settings.detector,
            "sampler": self.sampler,
            "seed": self.seed,
            "left_out": left_out,
            **found,
        }
        write_interactions(self.output, found)
        with atomic_file(self.output.with_suffix(".html")) as partial:
            picture(found).write_html(partial, include_plotlyjs=True)
        shutil.rmtree(self.folder)
        report(found)
        console = Console(highlight=False)
        if left_out:
            console.print(f"{left_out:,} rows left out: NaN or infinite scores around them")
        for file in (self.output, self.output.with_suffix(".html")):
            console.print(str(file), soft_wrap=True)


def load_weights(model: LightningModule, checkpoint: Path, data: ZooDataModule) -> None:
    """Gives a model the weights of a checkpoint of it, which must suit the ids of the data."""
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    model.on_load_checkpoint(content)
    check_encoder(content.get("data"), data.checksums())
    model.load_state_dict(content["state_dict"])
