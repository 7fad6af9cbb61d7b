"""Who is timed by `gpu.py`; each gives the seconds of epochs over rows on the device."""

import contextlib
import io
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from gpu_limit import now
from gpu_rows import ResidentRows, first_rows
from peers import deepctr_model, deepctr_rows, deepctr_torch, fuxictr_loader, fuxictr_model
from plain import trainer_of
from pytorch_lightning import Callback, LightningModule, Trainer
from train_throughput import SHARED, make_model

from zoo.data.batch import Batch
from zoo.data.schema import Schema
from zoo.nn import captured
from zoo.nn.device import as_on_gpu


class Stamps(Callback):
    """Seconds of each epoch, with what is done at its end, such as its metrics."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """An epoch begins."""
        self.times.append(now(pl_module.device))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The last one has ended."""
        self.times.append(now(pl_module.device))

    @property
    def seconds(self) -> list[float]:
        """Of each epoch."""
        return [b - a for a, b in pairwise(self.times)]


class PeerStamps(deepctr_torch("callbacks").Callback):
    """Seconds of each epoch of deepctr-torch."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Starts."""
        self.start = now(torch.device(self.model.device))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Stops."""
        self.seconds.append(now(torch.device(self.model.device)) - self.start)


def fit_seconds(
    model: LightningModule, loader: Iterable, device: torch.device, precision: str, epochs: int
) -> list[float]:
    """Seconds of the epochs of a fit."""
    stamps = Stamps()
    trainer = Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1,
        precision="bf16-mixed" if precision == "bf16" else "32-true",
        max_epochs=epochs,
        callbacks=[stamps],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, loader)
    return stamps.seconds


def ours(
    name: str, schema: Schema, rows: Batch, size: int, precision: str, repeats: int, **options: Any
) -> list[float]:
    """Ours, through `Trainer.fit`; the first epoch warms up."""
    model = make_model(name, schema, **options)
    loader = ResidentRows(rows, size)
    return fit_seconds(model, loader, rows.label.device, precision, repeats + 1)[1:]


def plain(
    name: str, schema: Schema, rows: Batch, size: int, precision: str, repeats: int, **options: Any
) -> list[float]:
    """The plain loop."""
    epoch = trainer_of(name, schema, rows, size, half=precision == "bf16", **options)
    return timed(epoch, rows.label.device, repeats)


def timed(epoch: Callable[[], object], device: torch.device, repeats: int) -> list[float]:
    """Seconds of each call but the first, which warms up."""
    times = [now(device)]
    for _ in range(repeats + 1):
        epoch()
        times.append(now(device))
    return [b - a for a, b in pairwise(times)][1:]


def _on_host(rows: Batch) -> SimpleNamespace:
    parts = {"numerical": rows.numerical, "categorical": rows.categorical, "label": rows.label}
    return SimpleNamespace(**{name: part.cpu().numpy() for name, part in parts.items()})


def deepctr(
    name: str, schema: Schema, rows: Batch, size: int, precision: str, repeats: int
) -> list[float]:
    """deepctr-torch's model, trained by its own `fit`, which has no mixed precision."""
    model = deepctr_model(make_model(name, schema), device=str(rows.label.device))
    optimizer = torch.optim.Adagrad(model.parameters(), lr=SHARED["learning_rate"])
    model.compile(optimizer, "binary_crossentropy")
    matrix, labels = deepctr_rows(_on_host(rows))
    stamps, options = PeerStamps(), {"verbose": 0, "epochs": repeats + 1}
    with contextlib.redirect_stdout(io.StringIO()):
        model.fit([matrix], labels, size, callbacks=[stamps], **options)
    return stamps.seconds[1:]


def fuxictr(
    name: str, schema: Schema, rows: Batch, size: int, precision: str, repeats: int
) -> list[float]:
    """The model of FuxiCTR's layers, trained by its own `train_epoch`."""
    device = rows.label.device
    model = fuxictr_model(make_model(name, schema), gpu=0 if device.type == "cuda" else -1)
    with tempfile.TemporaryDirectory() as folder:
        loader = fuxictr_loader(model, _on_host(rows), Path(folder) / "rows.npz", size)
        return timed(lambda: model.train_epoch(loader), device, repeats)


CONTESTANTS: dict[str, tuple[Callable[..., list[float]], dict[str, Any]]] = {
    "zoo": (ours, {}),
    "plain loop": (plain, {}),
    "plain loop, sparse": (plain, {"sparse": True}),
    "zoo, steps not recorded": (ours, {"cuda_graphs": False}),
    "deepctr-torch": (deepctr, {}),
    "FuxiCTR": (fuxictr, {}),
}


class Free:
    """A recording whose replay does nothing: what is left of a step is the host's part."""

    def __init__(self, function: Callable[[], captured.Outputs], beside: Any) -> None:
        self.outputs = function()

    def replay(self) -> captured.Outputs:
        """What it gave when it was recorded."""
        return self.outputs


def host_seconds(name: str, schema: Schema, rows: Batch, steps: int, repeats: int) -> list[float]:
    """Seconds of a step of `Trainer.fit` on the host, when the device takes no time at all.

    Of batches of eight rows on the CPU, as what the host does does not depend on their size.
    """
    size = 8
    with ExitStack() as stack:
        stack.enter_context(as_on_gpu())
        stack.enter_context(mock.patch.object(captured, "CUDAGraph", Free))
        found = ours(name, schema, first_rows(rows, size * steps), size, "fp32", repeats)
    return [seconds / steps for seconds in found]


def detection_seconds(kind: str, schema: Schema, rows: Batch, count: int, folder: Path) -> float:
    """Seconds of the detection of interactions around so many rows of a DeepFM.

    Args:
        kind: The detector, `walsh` or `nid`.
        schema: Fields of the rows.
        rows: Rows on the device.
        count: Number of rows.
        folder: Folder of the results.
    """
    from torch.utils.data import DataLoader

    from zoo.glider.perturb import OnOff
    from zoo.glider.surrogates.detector import MadexDetector
    from zoo.glider.surrogates.madex import MadexConfig
    from zoo.glider.walsh.detector import WalshDetector
    from zoo.glider.walsh.search import WalshConfig

    device = rows.label.device
    model = make_model("DeepFM", schema, embedding_std=0.3).to(device).eval()
    made, config = {
        "walsh": (WalshDetector, WalshConfig()),
        "nid": (MadexDetector, MadexConfig()),
    }[kind]
    means = torch.zeros(len(schema.numerical))
    detector = made(model, first_rows(rows, count), OnOff(means), config, folder, 0)
    detector.chunk = detector.chunk_on(device, 1)
    accelerator = "gpu" if device.type == "cuda" else "cpu"
    trainer = Trainer(
        accelerator=accelerator,
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    start = time.perf_counter()
    chunks = DataLoader(detector.chunk_starts(1), batch_size=None)
    trainer.predict(detector, chunks, return_predictions=False)
    return now(device) - start
