"""Interpretable MLPs: fits, predictions, options."""

import contextlib
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import pytorch_lightning as pl
import torch
from support.expertise import DIAMOND, model, random_batch
from support.running import QUIET, ROOT, command
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader

from datamodules import GaussianClusters
from zoo import InterpretableMLP, ZooError
from zoo.experts.mixture import GATES, NORMALIZATIONS, attribution, log_selection


@pytest.fixture(scope="module")
def run(criteo_file, tmp_path_factory):
    """The run directory of a short fit on generated Criteo rows, read-only."""
    subsets = '{numbers: [numerical], ids: [categorical], all: ["*"]}'
    with contextlib.chdir(tmp_path_factory.mktemp("experts")):
        command(
            *["fit", "--config", ROOT / "configs/criteo/deepfm.yaml"],
            *["--model=zoo.InterpretableMLP", f"--model.subsets={subsets}"],
            *["--model.hidden_units=[8]", "--model.embedding_dim=4", "--data.path", criteo_file],
            *["--trainer.max_epochs=1", "--name=t", *QUIET],
        )
        return Path("runs/t/version_0").absolute()


def test_a_fit_logs_the_attributions_and_reloads(run):
    metrics = json.loads((run / "metrics.json").read_text())
    for split in ("val", "test"):
        shares = [metrics[f"{split}/attribution/{name}"] for name in ("numbers", "ids", "all")]
        assert sum(shares) == pytest.approx(1)
        assert 0 <= metrics[f"{split}/entropy"] <= math.log(3)
    loaded = InterpretableMLP.load_from_checkpoint(run / "checkpoints/best.ckpt", weights_only=True)
    assert loaded.lattice.names == ("numbers", "ids", "all")


def test_predictions_of_a_file_hold_the_attribution(run, criteo_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = Path(shutil.copytree(run, "runs/t/version_0"))
    checkpoint = run / "checkpoints/best.ckpt"
    command(
        *["predict", "--config", run / "config.yaml", "--ckpt_path", checkpoint, *QUIET],
        *["--data.predict_path", criteo_file],
    )
    table = pq.read_table(run / f"predictions/{criteo_file.stem}.parquet").to_pandas()
    attributed = table[["attribution_numbers", "attribution_ids", "attribution_all"]]
    assert len(table) == 20_000
    assert attributed.sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-5)


def test_an_expert_that_is_always_selected_is_reported():
    network = model({"n": ["n0"], "all": ["*"]})
    data = DataLoader([random_batch(20)], batch_size=None)
    with torch.no_grad():
        for head, bias in zip(network.head.experts, (0.0, 9.0), strict=True):
            head.weight.zero_()
            head.bias.fill_(bias)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(accelerator="cpu", **quiet)
    message = "expert all has the largest attribution in 100.0% of the val rows"
    with pytest.warns(UserWarning, match=message):
        trainer.validate(network, data, verbose=False)


def test_the_clusters_are_where_the_paper_has_them():
    data = GaussianClusters(8000)
    arrays, truth = data.arrays["train"], data.truth["train"]
    x1, x2 = arrays.numerical.T
    outer = truth == 2
    assert np.mean((x1 > 0)[truth == 0] == arrays.label[truth == 0]) > 0.999
    assert np.mean((x2 > 0)[truth == 1] == arrays.label[truth == 1]) > 0.999
    assert np.mean(((x1 > 0) != (x2 > 0))[outer] == arrays.label[outer]) > 0.999
    assert np.abs(x1[outer]).mean() == pytest.approx(2, abs=0.02)
    assert arrays.label.mean() == pytest.approx(0.5, abs=0.03)


def test_the_first_task_has_the_inner_clusters_alone():
    inner, both = GaussianClusters(8000, task="a"), GaussianClusters(8000)
    arrays, truth = inner.arrays["train"], inner.truth["train"]
    assert set(truth) == {0, 1}
    own = arrays.numerical[np.arange(8000), truth]  # the number that decides
    assert np.mean((own > 0) == arrays.label) > 0.999
    assert np.abs(own).mean() == pytest.approx(1, abs=0.02)
    assert np.abs(arrays.numerical[np.arange(8000), 1 - truth]).mean() < 0.25
    assert set(both.truth["train"]) == {0, 1, 2}
    with pytest.raises(ZooError, match=r"task must be one of \('a', 'b'\), got 'c'"):
        GaussianClusters(task="c")  # pyright: ignore[reportArgumentType]


def test_one_subset_is_the_plain_network():
    network = model({"all": ["*"]})
    batch = random_batch()
    x = network.embedding(batch).flat
    for layer in network.layers:
        x = torch.relu((layer(x) if layer is network.layers[0] else layer([x]))[0])
    torch.testing.assert_close(network(batch), 2 * network.head([x])[0].squeeze(1))
    assert torch.equal(network.explain(batch)[1], torch.ones(6, 1))


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("normalization", NORMALIZATIONS)
def test_one_subset_is_trained_by_plain_cross_entropy(gate, normalization):
    options = {"fallback": True, "auxiliary": 1.0}
    network = model({"all": ["*"]}, gate=gate, normalization=normalization, prior=0.2, **options)
    batch = random_batch()
    plain = binary_cross_entropy_with_logits(network(batch), batch.label)
    torch.testing.assert_close(network.training_step(batch), plain)


def test_predictions_come_with_their_attribution():
    network = model(DIAMOND).eval()
    found = network.predict_step(random_batch()._replace(row=torch.arange(6)))
    total = sum(found[f"attribution_{name}"] for name in DIAMOND)
    torch.testing.assert_close(total, torch.ones(6))
    torch.testing.assert_close(found["probability"], network(random_batch()).sigmoid())


def test_predictions_may_be_gated_more_steeply_than_the_loss():
    options = {"gate": "smooth", "power": 3.0, "normalization": "sample", "prior": 0.2}
    alike, steeper = (model(DIAMOND, **options, inference_power=p).eval() for p in (None, 8.0))
    batch = random_batch()
    assert torch.equal(alike.training_step(batch), steeper.training_step(batch))
    z = steeper.expert_outputs(batch)
    for network, power in ((alike, 3.0), (steeper, 8.0)):
        expected = attribution(log_selection(z, network.inclusion, "smooth", power))
        torch.testing.assert_close(network.explain(batch)[1], expected)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("hidden_units", []),
        ("hidden_units", [0]),
        ("hidden_units must name the subsets user, item, both, all", {"user": [3], "others": [3]}),
        ("hidden_units must be as many", {name: [3] * i for i, name in enumerate(DIAMOND, 1)}),
        ("hidden_units must be positive", {"user": [0], "item": [1], "both": [1], "all": [1]}),
        ("hidden_units must name at least one", {name: [] for name in DIAMOND}),
        ("dropout", -0.1),
        ("gate", "soft"),
        ("inference_gate", "soft"),
        ("normalization", "batch"),
        ("auxiliary", -1.0),
        ("silence", -1.0),
        ("prior", 0.0),
        ("power", 1.0),
        ("inference_power", 0.0),
    ],
)
def test_an_option_that_makes_no_sense_is_named(option, value):
    with pytest.raises(ZooError, match=f"model.{option}"):
        model(DIAMOND, **{option.split()[0]: value})
