"""A run directory with planted code, opened by every command: nothing of it is run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from support.running import QUIET, ROOT, command, error_of

from zoo import ZooError
from zoo.models.installed import installed_packages, is_installed
from zoo.models.registry import model_class
from zoo.run.inspect import data_of

COMMANDS = ("fit", "validate", "test", "predict", "prepare", "detect", "explain", "inspect")
# Each planted module leaves a mark, and would do as whatever a config names
CODE = """
import os, pathlib
pathlib.Path(os.environ["MARK"]).touch()
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.profilers import Profiler
from pytorch_lightning.strategies import SingleDeviceStrategy
from datamodules import Criteo
from zoo import DeepFM
class Data(Criteo): pass
class Model(DeepFM): pass
class Called(Callback): pass
class Logger(CSVLogger): pass
class Watch(Profiler): pass
class Strategy(SingleDeviceStrategy): pass
def function(*args): pass
"""
MINE = "from datamodules import Criteo\nclass Mine(Criteo):\n    dataset = 'Criteo'\n"
EVIL = "runs.t.version_0.evil"


@pytest.fixture
def planted(run, monkeypatch, tmp_path_factory):
    """A run directory full of code, in a current folder that is on Python's path."""
    mark = tmp_path_factory.mktemp("mark") / "ran"
    monkeypatch.setenv("MARK", str(mark))
    for folder in (run.parent.parent, run.parent, run, run / "checkpoints"):
        (folder / "__init__.py").write_text(CODE)
    for name in ("evil", "sitecustomize", "conftest", "this", "own", "lightning"):
        (run / f"{name}.py").write_text(CODE)
    info = run / "evil-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: runs\nVersion: 1.0\n")
    (info / "top_level.txt").write_text("runs\n")
    point = f"[interpretable_zoo.datamodules]\nEvil = {EVIL}:Data\n"
    (info / "entry_points.txt").write_text(point)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((os.getcwd(), str(run.absolute()))))
    for place in (run.absolute(), Path.cwd()):
        monkeypatch.syspath_prepend(str(place))
    loaded = {*sys.modules}
    yield run
    assert not mark.exists()
    assert not [name for name in {*sys.modules} - loaded if name.startswith(("runs", "evil"))]


