"""`inspect`: what a checkpoint says of itself, and what is refused."""

import json
import math
import pickle
import random
import subprocess
import sys
import warnings
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow.parquet as pq
import pytest
import pytorch_lightning as pl
import torch
from rich.console import Console
from sklearn.metrics import log_loss, roc_auc_score
from small_checkpoints import MODELS, ROWS, SESSIONS, fitted, row_batch, saved, session_batch, small

import train
import zoo
from zoo import Batch, Field, Schema, ZooError
from zoo.inspect import load
from zoo.inspect.compare import Comparison
from zoo.inspect.data import data_of
from zoo.inspect.scores import Quality, Scores, score
from zoo.inspect.sheets import slice_sheets
from zoo.sessions import SessionModule, SkipBaseline

ROOT = Path(train.__file__).parent

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*configure_optimizers` returned `None`",
    "ignore:Checkpoint directory .* not empty",
    "ignore:.*contains no parameters",
)
each_model = pytest.mark.parametrize("name", MODELS)


def changed(path, change):
    """Rewrites a checkpoint."""
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)
    return path


def command(*args):
    with mock.patch("sys.argv", ["train.py", "inspect", *map(str, args)]):
        train.main()


def refusal(*args):
    with pytest.raises(SystemExit) as exit_:
        command(*args)
    message = str(exit_.value.code)
    assert message.startswith("error: ")
    assert "\n" not in message
    return message.removeprefix("error: ")


def shown(found, width=200):
    console = Console(width=width, highlight=False)
    with console.capture() as capture:
        console.print(found)
    return capture.get()


@pytest.fixture
def deepfm(tmp_path):
    return fitted(small("DeepFM"), tmp_path / "model.ckpt")


# what it says


def test_every_exported_model_is_inspected():
    exported = {getattr(zoo, name) for name in zoo.__all__}
    assert set(MODELS.values()) == {
        cls for cls in exported if isinstance(cls, type) and issubclass(cls, pl.LightningModule)
    }


@each_model
def test_the_facts_of_a_model_are_those_of_the_model(name, tmp_path, capsys):
    model = small(name)
    path = fitted(model, tmp_path / "model.ckpt")
    capsys.readouterr()
    command(path, "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["architecture"]["model"] == name
    assert found["architecture"]["options"] == {
        key: value
        for key, value in json.loads(json.dumps(dict(model.hparams))).items()
        if key != "schema"
    }
    assert Schema.from_dict(found["schema"]) == model.schema
    assert [field["name"] for field in found["fields"]] == [f.name for f in model.schema.fields]
    assert found["parameters"] == sum(p.numel() for p in model.parameters())
    for part, weights in found["parts"].items():
        mine = torch.cat(
            [
                p.detach().flatten().double()
                for n, p in model.named_parameters()
                if n.split(".")[0] == part
            ]
        )
        assert weights["parameters"] == len(mine)
        assert weights["share"] == pytest.approx(len(mine) / found["parameters"])
        assert weights["rms"] == pytest.approx(mine.square().mean().sqrt().item())
        assert weights["largest"] == pytest.approx(mine.abs().max().item())
        assert weights["not_finite"] == 0
    assert found["training"]["epochs"] == 2
    assert found["training"]["steps"] == 4


@each_model
def test_the_description_is_that_of_the_class(name, tmp_path):
    found = load(fitted(small(name), tmp_path / "model.ckpt"))
    text = shown(found)
    first = MODELS[name].__doc__.splitlines()[0]
    assert f"{name}: {first}" in text
    assert found.architecture.formula in text
    assert bool(found.architecture.formula) != issubclass(MODELS[name], SkipBaseline)


def test_names_are_shown_as_text(deepfm):
    text = shown(load(deepfm))
    assert "[red]c0[/red]" in text
    assert "<b>c1</b>" in text
    hostile = changed(deepfm, lambda c: c["hyper_parameters"].update(optimizer="\x1b[2J:smile:"))
    text = shown(load(hostile))
    assert "\x1b" not in text
    assert r"\x1b[2J:smile:" in text


def test_a_notebook_shows_the_tables(deepfm):
    mime = load(deepfm)._repr_mimebundle_((), ())
    assert "DeepFM" in mime["text/plain"]
    assert "&lt;b&gt;c1&lt;/b&gt;" in mime["text/html"]


def test_crosses_are_told_with_their_members(deepfm):
    found = {facts.field.name: facts.crosses for facts in load(deepfm).fields}
    assert found.pop("[red]c0[/red] x <b>c1</b>") == ("[red]c0[/red]", "<b>c1</b>")
    assert set(found.values()) == {()}


def test_experts_are_told_with_their_fields(tmp_path):
    found = load(fitted(small("InterpretableMLP"), tmp_path / "model.ckpt")).architecture
    few, every = found.experts
    assert (few.name, few.fields, few.inside) == ("few", ("n0",), ())
    assert (every.fields, every.inside) == (tuple(f.name for f in ROWS.fields), ("few",))


def test_the_metric_at_save_is_that_of_the_callback(tmp_path):
    model = small("DeepFM")
    fitted(model, tmp_path / "last.ckpt")
    (monitor,) = load(tmp_path / "last.ckpt").training.monitors
    content = torch.load(tmp_path / "last.ckpt", weights_only=True)
    (state,) = content["callbacks"].values()
    assert monitor.name == "val/logloss"
    assert monitor.value == pytest.approx(state["current_score"].item())
    assert load(tmp_path / "last.ckpt").training.learning_rate == model.learning_rate


def test_the_run_directory_is_read(tmp_path):
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    path = fitted(small("DeepFM"), run / "checkpoints" / "best.ckpt")
    config = {"model": {"class_path": "zoo.DeepFM"}, "data": {"class_path": "datamodules.Criteo"}}
    (run / "config.yaml").write_text(json.dumps(config))
    (run / "metrics.json").write_text('{"val/auc": 0.75, "test/auc": null}')
    found = load(path)
    assert (found.run.folder, found.run.config) == (str(run), config)
    assert found.run.metrics == {"val/auc": 0.75, "test/auc": None}
    assert "datamodules.Criteo" in shown(found)
    (run / "metrics.json").write_text("{")
    assert load(path).warnings[-1] == f"{run / 'metrics.json'} cannot be read"
    config["model"]["class_path"] = "zoo.DCN"
    (run / "config.yaml").write_text(json.dumps(config))
    assert load(path).run is None


def test_the_subcommand_is_listed_and_described(capsys):
    with pytest.raises(SystemExit) as exit_:
        command("--help")
    assert exit_.value.code == 0
    assert "--json" in capsys.readouterr().out
    with mock.patch("sys.argv", ["train.py", "--help"]), pytest.raises(SystemExit):
        train.main()
    assert "Say what a checkpoint holds" in capsys.readouterr().out


def test_a_misspelt_option_is_named(deepfm, capsys):
    with pytest.raises(SystemExit):
        command(deepfm, "--jsn")
    assert capsys.readouterr().err == "error: unknown option jsn; did you mean json?\n"


HEAVY = "pytorch_lightning lightning_fabric torchmetrics scipy sympy pyarrow plotly deepctr_torch"


@pytest.mark.parametrize("more", ["", "--json"])
def test_a_file_alone_is_inspected_without_waiting_for_what_it_does_not_need(more, deepfm):
    code = (
        f"import sys; sys.argv = ['train.py', 'inspect', {str(deepfm)!r}, *{more.split()!r}]\n"
        "import train; train.main()\n"
        f"print([name for name in {HEAVY!r}.split() if name in sys.modules], file=sys.stderr)"
    )
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "[]\n")
    assert "DeepFM" in done.stdout


# warnings


@pytest.mark.parametrize("optimizer", ["adagrad", "adam", "sgd"])
def test_embedding_rows_that_were_never_trained_are_found(optimizer, tmp_path):
    rates = {"adagrad": 0.1, "adam": 0.1, "sgd": 10.0}
    options = {"optimizer": optimizer, "learning_rate": rates[optimizer]}
    found = load(fitted(small("WideDeep", **options), tmp_path / "model.ckpt"))
    rows = [facts.rows for facts in found.fields if facts.rows]
    assert [row.untrained for row in rows] == [3, 7, 1]  # 4 and above
    assert {(row.unknown, row.missing) for row in rows} == {(False, False)}
    (warning,) = found.warnings
    assert warning.startswith("11 values of the vocabulary have an embedding that was never")
    assert "<b>c1</b> (7), [red]c0[/red] (3)" in warning


def test_untrained_rows_are_not_guessed_without_an_optimizer_or_a_start(deepfm):
    def forget(content):
        content["optimizer_states"] = []
        del content["hyper_parameters"]["embedding_std"]

    rows = [facts.rows for facts in load(changed(deepfm, forget)).fields if facts.rows]
    assert {row.untrained for row in rows} == {None}


def test_weights_that_are_not_finite_or_exploded_are_told(deepfm):
    def spoil(content):
        weights = content["state_dict"]
        weights["deep.linears.0.weight"][0, :2] = torch.tensor([math.nan, math.inf])
        weights["head.weight"][0, 0] = -5e4

    found = load(changed(deepfm, spoil))
    size = small("DeepFM").deep.linears[0].weight.numel()
    assert found.warnings[:2] == (
        f"2 of {size} weights of deep.linears.0.weight are NaN or infinite",
        "a weight of head.weight has grown to 50,000",
    )
    assert found.parts["deep"].not_finite == 2
    assert math.isfinite(found.parts["deep"].rms)


def test_a_parameter_without_a_gradient_is_told(deepfm):
    def untouched(content):
        names = list(content["state_dict"])
        (optimizer,) = content["optimizer_states"]
        (group,) = optimizer["param_groups"]
        squares = optimizer["state"][names.index("head.weight")]["sum"]
        squares.fill_(group["initial_accumulator_value"])

    assert load(changed(deepfm, untouched)).warnings[0] == (
        "parameters that no gradient ever reached: head.weight"
    )


def test_a_model_that_was_never_trained_is_told(tmp_path):
    found = load(saved(small("DCN"), tmp_path / "new.ckpt"))
    assert found.warnings == ("saved before the first step: all weights are at their random start",)
    assert not found.training.optimizer_state


def test_batch_normalisation_has_buffers_that_are_no_parameters(tmp_path):
    model = small("DeepFM", batch_norm=True)
    found = load(fitted(model, tmp_path / "model.ckpt"))
    assert found.parameters == sum(p.numel() for p in model.parameters())
    assert found.fields[1].rows.untrained == 3  # the optimiser's state is still that of the table


# refusals


class Evil:
    def __reduce__(self):
        return Path.touch, (Path("executed"),)


@pytest.mark.parametrize("save", [torch.save, lambda x, p: p.write_bytes(pickle.dumps(x))])
def test_a_file_that_would_run_code_is_refused(save, deepfm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = torch.load(deepfm, weights_only=True)
    save({**content, "payload": Evil()}, tmp_path / "evil.ckpt")
    message = refusal("evil.ckpt")
    assert "evil.ckpt" in message
    assert not Path("executed").exists()
    if save is torch.save:
        assert "could run code" in message
        assert "pathlib.Path" in message


def test_a_missing_file_and_a_directory(deepfm):
    assert refusal("nowhere.ckpt") == "no such checkpoint: nowhere.ckpt"
    folder = deepfm.parent
    assert refusal(folder) == f"{folder} is a directory: name a checkpoint, such as {deepfm}"


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_a_truncated_file(keep, deepfm):
    whole = deepfm.read_bytes()
    deepfm.write_bytes(whole[: int(keep * len(whole)) if keep < 1 else keep])
    assert refusal(deepfm) == f"{deepfm} is not a checkpoint, or is damaged"


def test_a_text_file(tmp_path):
    path = tmp_path / "notes.ckpt"
    path.write_text("not a checkpoint\n")
    assert refusal(path) == f"{path} is not a checkpoint, or is damaged"


def test_damaged_bytes_end_in_one_sentence(deepfm):
    whole, chance = deepfm.read_bytes(), random.Random(0)
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(10):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        deepfm.write_bytes(damaged)
        try:
            load(deepfm)
        except ZooError as error:
            assert str(deepfm) in str(error)  # noqa: PT017 - undamaged weights may be read


def test_a_foreign_model_is_read_in_part(tmp_path):
    class Foreign(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Linear(3, 2)

    trainer = pl.Trainer(barebones=True, accelerator="cpu")
    trainer.strategy.connect(Foreign())
    trainer.save_checkpoint(tmp_path / "foreign.ckpt", weights_only=True)
    found = load(tmp_path / "foreign.ckpt")
    assert (found.architecture, found.schema, found.parameters) == (None, None, 8)
    assert found.parts["net"].parameters == 8
    assert found.warnings[0].startswith("not a checkpoint of this project")
    assert "net" in shown(found)


def test_weights_alone_are_no_checkpoint(tmp_path):
    torch.save({"net.weight": torch.zeros(3)}, tmp_path / "weights.pt")
    assert "holds no state_dict" in refusal(tmp_path / "weights.pt")


def test_a_schema_of_a_later_version(deepfm):
    path = changed(deepfm, lambda c: c["hyper_parameters"]["schema"].update(format=99))
    message = refusal(path)
    assert message.startswith(f"{path}: schema of format 99, this version reads 1")


def test_a_schema_that_makes_no_sense(deepfm):
    path = changed(deepfm, lambda c: c["hyper_parameters"].update(schema={"format": 1}))
    assert refusal(path) == f"{path} is damaged: its schema cannot be read"


@pytest.mark.parametrize("key", ["loops", "callbacks", "optimizer_states"])
@pytest.mark.parametrize("value", ["x", 3, [3], torch.zeros(2, 2)])
def test_a_training_state_that_makes_no_sense(key, value, deepfm):
    path = changed(deepfm, lambda c: c.update({key: value}))
    try:
        load(path)
    except ZooError as error:
        assert str(error) == f"{path} is damaged: its training state cannot be read"  # noqa: PT017


def test_an_unknown_model(deepfm):
    path = changed(deepfm, lambda c: c.update(model_class="SuperNet\x1b"))
    message = refusal(path)
    assert message.startswith(rf"{path}: holds a model 'SuperNet\x1b', which this version")
    assert "DeepFM" in message


def test_a_table_that_does_not_fit_the_schema(deepfm):
    path = changed(
        deepfm, lambda c: c["hyper_parameters"]["schema"]["fields"][1].update(cardinality=8)
    )
    assert refusal(path) == f"{path} is damaged: its embedding table does not fit its schema"


# compare


def test_two_checkpoints_side_by_side(tmp_path, capsys):
    one = fitted(small("DeepFM"), tmp_path / "one.ckpt")
    other = Schema(
        (*ROWS.fields[:2], Field("<b>c1</b>", "categorical", 12), Field("n1", "numerical"))
    )
    two = fitted(small("WideDeep", other, dropout=0.5), tmp_path / "two.ckpt", epochs=1)
    capsys.readouterr()
    command(one, two, "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == ROWS.difference(other)
    assert set(found["fields"]) == {"<b>c1</b>", "[red]c0[/red] x <b>c1</b>", "n1"}
    assert found["fields"]["n1"][0] is None
    assert [side["cardinality"] for side in found["fields"]["<b>c1</b>"]] == [11, 12]
    assert found["options"] == {"model": ["DeepFM", "WideDeep"], "dropout": [0.0, 0.5]}
    assert found["training"]["epochs"] == [2, 1]
    for side, path in enumerate((one, two)):
        assert found["parameters"]["all"][side] == load(path).parameters
    text = shown(Comparison(load(one), load(two)))
    assert "categorical, 11 ids, group item" in text
    assert "schemas: field" in text


def test_a_checkpoint_equals_itself(deepfm):
    same = Comparison(load(deepfm), load(deepfm))
    assert (same.schema, same.fields, same.options) == (None, {}, {})
    assert "schemas: equal" in shown(same)


def test_three_checkpoints_are_too_many(deepfm):
    assert refusal(deepfm, deepfm, deepfm) == "inspect takes one or two checkpoints, got 3"


def test_the_command_line_prints_json_alone(deepfm):
    line = [sys.executable, train.__file__, "inspect", str(deepfm), "--json"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["architecture"]["model"] == "DeepFM"


# with data


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
    batch = Batch(*(torch.cat(columns) for columns in zip(*(b[:3] for b in batches), strict=True)))
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
    for (field, slices), column in zip(found["slices"].items(), ids.T, strict=True):
        counts = np.unique(column, return_counts=True)[1]
        assert [part["rows"] for part in slices] == sorted(counts, reverse=True)[:10]
        named = vocabulary[vocabulary.field == field].set_index("value").id
        special = {"(unknown)": 0, "(missing)": 1}
        for part in slices:
            rows = column == special.get(part["name"], named.get(part["name"]))
            assert part["rows"] == rows.sum()
            assert part["observed"] == pytest.approx(labels[rows].mean(), abs=1e-6)


def test_slices_that_are_far_off_are_told():
    def part(name, rows, predicted, observed):
        return Quality(name, rows, predicted, observed, None, 0.5, {})

    # a standard error is 0.4 / 20 = 0.02 of 400 rows, and 0.04 of 100
    slices = {
        "user": (part("near", 400, 0.2, 0.27), part("far", 400, 0.2, 0.29)),
        "item": (part("few", 100, 0.2, 0.29), part("none", 1, 1.0, 0.0)),
    }
    assert [round(q.gap, 6) for parts in slices.values() for q in parts][:3] == [-3.5, -4.5, -2.25]
    overall = part("all", 901, 0.2, 0.2)
    found = Scores("val", overall, (overall,), None, slices, ())
    largest, off = slice_sheets(found)
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


def test_sessions_are_scored_by_their_known_tracks(tmp_path):
    found = load(fitted(small("InterpretableGRU"), tmp_path / "model.ckpt"))
    batch = session_batch()
    batch.label[0] = torch.nan
    data = mock.Mock(schema=SESSIONS, encoder_folder=None)
    data.val_dataloader.return_value = [batch, batch]
    scores = score(found, data)
    assert scores.overall.rows == 2 * 7 * 3
    assert sum(expert.mean for expert in scores.experts) == pytest.approx(1)


def test_an_expert_that_is_never_heard_is_told(tmp_path):
    model = small("InterpretableMLP")
    path = fitted(model, tmp_path / "model.ckpt")

    def silence(content):
        weights = content["state_dict"]
        for name, bias in (("few", 9.0), ("all", 0.0)):
            i = model.lattice.names.index(name)
            weights[f"head.experts.{i}.weight"].zero_()
            weights[f"head.experts.{i}.bias"].fill_(bias)

    data = mock.Mock(schema=ROWS, encoder_folder=None)
    data.val_dataloader.return_value = [row_batch()]
    scores = score(load(changed(path, silence)), data)
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
def test_dead_units_are_told(name, biases, layer, tmp_path):
    path = fitted(small(name), tmp_path / "model.ckpt")

    def kill(content):
        for key, tensor in content["state_dict"].items():
            if key.endswith("bias"):
                tensor.fill_(1.0)  # all others fire
            else:
                tensor.mul_(1e-3)
        content["state_dict"][biases].flatten()[:3] = -1e6

    model = MODELS[name].load_from_checkpoint(changed(path, kill), weights_only=True)
    data = mock.Mock(schema=model.schema, encoder_folder=None)
    batch = session_batch() if "Transformer" in name else row_batch()
    data.val_dataloader.return_value = [batch, batch]
    scores = score(load(path), data)
    (dead,) = [found for found in scores.layers if found.dead]
    assert (dead.name, dead.dead) == (layer, 3)
    (warning,) = [text for text in scores.warnings if "dead" in text]
    assert warning == f"3 of {dead.units} units of {layer} are dead: zero on every row"


@each_model
def test_every_hidden_layer_is_watched(name, tmp_path):
    model = small(name)
    data = mock.Mock(schema=model.schema, encoder_folder=None)
    data.val_dataloader.return_value = [
        session_batch() if isinstance(model, SessionModule) else row_batch()
    ]
    scores = score(load(fitted(model, tmp_path / "model.ckpt")), data)
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
    assert "cannot be read" in refusal(checkpoint, "--config", tmp_path / "nowhere.yaml")
