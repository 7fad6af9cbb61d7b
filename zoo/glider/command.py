"""What `train.py detect` does: rows in, interactions.json, a table and a page out."""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
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
from zoo.data.files import write_text
from zoo.data.interactions import write_interactions
from zoo.data.module import ZooDataModule
from zoo.data.plain import read_json
from zoo.data.schema import Schema
from zoo.data.shard_content import of_weights, restored
from zoo.glider.detector import Detector, check_instances, rows_at, sample_positions
from zoo.glider.perturb import OnOff, features_of
from zoo.glider.shown import report
from zoo.glider.stability import common, summarise_checkpoints
from zoo.glider.surrogates.counts import summarise
from zoo.glider.surrogates.detector import MadexDetector, read_results
from zoo.glider.surrogates.madex import MadexConfig
from zoo.glider.walsh import SharedMasks
from zoo.glider.walsh.detector import WalshDetector, WalshRows
from zoo.glider.walsh.search import WalshConfig
from zoo.glider.walsh.summary import summarise_effects


@dataclass(frozen=True)
class Detection:
    """A detection over validation rows; see `ZooTrainer.detect` for the options.

    Attributes:
        page: Makes the page that is written beside the file of the interactions, from that file
            and the schema; None writes no page.
    """

    output: Path
    settings: MadexConfig | WalshConfig
    sampler: str = "bernoulli"
    instances: int = 1000
    permutations: int = 1
    top_k: int | None = None
    seed: int = 0
    contexts: bool = False
    also: tuple[Path, ...] = ()
    page: Callable[[Path, Schema], str] | None = None

    def __post_init__(self) -> None:
        if self.also and not isinstance(self.settings, WalshConfig):
            raise ZooError("also: several checkpoints are compared by the detector walsh alone")
        if not self.output.name or self.output.suffix == ".html" or self.output.is_dir():
            raise ZooError(
                f"output: {self.output} must name a file such as interactions.json; a page "
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
        checkpoints = (checkpoint, *self.also)
        for path in self.also:  # a mistake is refused before anything is explained
            try:
                load_weights(model, path, datamodule)
            except ZooError as error:
                raise ZooError(f"also: {path}: {error}") from error
        lists = instances.lists or ()
        data = [instances.numerical, instances.categorical, *lists, means]
        switches = OnOff.of(schema, means, self.sampler)
        device, processes = trainer.strategy.root_device, trainer.world_size
        detector, chunk = None, None
        for path, folder in zip(checkpoints, self._folders, strict=True):
            load_weights(model, path, datamodule)
            detector = self._detector(folder, model.eval(), instances, switches)
            if chunk is None:
                chunk = self._begin(checkpoints, data, detector.chunk_on(device, processes))
            detector.chunk = chunk
            folder.mkdir(exist_ok=True)
            starts = cast(Dataset[int], detector.chunk_starts(processes))
            chunks = DataLoader(starts, batch_size=None)
            # Lightning's own, whatever a subclass of Trainer takes
            Trainer.predict(trainer, detector, dataloaders=chunks, return_predictions=False)
            trainer.strategy.barrier("all explained")
        if trainer.is_global_zero and detector is not None:
            found = self._found(detector, names, positions)
            self._finish(type(model).__name__, schema, checkpoint, *found)

    def _detector(
        self, folder: Path, model: LightningModule, instances: Batch, switches: OnOff
    ) -> Detector:
        """What explains the rows of a model into a folder."""
        kind = WalshDetector if isinstance(self.settings, WalshConfig) else MadexDetector
        options = self.settings, folder, self.permutations, self.seed
        detector = kind(model, instances, switches, *options)
        if isinstance(detector, WalshDetector):
            detector.contexts = self.contexts
        return detector

    @property
    def _folders(self) -> list[Path]:
        """Where the results of each checkpoint lie."""
        return [self.folder, *(self.folder / f"also_{i}" for i, _ in enumerate(self.also, 1))]

    def _positions(self, datamodule: ZooDataModule, fields: int) -> np.ndarray:
        """The numbers of the rows to explain, drawn from the validation rows."""
        if not isinstance(next(iter(datamodule.val_dataloader()), None), Batch):
            raise ZooError("detect explains models of rows, not of sessions")
        rows = datamodule.size("val").rows
        check_instances(self.instances, rows, fields)
        return sample_positions(rows, self.instances, self.seed)

    def _begin(self, checkpoints: Sequence[Path], data: Sequence[Tensor], chunk: int) -> int:
        """Makes the folder of the results, or checks that those in it are of this detection.

        Args:
            checkpoints: The checkpoints.
            data: The rows to explain and what their fields are where they are off.
            chunk: Number of rows that are explained at once, here.

        Returns:
            The same, or the number of the unfinished detection, whose files hold so many.
        """
        digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in checkpoints]
        for i, digest in enumerate(digests):
            if digest in digests[:i]:
                first = checkpoints[digests.index(digest)]
                raise ZooError(f"also: {checkpoints[i]} is the same checkpoint as {first}")
        content = hashlib.sha256(b"".join(part.cpu().numpy().tobytes() for part in data))
        plain = asdict(self) | {"checkpoint": digests[0], "data": content.hexdigest()}
        plain["also"] = digests[1:]
        for option in ("output", "top_k", "page"):  # which change no result
            del plain[option]
        mine = json.loads(json.dumps(plain, default=str))
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / "options"
        begun = read_json(file) if file.exists() else mine
        found = begun.pop("chunk", chunk) if isinstance(begun, dict) else None
        if begun != mine or type(found) is not int or found < 1:
            raise ZooError(
                f"{self.folder} holds an unfinished detection of another model, of other data or "
                "with other options: repeat that command to finish it, remove the folder, or give "
                "another --output"
            )
        write_text(file, json.dumps(mine | {"chunk": found}))
        return found

    def _found(
        self, detector: Detector, names: list[str], positions: np.ndarray
    ) -> tuple[dict[str, Any] | None, int]:
        """What was found in all rows, None where there are none, and how many were left out."""
        if isinstance(detector, WalshDetector):
            return self._measured(detector.masks, names, positions.tolist())
        results, left_out = read_results(self.folder)
        self._check_all(left_out + len(results))
        order = 2 if self.settings.detector == "gradient_nid" else self.settings.max_order
        found = summarise(results, names, order, self.top_k) if results else None
        return found, left_out

    def _measured(
        self, masks: SharedMasks, names: list[str], positions: list[int]
    ) -> tuple[dict[str, Any] | None, int]:
        """The same by Walsh regression, of one checkpoint or of several."""
        found = list[WalshRows]()
        for folder in self._folders:
            rows, left_out = WalshRows.read(folder)
            self._check_all(left_out + (0 if rows is None else len(rows.instance)))
            found += [] if rows is None else [rows]
        kept = common(found) if len(found) == len(self._folders) else []
        if not kept or not len(kept[0].instance):
            return None, self.instances
        left_out = self.instances - len(kept[0].instance)
        if len(kept) > 1:
            return summarise_checkpoints(kept, masks, names, positions, self.top_k), left_out
        return summarise_effects(kept[0], masks, names, positions, self.top_k), left_out

    def _check_all(self, explained: int) -> None:
        if explained < self.instances:
            raise ZooError(
                f"{explained} of {self.instances} rows have been explained: trainer options must "
                "not limit the batches"
            )

    def _finish(
        self,
        model: str,
        schema: Schema,
        checkpoint: Path,
        found: dict[str, Any] | None,
        left_out: int,
    ) -> None:
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
        if self.also:
            found["checkpoints"] = [str(path) for path in (checkpoint, *self.also)]
        write_interactions(self.output, found)
        written = [self.output]
        if self.page is not None:
            written.append(self.output.with_suffix(".html"))
            write_text(written[1], self.page(self.output, schema))
        shutil.rmtree(self.folder)
        report(found)
        console = Console(highlight=False)
        if left_out:
            console.print(f"{left_out:,} rows left out: NaN or infinite scores around them")
        for file in written:
            console.print(str(file), soft_wrap=True)


def load_weights(model: LightningModule, checkpoint: Path, data: ZooDataModule) -> None:
    """Gives a model the weights of a checkpoint of it, which must suit the ids of the data."""
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    content = restored(content, checkpoint, of_weights)
    model.on_load_checkpoint(content)
    check_encoder(content.get("data"), data.checksums())
    model.load_state_dict(content["state_dict"])
