"""Data, resumed fits, predictions and detection on a GPU are those of a CPU."""

import json
from contextlib import nullcontext

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from support import fitting
from support.explaining import QUICK
from support.on_gpu import CPU, NAMES, accelerator, batches_of, ways_of_gpus
from support.resuming import Diary, SmallRows, fit, state_of
from support.running import command
from support.small_checkpoints import QUIET, small
from torch.utils.data import DataLoader

from datamodules.prepared.prefetch import prefetched
from datamodules.tabular.loader import BatchLoader
from zoo import Batch
from zoo.glider.perturb import OnOff
from zoo.glider.surrogates.detector import MadexDetector, read_results
from zoo.glider.walsh.detector import WalshDetector, WalshRows
from zoo.glider.walsh.search import WalshConfig

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers", "ignore:predict returned None"
)


def parts_of(batch):
    """The parts of a batch that it has, on the CPU."""
    return {k: part.cpu() for k, part in batch._asdict().items() if part is not None}


def numbers_of(events):
    """Epoch, step and all further numbers of what happened in a fit, by its name."""
    return [{event: list(numbers)} for event, *numbers in events]


# Data


@pytest.mark.parametrize("numbers", [torch.float32, torch.float16])
@pytest.mark.parametrize("shuffle", [False, True])
def test_resident_rows_are_those_of_a_cpu(shuffle, numbers, device):
    epoch, arrays = [0], SmallRows(rows=1000).arrays["train"]
    options = {"shuffle": shuffle, "seed": 3, "epoch": lambda: epoch[0], "with_row": True}
    here, there = (
        BatchLoader(arrays, 64, device=where, numbers=numbers, **options) for where in (CPU, device)
    )
    for epoch[0] in (0, 1, 5):
        for found, expected in zip(there, here, strict=True):
            assert found.label.device.type == device.type
            torch.testing.assert_close(parts_of(found), parts_of(expected), rtol=0, atol=0)


def test_batches_that_are_fetched_ahead_are_those_of_a_cpu(device):
    arrays = SmallRows(rows=1000).arrays["train"]
    loader = BatchLoader(arrays, 64, shuffle=True, seed=3)
    sums = []
    for found, expected in zip(prefetched(loader, "train", device), loader, strict=True):
        sums.append(found.numerical.sum())  # is queued while the next batch is on its way
        torch.testing.assert_close(parts_of(found), parts_of(expected), rtol=0, atol=0)
    expected = [batch.numerical.sum() for batch in loader]
    torch.testing.assert_close(torch.stack(sums).cpu(), torch.stack(expected))


# Fits


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("optimizer", ["adagrad", "lazy_adam", "adam"])
def test_a_fit_that_goes_on_comes_to_the_weights_of_an_unbroken_one(
    optimizer, resident, device, tmp_path
):
    """From its midst and its end, and on the CPU from a checkpoint of the device."""

    def fitted(diary, where, checkpoint=None):
        data = SmallRows(resident=resident)
        data.device = where if resident else None
        options = {"max_epochs": 3, "precision": "64-true", **accelerator(where)}
        model = {"optimizer": optimizer, "learning_rate": 0.01}
        found = state_of(fit(diary, checkpoint, data, model, **options))[:2]
        return torch.utils._pytree.tree_map_only(torch.Tensor, torch.Tensor.cpu, found)

    with ways_of_gpus(device) as recording:
        unbroken = Diary(tmp_path)
        expected = fitted(unbroken, device)
        assert recording.replays
        batches = [path for path, _ in unbroken.checkpoints if "batch" in path.name]
        for path in (batches[1], batches[6]):
            resumed = Diary()
            found = fitted(resumed, device, path)
            assert len(resumed.events) > 2
            of_rest = unbroken.events[-len(resumed.events) :]
            torch.testing.assert_close(numbers_of(resumed.events), numbers_of(of_rest))
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    found = fitted(Diary(), CPU, batches[6])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_metrics_are_those_of_a_cpu(device):
    def metrics(where):
        options = {"precision": "64-true", "max_epochs": 2, **accelerator(where)}
        return {k: v.cpu() for k, v in fit(Diary(), **options).callback_metrics.items()}

    expected = metrics(CPU)
    with ways_of_gpus(device):
        found = metrics(device)
    assert found.keys() == expected.keys() >= {"train/auc", "train/logloss", "val/auc"}
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_predictions_are_those_of_a_cpu(name, device):
    def predicted(where):
        rows = [b._replace(row=torch.arange(len(b.label))) for b in batches_of(name, 2)]
        trainer = pl.Trainer(**QUIET, **accelerator(where))
        found = trainer.predict(small(name), DataLoader(rows, batch_size=None))
        return [{key: value.cpu() for key, value in batch.items()} for batch in found]

    expected = predicted(CPU)
    with ways_of_gpus(device):
        found = predicted(device)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5, equal_nan=True)


