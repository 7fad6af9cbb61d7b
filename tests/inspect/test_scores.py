"""`inspect` with data: quality, slices, experts, dead units."""

import json
import warnings
from unittest import mock

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score
from support.inspection import (
    Given,
    changed,
    command,
    each_model,
    lightning_warnings,
    refusal,
    shown,
)
from support.running import ROOT
from support.small_checkpoints import (
    MODELS,
    ROWS,
    SESSIONS,
    row_batch,
    session_batch,
    small,
)

import train
import zoo
from zoo.data.batch import concatenate
from zoo.inspect import load
from zoo.inspect.scores import score
from zoo.inspect.table import TextTable
from zoo.inspect.with_data import slices
from zoo.inspect.with_data.quality import Quality, Scored
from zoo.models.sessions import SessionModule
from zoo.run.inspect import data_of

pytestmark = lightning_warnings


@pytest.fixture(scope="module")
def mixture_run(criteo_file, tmp_path_factory):
    """The run directory of a short fit of a mixture of experts."""
    folder = tmp_path_factory.mktemp("run")
    subsets = '{numbers: [numerical], ids: [categorical], all: ["*"]}'
    arguments = [
        *["fit", "--config", ROOT / "configs/criteo/deepfm.yaml", "--model=zoo.InterpretableMLP"],
        *[f"--model.subsets={subsets}", "--model.hidden_units=[8]", "--model.embedding_dim=4"],
        *["--data.path", criteo_file, f"--data.prepared={folder}", f"--runs={folder}", "--name=t"],
        *["--trainer.max_epochs=1", "--trainer.enable_progress_bar=false"],
        *["--trainer.enable_model_summary=false", "--trainer.accelerator=cpu"],
    ]
    with mock.patch("sys.argv", ["train.py", *map(str, arguments)]), warnings.catch_warnings():
        train.main()
    return folder / "t/version_0"


def test_the_scores_of_a_split_are_those_computed_row_by_row(mixture_run, capsys):
    checkpoint, config = mixture_run / "checkpoints/best.ckpt", mixture_run / "config.yaml"
    capsys.readouterr()
    command(checkpoint, "--json", "--config", config, "--split=test", "--by=C9")
    found = json.loads(capsys.readouterr().out)["scores"]

    data = data_of(config)
    data.setup("test")
    batches = list(data.test_dataloader())
    batch = concatenate(batches)
    model = zoo.InterpretableMLP.load_from_checkpoint(checkpoint, weights_only=True).eval()
    with torch.no_grad():
        logits, attribution = model.explain(batch)
    p, y = logits.double().sigmoid().numpy(), batch.label.numpy()
    metrics = json.loads((mixture_run / "metrics.json").read_text())

    def check(quality, rows):
        assert quality["rows"] == len(y[rows])
        assert quality["predicted"] == pytest.approx(p[rows].mean(), abs=1e-6)
        assert quality["observed"] == pytest.approx(y[rows].mean(), abs=1e-6)
        assert quality["auc"] == pytest.approx(roc_auc_score(y[rows], p[rows]), abs=1e-6)
        assert quality["logloss"] == pytest.approx(log_loss(y[rows], p[rows]), abs=1e-6)
        mean = attribution.double().numpy()[rows].mean(0)
        assert list(quality["attribution"].values()) == pytest.approx(mean, abs=1e-6)

    check(found["overall"], slice(None))
    assert found["overall"]["auc"] == pytest.approx(metrics["test/auc"], abs=1e-6)
    for quality, rows in zip(
        found["calibration"], np.array_split(np.argsort(p, kind="stable"), 10), strict=True
    ):
        check(quality, rows)
    ids = batch.categorical[:, [f.name for f in data.schema.categorical].index("C9")].numpy()
    vocabulary = pq.read_table(mixture_run / "encoder/vocabulary.parquet").to_pandas()
    named = vocabulary[vocabulary.field == "C9"].set_index("value").id
    assert list(found["slices"]) == ["C9"]
    assert len(found["slices"]["C9"]) == len(set(ids)) == 3
    for quality in found["slices"]["C9"]:
        check(quality, ids == named[quality["name"]])
    for expert in found["sufficiency"]["judged"][:2]:
        logged = metrics[f"test/shortfall/{expert['name']}"]
        assert max(other["saves"] for other in expert["around"]) == pytest.approx(logged, rel=1e-4)
    for i, expert in enumerate(found["experts"]):
        column = attribution[:, i]
        assert expert["mean"] == pytest.approx(metrics[f"test/attribution/{expert['name']}"])
        assert expert["max"] == pytest.approx(column.max().item())
        largest = (attribution.argmax(1) == i).double().mean().item()
        assert expert["largest"] == pytest.approx(largest)


