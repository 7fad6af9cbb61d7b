"""Models of listening sessions: training, predictions, options, baselines."""

import itertools
import json
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytorch_lightning as pl
import torch
from support.running import QUIET, command
from support.session_networks import (
    MODELS,
    NAMES,
    SCHEMA,
    SUBSETS,
    T_NEXT,
    Sessions,
    T,
    build,
    each_model,
    random_batch,
)
from torch.utils.data import DataLoader

from zoo import (
    Field,
    InterpretableGRU,
    InterpretableTransformer,
    LastSkip,
    MeanSkip,
    Schema,
    ZooError,
)
from zoo.run.predictions import PredictionWriter


def train_some(model, batches, validation=None, **options):
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **options,
    )
    loaders = [DataLoader(b, batch_size=None) for b in (batches, validation or batches)]
    trainer.fit(model, *loaders)
    return trainer


# Models


@each_model
def test_a_checkpoint_reloads_by_itself_with_equal_logits(model_class, tmp_path):
    network = build(model_class)
    trainer = pl.Trainer(barebones=True, accelerator="cpu")
    trainer.strategy.connect(network)
    trainer.save_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    loaded = model_class.load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    assert loaded.schema == SCHEMA
    assert loaded.lattice.names == tuple(SUBSETS)
    assert torch.equal(loaded(random_batch()), network(random_batch()))


@each_model
def test_predictions_are_lines_of_tracks_with_their_attribution(model_class):
    network = build(model_class).eval()
    batch = random_batch(2, future=[3, 1])
    found = network.predict_step(batch)
    assert found["row"].tolist() == [0, 0, 0, 2]
    assert found["position"].tolist() == [1, 2, 3, 1]
    torch.testing.assert_close(found["probability"], network(batch)[batch.future_mask].sigmoid())
    total = sum(found[f"attribution_{name}"] for name in SUBSETS)
    torch.testing.assert_close(total, torch.ones(4))
    assert set(found) == {*network.prediction_keys, *network.prediction_columns}


@each_model
def test_a_skip_that_goes_on_is_learned_and_attributed(model_class):
    """B repeats A's last skip: what interaction sees, and context does not."""
    batches = []
    for seed in range(130):
        batch = random_batch(64, seed)
        last = batch.past_mask.sum(1, keepdim=True) - 1
        skipped = batch.past[..., NAMES.index("skip_2")].gather(1, last)
        batch.past[..., 0] = torch.arange(T) - last  # events since
        batches.append(batch._replace(label=skipped * batch.future_mask))
    network = build(model_class, width=40, learning_rate=0.01)
    with pytest.warns(UserWarning, match="^expert interaction has the largest attribution"):
        trainer = train_some(network, batches[:100], batches[100:])
    assert trainer.callback_metrics["val/acc"] > 0.97


@pytest.mark.filterwarnings("ignore:.*of a Tensor that is not a leaf", "ignore:.*instantiated")
@each_model
@pytest.mark.parametrize(
    "precision", ["bf16-mixed", "64-true", pytest.param("compiled", marks=pytest.mark.slow)]
)
def test_every_precision_trains_alike(model_class, precision):
    batches = [random_batch(32, seed) for seed in range(5)]
    found, expected = (build(model_class, optimizer="sgd", learning_rate=0.01) for _ in range(2))
    train_some(expected, batches)
    if precision == "compiled":
        train_some(torch.compile(found, backend="aot_eager"), batches)
    else:
        if precision == "64-true":
            batches = [b._replace(past=b.past.double(), future=b.future.double()) for b in batches]
        train_some(found, batches, precision=precision)
    found, tolerance = found.float(), 0.1 if precision == "bf16-mixed" else 1e-3
    batch = random_batch(50, 9)
    # of experts without evidence, rounding decides which of them is selected
    found, expected = found.expert_outputs(batch), expected.expert_outputs(batch)
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("model_class", "options", "message"),
    [
        (InterpretableTransformer, {"width": 12}, r"width must be .* of experts, 5, got 12"),
        (InterpretableTransformer, {"heads": 6}, r"heads must be .* of experts, 5, got 6"),
        (InterpretableTransformer, {"heads": 0}, "heads must be a positive multiple"),
        (InterpretableTransformer, {"heads": 15}, "heads must divide the width 20, got 15"),
        (InterpretableTransformer, {"feed_forward": 3}, "feed_forward must be a positive"),
        (InterpretableTransformer, {"blocks": 0}, "blocks must be at least 1"),
        (InterpretableGRU, {"width": -5}, "width must be a positive multiple"),
        (InterpretableGRU, {"dropout": 1.0}, "dropout must be at least 0 and less than 1"),
        (InterpretableGRU, {"gate": "soft"}, "gate must be one of"),
        (InterpretableGRU, {"normalization": "batch"}, "normalization must be one of"),
        (InterpretableGRU, {"learning_rate": 0}, "learning_rate must be positive"),
        (InterpretableGRU, {"min_learning_rate": 1.0}, "min_learning_rate must be between 0"),
    ],
)
def test_an_option_that_makes_no_sense_is_named(model_class, options, message):
    with pytest.raises(ZooError, match=f"^model.{message}"):
        build(model_class, **options)


@each_model
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({}, "at least one subset"),
        ({"a": []}, "a is empty"),
        ({"a": ["mood"]}, "a names mood, which is neither a field nor a group"),
        ({"a": ["interaction"], "b": ["*"]}, "a holds no field that is known of the tracks"),
    ],
)
def test_subsets_that_make_no_sense_are_named(model_class, bad, message):
    with pytest.raises(ZooError, match=message):
        model_class(SCHEMA, subsets=bad, width=8)


