"""`inspect`: what a checkpoint holds."""

import json
import subprocess
import sys
from unittest import mock

import pytest
import pytorch_lightning as pl
import torch
from support.inspection import changed, command, each_model, lightning_warnings, shown
from support.running import ROOT
from support.small_checkpoints import MODELS, ROWS, small

import train
import zoo
from zoo import Schema
from zoo.inspect import load
from zoo.models.baselines import SkipBaseline

pytestmark = lightning_warnings


# what it says


def test_every_exported_model_is_inspected():
    exported = {getattr(zoo, name) for name in set(zoo.__all__) - set(zoo.BASES)}
    assert set(MODELS.values()) == {
        cls for cls in exported if isinstance(cls, type) and issubclass(cls, pl.LightningModule)
    }


@each_model
def test_an_inspection_says_what_the_model_says(name, checkpoint_of, capsys):
    path = checkpoint_of(name)
    model = MODELS[name].load_from_checkpoint(path, weights_only=True)
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
def test_the_description_is_that_of_the_class(name, checkpoint_of):
    found = load(checkpoint_of(name))
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


def test_crosses_are_shown_with_their_members(deepfm):
    found = {inspected.field.name: inspected.crosses for inspected in load(deepfm).fields}
    assert found.pop("[red]c0[/red] x <b>c1</b>") == ("[red]c0[/red]", "<b>c1</b>")
    assert set(found.values()) == {()}


def test_experts_are_shown_with_their_fields(checkpoint_of):
    found = load(checkpoint_of("InterpretableMLP")).architecture
    few, every = found.experts
    assert (few.name, few.fields, few.inside) == ("few", ("n0",), ())
    assert (every.fields, every.inside) == (tuple(f.name for f in ROWS.fields), ("few",))


def test_the_metric_at_save_is_that_of_the_callback(checkpoint_of):
    path = checkpoint_of("DeepFM")
    (monitor,) = load(path).training.monitors
    content = torch.load(path, weights_only=True)
    (state,) = content["callbacks"].values()
    assert monitor.name == "val/logloss"
    assert monitor.value == pytest.approx(state["current_score"].item())
    assert load(path).training.learning_rate == small("DeepFM").learning_rate


def test_the_run_directory_is_read(copy_of, tmp_path):
    run = tmp_path / "run"
    path = copy_of("DeepFM", "run/checkpoints/best.ckpt")
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


HEAVY = (
    "pytorch_lightning lightning_fabric torchmetrics scipy sympy pyarrow plotly deepctr_torch "
    "zoo.ctr zoo.experts zoo.glider zoo.models.base"
)


@pytest.fixture(scope="module")
def process(checkpoint_of, tmp_path_factory):
    """A process that inspects every model into files, then prints the JSON of one."""
    folder = tmp_path_factory.mktemp("process")
    files = {name: str(checkpoint_of(name)) for name in MODELS}
    code = f"""
import contextlib, runpy, sys
def inspect(*arguments):
    sys.argv = ["train.py", "inspect", *arguments]
    runpy.run_path("train.py", run_name="__main__")
for name, file in {files!r}.items():
    for more in ("", "--json"):
        with open({str(folder)!r} + "/" + name + more, "w") as printed:
            with contextlib.redirect_stdout(printed):
                inspect(file, *more.split())
inspect({files["DeepFM"]!r}, "--json")
print([name for name in {HEAVY!r}.split() if name in sys.modules], file=sys.stderr)
"""
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, cwd=ROOT)
    return done, folder


def test_a_file_alone_is_inspected_without_waiting_for_what_it_does_not_need(process):
    done, folder = process
    assert (done.returncode, done.stderr) == (0, "[]\n")
    for name in MODELS:
        assert f"\n{name}: " in (folder / name).read_text()
        found = json.loads((folder / f"{name}--json").read_text())
        assert found["architecture"]["model"] == name


def test_the_command_line_prints_json_alone(process):
    done, _ = process
    assert json.loads(done.stdout)["architecture"]["model"] == "DeepFM"


def test_a_checkpoint_of_version_0_1_0_says_the_same(copy_of):
    for name in MODELS:
        path = copy_of(name)
        described = load(path).to_dict()
        assert load(changed(path, lambda c: c.pop("description"))).to_dict() == {
            **described,
            "bytes": path.stat().st_size,
        }


# models of others


def test_a_model_of_others_is_inspected_without_its_package(deepfm):
    path = changed(deepfm, lambda c: c.update(model_class="nowhere_to_import.models.Mine"))
    found = load(path)
    assert found.architecture.model == "nowhere_to_import.models.Mine"
    assert "nowhere_to_import.models.Mine: Factorisation machine" in shown(found)
    assert len(found.effects.linear) == 20


def test_the_run_of_a_model_of_others_is_read(copy_of, tmp_path):
    path = copy_of("DeepFM", "run/checkpoints/best.ckpt")
    changed(path, lambda c: c.update(model_class="mine.models.Mine"))
    (tmp_path / "run/config.yaml").write_text("model: {class_path: mine.Mine}")
    assert load(path).run.folder == str(tmp_path / "run")