def test_the_largest_slices_of_every_field_are_scored(mixture_run, capsys):
    checkpoint, config = mixture_run / "checkpoints/best.ckpt", mixture_run / "config.yaml"
    capsys.readouterr()
    command(checkpoint, "--json", "--config", config)
    found = json.loads(capsys.readouterr().out)["scores"]
    data = data_of(config)
    data.setup("validate")
    ids = torch.cat([batch.categorical for batch in data.val_dataloader()]).numpy()
    labels = torch.cat([batch.label for batch in data.val_dataloader()]).numpy()
    vocabulary = pq.read_table(mixture_run / "encoder/vocabulary.parquet").to_pandas()
    assert list(found["slices"]) == [field.name for field in data.schema.categorical]
    for (field, parts), column in zip(found["slices"].items(), ids.T, strict=True):
        counts = np.unique(column, return_counts=True)[1]
        assert [part["rows"] for part in parts] == sorted(counts, reverse=True)[:10]
        named = vocabulary[vocabulary.field == field].set_index("value").id
        special = {"(unknown)": 0, "(missing)": 1}
        for part in parts:
            rows = column == special.get(part["name"], named.get(part["name"]))
            assert part["rows"] == rows.sum()
            assert part["observed"] == pytest.approx(labels[rows].mean(), abs=1e-6)


def test_slices_that_are_far_off_are_shown():
    def part(name, rows, predicted, observed):
        return Quality(name, rows, predicted, observed, None, 0.5, {})

    # a standard error is 0.4 / 20 = 0.02 of 400 rows, and 0.04 of 100
    parts = {
        "user": (part("near", 400, 0.2, 0.27), part("far", 400, 0.2, 0.29)),
        "item": (part("few", 100, 0.2, 0.29), part("none", 1, 1.0, 0.0)),
    }
    gaps = [round(quality.gap, 6) for mine in parts.values() for quality in mine]
    assert gaps[:3] == [-3.5, -4.5, -2.25]
    (section,) = slices.sections(None, parts)
    largest, off = (item for item in section.content if isinstance(item, TextTable))
    assert [row[:3] for row in largest.rows] == [
        ["user", "near", "400"],
        ["user", "far", "400"],
        ["item", "few", "100"],
        ["item", "none", "1"],
    ]
    assert [row[:2] for row in off.rows] == [["item", "none"], ["user", "far"]]


def test_scores_are_shown_as_tables(mixture_run, capsys):
    checkpoint, config = mixture_run / "checkpoints/best.ckpt", mixture_run / "config.yaml"
    command(checkpoint, "--config", config, "--by=C9")
    text = capsys.readouterr().out
    assert "quality on the val rows" in text
    assert "by C9, its most frequent values" in text
    assert "mean attribution" in text
    assert "is it the right expert?" in text
    assert "would save" in " ".join(text.split())


def test_sessions_are_scored_by_their_labelled_tracks(checkpoint_of):
    found = load(checkpoint_of("InterpretableGRU"))
    batch = session_batch()
    batch.label[0] = torch.nan
    scores = score(found, Given(SESSIONS, [batch, batch]))
    assert scores.overall.rows == 2 * 7 * 3
    assert sum(expert.mean for expert in scores.experts) == pytest.approx(1)


def test_an_expert_that_is_never_heard_is_reported(copy_of):
    model, path = small("InterpretableMLP"), copy_of("InterpretableMLP")

    def silence(content):
        weights = content["state_dict"]
        for name, bias in (("few", 9.0), ("all", 0.0)):
            i = model.lattice.names.index(name)
            weights[f"head.experts.{i}.weight"].zero_()
            weights[f"head.experts.{i}.bias"].fill_(bias)

    scores = score(load(changed(path, silence)), Given(ROWS, [row_batch()]))
    assert scores.warnings[0] == "expert all is never heard: its attribution is at most 0.0000"
    assert "expert all is never heard" in shown(scores)