# Commands


def test_commands_give_what_they_give_on_a_cpu(device, criteo_file, tmp_path, monkeypatch):
    """A fit of rows on the device, and predictions of its checkpoint."""
    found = []
    for where in (CPU, device):
        (tmp_path / str(len(found))).mkdir()
        monkeypatch.chdir(tmp_path / str(len(found)))
        on = f"--trainer.accelerator={accelerator(where)['accelerator']}"
        data = ["--data.resident=true", f"--data.prepared={tmp_path / 'prepared'}"]
        with ways_of_gpus(where) if found else nullcontext() as recording:
            run = fitting.fit(criteo_file, "--trainer.max_epochs=1", *data, on)
            assert not found or recording.replays
            given = ["--config", run / "config.yaml", "--ckpt_path", run / "checkpoints/best.ckpt"]
            output = ["--data.predict_path", criteo_file, "--data.predict_output", "out.csv"]
            command("predict", *given, *output, on)
        metrics = json.loads((run / "metrics.json").read_text())
        scores = np.loadtxt("out.csv", delimiter=",", skiprows=1, usecols=1)
        found.append(([metrics[key] for key in ("val/auc", "val/logloss", "test/auc")], scores))
    assert found[1][0] == pytest.approx(found[0][0], abs=1e-3)
    np.testing.assert_allclose(found[1][1], found[0][1], atol=1e-2)


# Detection


def planted(rows):
    """A black box with two interactions: of the ids, and of a number with an id."""
    on = (rows.categorical >= 0).float()
    return 3 * rows.numerical[:, 0] * on[:, 1] - 2 * on[:, 0] * on[:, 1] + on[:, 0]


@pytest.mark.parametrize("kind", ["walsh", "nid"])
def test_the_same_interactions_are_found(kind, device, tmp_path):
    random = torch.Generator().manual_seed(0)
    numbers = 1 + torch.rand(3, 2, generator=random)
    instances = Batch(numbers, torch.ones(3, 2).int(), torch.zeros(3))

    def sets(where, folder):
        folder.mkdir()
        walsh = kind == "walsh"
        detector = (WalshDetector if walsh else MadexDetector)(
            planted, instances, OnOff(torch.zeros(2)), WalshConfig() if walsh else QUICK, folder
        )
        chunks = DataLoader(detector.chunk_starts(1), batch_size=None)
        trainer = pl.Trainer(**QUIET, **accelerator(where))
        trainer.predict(detector, chunks, return_predictions=False)
        if walsh:
            rows, _ = WalshRows.read(folder)
            return [{tuple(s) for s, *_ in row["kept"]} for row in rows.sets]
        found, _ = read_results(folder)
        return [set(result.found[:2]) for result in found]

    expected = sets(CPU, tmp_path / "expected")
    assert expected == [{(0, 3), (2, 3)}] * 3
    with ways_of_gpus(device):
        assert sets(device, tmp_path / "found") == expected