@pytest.mark.parametrize("model_class", [*MODELS, LastSkip])
def test_sessions_have_numerical_fields_only(model_class):
    schema = Schema((*SCHEMA.fields, Field("track", "categorical", 9)))
    with pytest.raises(ZooError, match=f"{model_class.__name__} takes .* here: track$"):
        model_class(schema)


def test_the_learning_rate_falls_to_its_floor_and_no_further():
    network = build(InterpretableGRU, plateau_decay=0.1, min_learning_rate=1e-6)
    chosen = network.configure_optimizers()
    for _ in range(5):  # the first is the best
        chosen["lr_scheduler"]["scheduler"].step(1.0)
    assert chosen["optimizer"].param_groups[0]["lr"] == pytest.approx(1e-6)
    assert chosen["lr_scheduler"]["monitor"] == "val/logloss"


# Baselines


@pytest.mark.filterwarnings("ignore:.*contains no parameters")
@pytest.mark.parametrize("baseline", [LastSkip, MeanSkip])
def test_a_baseline_reloads_too(baseline, tmp_path):
    trainer = pl.Trainer(barebones=True, accelerator="cpu")
    trainer.strategy.connect(baseline(SCHEMA))
    trainer.save_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    loaded = baseline.load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    assert torch.equal(loaded(random_batch()), baseline(SCHEMA)(random_batch()))


def test_baselines_by_hand():
    skipped = torch.tensor([[1.0, 0, 0, 1], [1, 1, 0, 1], [1, 0, 1, 1], [1, 1, 1, 1]])
    batch = random_batch(4, past=[4, 3, 2, 0])
    batch.past[..., NAMES.index("skip_2")] = skipped
    for baseline, expected in (
        (LastSkip(SCHEMA), [2 / 3, 1 / 3, 1 / 3, 1 / 2]),
        (MeanSkip(SCHEMA), [1 / 2, 3 / 5, 1 / 2, 1 / 2]),
    ):
        found = baseline(batch).sigmoid()
        torch.testing.assert_close(found, torch.tensor(expected).unsqueeze(1).expand(4, T_NEXT))
        assert not list(baseline.parameters())


@pytest.mark.parametrize("baseline", [LastSkip, MeanSkip])
def test_a_baseline_needs_the_known_skips(baseline):
    schema = Schema(tuple(field for field in SCHEMA.fields if field.name != "skip_2"))
    with pytest.raises(ZooError, match=f"{baseline.__name__} reads the field skip_2, .* position"):
        baseline(schema)


def on_sessions(*args):
    command(*args, *QUIET, "--data=support.session_networks.Sessions")


@pytest.mark.parametrize("name", ["LastSkip", "InterpretableGRU"])
def test_a_fit_on_the_command_line(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    on_sessions("fit", f"--model=zoo.{name}", "--trainer.max_epochs=1", "--monitor=val/acc")
    (run,) = Path("runs").rglob("version_0")
    metrics = json.loads((run / "metrics.json").read_text())
    for split, metric in itertools.product(("val", "test"), ("acc", "acc@1", "maa", "logloss")):
        assert metrics[f"{split}/{metric}"] > 0
    checkpoint = ["--ckpt_path", run / "checkpoints/best.ckpt"]
    on_sessions(
        "predict", "--config", run / "config.yaml", *checkpoint, "--data.predict_path=new.csv"
    )
    table = pq.read_table(run / "predictions/new.parquet").to_pydict()
    lengths = random_batch(5).future_mask.sum(1).tolist()
    lines = [(2 * i, t) for i, length in enumerate(lengths) for t in range(1, length + 1)]
    lines += [(row, None) for row in range(13) if row not in range(0, 10, 2)]
    expected = sorted(lines, key=lambda line: (line[0], line[1] or 0))
    assert list(zip(table["row"], table["position"], strict=True)) == expected
    assert sum(p is None for p in table["probability"]) == 8


def test_several_processes_cannot_fit_a_baseline(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    two = ["--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.accelerator=cpu"]
    with pytest.raises(SystemExit, match=r"LastSkip has nothing to train, which .*devices=1$"):
        on_sessions("fit", "--model=zoo.LastSkip", "--monitor=val/acc", *two)


def test_rows_of_predictions_may_span_pieces_of_a_file(tmp_path):
    writer = PredictionWriter(tmp_path / "out.parquet")
    model = LastSkip(SCHEMA)
    trainer = mock.Mock(global_rank=0, world_size=1, is_global_zero=True)
    trainer.datamodule = Sessions()
    trainer.datamodule.predict_rows = 200_000
    writer.on_predict_start(trainer, model)
    row = torch.arange(0, 200_000, 2).repeat_interleave(2)
    outputs = {"row": row, "position": torch.arange(200_000) % 2 + 1}
    outputs |= {name: torch.rand(200_000) for name in ("probability", "label")}
    writer.on_predict_batch_end(trainer, model, outputs, None, 0)
    writer.on_predict_end(trainer, model)
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.schema.field("position").type == pa.int64()
    expected = [(r, p) for r in range(0, 200_000, 2) for p in ((r, 1), (r, 2), (r + 1, None))]
    found = zip(table["row"].to_pylist(), table["position"].to_pylist(), strict=True)
    assert list(found) == [pair for _, pair in expected]