@pytest.mark.parametrize(
    ("name", "biases", "layer"),
    [
        ("WideDeep", "deep.linears.1.bias", "layer 2 of deep"),
        ("xDeepFM", "cin.layers.0.bias", "layer 1 of cin"),
        ("InterpretableMLP", "layers.1.experts.1.bias", "layer 2 of expert all"),
        ("InterpretableTransformer", "decoder.2.expand.bias", "layer 3 of decoder"),
    ],
)
def test_dead_units_are_reported(name, biases, layer, copy_of):
    path = copy_of(name)

    def kill(content):
        for key, tensor in content["state_dict"].items():
            if key.endswith("bias"):
                tensor.fill_(1.0)  # all others fire
            else:
                tensor.mul_(1e-3)
        content["state_dict"][biases].flatten()[:3] = -1e6

    model = MODELS[name].load_from_checkpoint(changed(path, kill), weights_only=True)
    batch = session_batch() if "Transformer" in name else row_batch()
    scores = score(load(path), Given(model.schema, [batch, batch]))
    (dead,) = [found for found in scores.layers if found.dead]
    assert (dead.name, dead.dead) == (layer, 3)
    (warning,) = [text for text in scores.warnings if "dead" in text]
    assert warning == f"3 of {dead.units} units of {layer} are dead: zero on every row"


@each_model
def test_every_hidden_layer_is_watched(name, checkpoint_of):
    model = small(name)
    batch = session_batch() if isinstance(model, SessionModule) else row_batch()
    scores = score(load(checkpoint_of(name)), Given(model.schema, [batch]), sample=0)
    deep = {"layer 1 of deep": 8, "layer 2 of deep": 6}
    blocks = {f"layer {i} of {part}": 256 for part in ("encoder", "decoder") for i in (1, 2, 3)}
    more = {
        "xDeepFM": {f"layer {i} of cin": 200 for i in (1, 2, 3)} | deep,
        "AutoInt": {f"layer {i} of attention_layers": 64 for i in (1, 2, 3)} | deep,
        "InterpretableMLP": {
            f"layer {i + 1} of expert {expert}": (8, 6)[i]
            for i in range(2)
            for expert in ("few", "all")
        },
        "InterpretableTransformer": blocks,
    }
    more["FiBiNET"] = {"layer 1 of senet": 1, "layer 2 of senet": 3} | deep
    more["InterHAt"] = {"feed_forward": 16}
    more["InterHAt"] |= {f"attention of order {order}": 16 for order in (1, 2, 3)}
    more["InterHAt"] |= {"attention over orders": 16} | deep
    plain = deep if name in ("DeepFM", "DCN", "WideDeep") else {}
    assert {found.name: found.units for found in scores.layers} == more.get(name, plain)


def test_what_cannot_be_scored(mixture_run, deepfm, tmp_path):
    checkpoint, config = mixture_run / "checkpoints/best.ckpt", mixture_run / "config.yaml"
    needed = "--by needs data: give --config RUN/config.yaml, or --data"
    assert refusal(checkpoint, "--by=C9") == needed
    assert "C10x" in refusal(checkpoint, "--config", config, "--by=C10x")
    assert "another schema than these data" in refusal(deepfm, "--config", config)
    assert "another schema than these" in refusal(checkpoint, deepfm, "--config", config)
    assert "C10x" in refusal(checkpoint, checkpoint, "--config", config, "--by=C10x")
    (tmp_path / "c.yaml").write_text("model: zoo.DeepFM\n")
    assert refusal(checkpoint, "--config", tmp_path / "c.yaml").endswith("has no section data")
    (tmp_path / "c.yaml").write_text("data: [")
    assert "c.yaml cannot be read" in refusal(checkpoint, "--config", tmp_path / "c.yaml")
    nowhere = refusal(checkpoint, "--config", tmp_path / "nowhere.yaml")
    assert "no file and no shipped config" in nowhere


def test_figures_have_the_standard_errors_of_independent_rows_or_sessions():
    random = torch.Generator().manual_seed(4)
    draws, rows = 300, 200
    found = []
    for _ in range(draws):  # of sessions of four tracks, which share what the model does not see
        labels = (torch.rand(rows, 1, generator=random) < 0.4).expand(-1, 4)
        seen = torch.randn(rows, 1, generator=random) + 0.7 * labels
        logits = seen + 0.3 * torch.randn(rows, 4, generator=random) - 0.5
        place = torch.ones(rows, 4).nonzero()
        empty = torch.zeros(4 * rows, 0)
        flat = logits.flatten(), labels.float().flatten()
        of_tracks = Scored(*flat, empty, empty, (), place=place).overall()
        of_rows = Scored(*flat, empty, empty, (), place=torch.arange(4 * rows)[:, None]).overall()
        found.append((of_tracks, of_rows))
    tracks, apart = zip(*found, strict=True)
    for metric in ("auc", "logloss"):
        spread = np.std([getattr(one, metric) for one in tracks])
        errors = [getattr(one, f"{metric}_error") for one in tracks]
        assert np.mean(errors) == pytest.approx(spread, rel=0.12)
        alone = np.mean([getattr(one, f"{metric}_error") for one in apart])
        assert alone < 0.7 * spread