def changed(run, change):
    """The run's config, changed."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    change(config)
    (run / "config.yaml").write_text(yaml.safe_dump(config))


def line(name, run, criteo_file):
    """Arguments of a command on a run."""
    checkpoint, config = run / "checkpoints/best.ckpt", ["--config", run / "config.yaml"]
    if name == "inspect":
        return [name, checkpoint, *config, "--sample=0"]
    more = {
        "fit": ["--trainer.max_epochs=3"],
        "predict": [f"--data.predict_path={criteo_file}"],
        "detect": ["--instances=1"],
        "explain": ["--row=0"],
    }
    return [name, *config, f"--ckpt_path={checkpoint}", *QUIET, *more.get(name, [])]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_config_that_names_planted_data(name, planted, criteo_file):
    changed(planted, lambda c: c["data"].update(class_path=f"{EVIL}.Data"))
    message = error_of(*line(name, planted, criteo_file))
    assert f"config.yaml: data names {EVIL}.Data, which is not imported: its mod" in message
    assert f"name it on the command line (--data={EVIL}.Data)" in message


def trainer(option, value):
    return lambda config: config["trainer"].update({option: value})


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c["model"].update(class_path=f"{EVIL}.Model"),
        lambda c: c["model"].update(class_path="this.X"),
        lambda c: c["model"].update(class_path="evil.Model"),
        lambda c: c["model"].update(class_path="lightning.Model"),
        lambda c: c.update(model=f"{EVIL}.Model"),
        lambda c: c.update(data="data.yaml"),
        trainer("callbacks", [{"class_path": f"{EVIL}.Called"}]),
        trainer("callbacks", [f"{EVIL}.Called"]),
        trainer("callbacks", f"{EVIL}.Called"),
        trainer("logger", {"class_path": f"{EVIL}.Logger", "init_args": {"save_dir": "."}}),
        trainer("profiler", {"class_path": f"{EVIL}.Watch"}),
        trainer("strategy", {"class_path": f"{EVIL}.Strategy"}),
        trainer("plugins", [f"{EVIL}.Called"]),
        trainer(
            "callbacks",
            [
                {
                    "class_path": "pytorch_lightning.callbacks.LambdaCallback",
                    "init_args": {"on_test_start": f"{EVIL}.function"},
                }
            ],
        ),
        trainer(
            "callbacks",
            [
                {
                    "class_path": "pytorch_lightning.callbacks.LambdaCallback",
                    "init_args": {"on_test_start": "os.system"},
                }
            ],
        ),
    ],
)
def test_whatever_else_names_a_module(change, planted, criteo_file):
    (planted / "data.yaml").write_text(f"class_path: {EVIL}.Data\n")
    changed(planted, change)
    assert "which is not imported" in error_of(*line("validate", planted, criteo_file))


@pytest.mark.parametrize(
    "change",
    [
        trainer("strategy", f"{EVIL}.Strategy"),
        lambda c: c["data"].update(class_path="${name}", init_args={}) or c.update(name="this.X"),
    ],
)
def test_names_that_are_looked_up_elsewhere(change, planted, criteo_file):
    changed(planted, change)
    with pytest.raises((SystemExit, ValueError)):
        command(*line("validate", planted, criteo_file))


def test_a_class_of_another_kind_is_not_called(planted, criteo_file):
    changed(planted, lambda c: c["data"].update(class_path="pandas.DataFrame", init_args={}))
    message = error_of(*line("validate", planted, criteo_file))
    assert message == "error: data: pandas.DataFrame is not a subclass of zoo.ZooDataModule"


@pytest.mark.parametrize("name", COMMANDS)
def test_a_run_beside_planted_code(name, planted, criteo_file, capsys):
    (planted / "hparams.yaml").write_text(f"_class_path: {EVIL}.Model\n")
    command(*line(name, planted, criteo_file))


@pytest.mark.parametrize("named", [f"{EVIL}.Model", "evil.Model", "own.Model"])
def test_a_checkpoint_that_names_planted_code(named, planted, criteo_file, capsys):
    path = planted / "checkpoints/best.ckpt"
    content = torch.load(path, weights_only=True)
    torch.save({**content, "model_class": named}, path)
    assert "whose module is not installed" in error_of(*line("inspect", planted, criteo_file))
    assert named in error_of(*line("validate", planted, criteo_file))
    command("inspect", path)
    del content["description"]
    torch.save({**content, "model_class": named}, path)
    assert "whose module is not installed" in error_of("inspect", path)


@pytest.mark.parametrize("option", ["optimizer", "lr_scheduler"])
@pytest.mark.parametrize("name", [f"{EVIL}.Model", "evil.Model"])
def test_a_config_that_names_a_planted_optimizer(option, name, planted, criteo_file, capsys):
    changed(planted, lambda c: c["model"]["init_args"].update({option: {"class_path": name}}))
    message = error_of(*line("fit", planted, criteo_file))
    assert f"model.{option} names {name}, whose module is not installed" in message
    command(*line("validate", planted, criteo_file))  # which trains nothing


def test_a_checkpoint_among_several_names_no_module(planted, criteo_file):
    changed(planted, lambda config: config["data"].update(class_path="evil.Data"))
    message = error_of(*line("detect", planted, criteo_file), "--also=[evil.ckpt]")
    assert "names evil.Data, which is not imported" in message


def test_a_checkpoint_that_names_what_builds_it(planted, criteo_file):
    path = planted / "checkpoints/best.ckpt"
    content = torch.load(path, weights_only=True)
    content["hyper_parameters"] |= {"_instantiator": f"{EVIL}.function"}
    torch.save(content, path)
    assert f"names code: {EVIL}.function" in error_of(*line("inspect", planted, criteo_file))


def test_in_a_notebook(planted):
    changed(planted, lambda c: c["data"].update(class_path=f"{EVIL}.Data"))
    with pytest.raises(ZooError, match=f"data names {EVIL}.Data, which is not imported"):
        data_of(planted / "config.yaml")


# What the user names is imported


def test_the_command_line_names_a_module(run, criteo_file, monkeypatch, capsys):
    Path("mine_alone.py").write_text(MINE)
    monkeypatch.syspath_prepend(".")
    changed(run, lambda c: c["data"].update(class_path="mine_alone.Mine"))
    assert "--data=mine_alone.Mine" in error_of(*line("validate", run, criteo_file))
    command(*line("validate", run, criteo_file), "--data=mine_alone.Mine")


def test_python_path_names_a_folder(run, criteo_file, monkeypatch, tmp_path_factory, capsys):
    folder = tmp_path_factory.mktemp("mine")
    (folder / "mine_in_path.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    changed(run, lambda c: c["data"].update(class_path="mine_in_path.Mine"))
    command(*line("validate", run, criteo_file))


def test_yaml_on_the_command_line_is_the_users(run, criteo_file, monkeypatch, capsys):
    Path("mine_inline.py").write_text(MINE)
    monkeypatch.syspath_prepend(".")
    path = criteo_file
    inline = f"{{class_path: mine_inline.Mine, init_args: {{path: {path}, scaling: log}}}}"
    command(*line("validate", run, criteo_file), f"--data={inline}")


@pytest.mark.parametrize(
    ("module", "installed"),
    [
        ("torch.nn", True),
        ("pandas", True),
        ("zoo.models", True),
        ("datamodules", True),
        ("runs.t.version_0.evil", False),
        ("os", False),
        ("antigravity", False),
        ("nowhere", False),
    ],
)
def test_what_is_installed(module, installed, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    assert is_installed(module) is installed


def test_an_editable_package_is_installed_and_runs_beside_it_are_not(tmp_path, monkeypatch):
    site, project = tmp_path / "site", tmp_path / "project"
    for folder in (site / "mine-1.0.dist-info", project / "mine", project / "runs/a/version_0"):
        folder.mkdir(parents=True)
    info = site / "mine-1.0.dist-info"
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    origin = f'{{"dir_info": {{"editable": true}}, "url": "file://{project}"}}'
    (info / "direct_url.json").write_text(origin)
    monkeypatch.setattr(sys, "path", [*sys.path, str(site), str(project)])
    monkeypatch.chdir(project)
    run = project / "runs/a/version_0"
    assert is_installed("mine.models", [run])
    assert not is_installed("runs.a.version_0.evil", [run])
    assert not is_installed("runs.a.version_0.evil")
    with pytest.raises(ZooError, match="not installed"):
        model_class("runs.a.version_0.evil.Mine", [run])


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize("name", ["../../../x", "..", "a/b", "/tmp/x", "a\\b", ""])
def test_a_run_stays_in_its_folder(name, tmp_path):
    given = ["--model=DeepFM", "--data=GaussianClusters", f"--name={name}"]
    assert f"name: {name!r} is no name of a folder" in error_of("fit", *given)
    assert not [*tmp_path.rglob("version_*")]


def test_a_checkout_that_is_not_installed_may_name_its_own_datasets():
    code = (
        "import sys; from zoo.models.installed import is_installed; "
        "sys.exit(not is_installed('datamodules.Criteo'))"
    )
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, check=True)


def test_the_own_packages_are_installed_whatever_an_installer_says(monkeypatch):
    """An editable installation lists a .pth file, and none of its modules."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setattr("zoo.models.installed._claims", lambda path: {})
    assert {"zoo", "datamodules"} <= installed_packages()
