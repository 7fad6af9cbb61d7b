"""Subsets on the command line: proposed from a file, or learned by the command subsets."""

import json
from functools import partial

import pytest
import yaml
from support.running import QUIET, SMALL, command, error_of
from support.tables import table, write

from zoo import InterpretableMLP
from zoo.experts import masked

SHORT = ["--trainer.max_epochs=1", "--trainer.limit_test_batches=1", *SMALL, *QUIET]
FIELDS = [
    {"name": "price", "kind": "numerical", "transform": "log", "group": "item"},
    {"name": "item", "kind": "categorical", "group": "item"},
    {"name": "age", "kind": "numerical", "transform": "standardise", "group": "user"},
    {"name": "user", "kind": "categorical", "group": "user"},
    {"name": "stock", "kind": "categorical", "group": "item"},
]
FILE = {"format": 1, "interactions": [{"fields": ["price", "stock"]}, {"fields": ["age", "item"]}]}
NAMED = {"item": ["item"], "all": ["*"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of a table, its config and a file of interactions."""
    made = tmp_path_factory.mktemp("subsets")
    write(table(), made / "clicks.parquet")
    data = {"path": "clicks.parquet", "label": "click", "time": "ts", "fields": FIELDS}
    config = {
        "model": {"class_path": "zoo.DeepFM"},
        "data": {"class_path": "datamodules.Table", "init_args": data},
    }
    (made / "mine.yaml").write_text(yaml.safe_dump(config))
    return made


@pytest.fixture
def place(folder, monkeypatch):
    """The folder, to work in, with quick networks."""
    monkeypatch.chdir(folder)
    (folder / "interactions.json").write_text(json.dumps(FILE))
    quick = partial(masked.NetworkConfig, steps=20)
    monkeypatch.setattr(masked, "NetworkConfig", quick)
    return folder


def test_a_run_needs_the_file_no_more(place):
    model = ["--model=zoo.InterpretableMLP", "--model.subsets={from: interactions.json, size: 3}"]
    command("fit", "--config=mine.yaml", *model, "--name=t", *SHORT)
    run = place / "runs/t/version_0"
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["model"]["init_args"]["subsets"] == NAMED
    (place / "interactions.json").unlink()
    last = f"--ckpt_path={run / 'checkpoints/last.ckpt'}"
    command("fit", "--config", run / "config.yaml", last, "--trainer.max_epochs=2", *QUIET)
    again = place / "runs/t/version_1/checkpoints/last.ckpt"
    model = InterpretableMLP.load_from_checkpoint(again, weights_only=True)
    assert model.lattice.names == ("item", "all")


@pytest.mark.parametrize(
    ("message", "given"),
    [
        ("cannot read none.json (model.subsets.from): No such file", "{from: none.json}"),
        ("model.subsets: unknown key sise, got {'from': ", "{from: interactions.json, sise: 4}"),
        ("model.subsets: it has no from, got {'form': ", "{form: interactions.json}"),
    ],
)
def test_a_mistake_is_one_sentence(message, given, place):
    model = ["--model=zoo.InterpretableMLP", f"--model.subsets={given}"]
    assert message in error_of("fit", "--config=mine.yaml", *model, *SHORT)


def test_learned_subsets_are_a_config_for_fit(place, capsys):
    learn = ["subsets", "--config=mine.yaml", "--tolerance=10", "--epochs=2", *QUIET]
    command(*learn)
    out = capsys.readouterr().out
    assert "subsets that save fields" in out
    text = (place / "subsets.yaml").read_text()
    assert text.startswith("# learned from ")
    found = yaml.safe_load(text)["model"]
    assert found["class_path"] == "zoo.InterpretableMLP"
    # of so much tolerance the smallest group
    assert found["init_args"]["subsets"] == {"user": ["user"], "all": ["*"]}
    command("fit", "--config=mine.yaml", "--config=subsets.yaml", "--name=l", *SHORT)
    metrics = json.loads((place / "runs/l/version_0/metrics.json").read_text())
    assert metrics["val/attribution/user"] + metrics["val/attribution/all"] == pytest.approx(1)
    (place / "subsets.yaml").unlink()


@pytest.mark.parametrize(
    ("message", "option"),
    [
        ("rows must be at least 20, got 3", "--rows=3"),
        ("output: a.json must name a file such as subsets.yaml", "--output=a.json"),
        ("no subset is sufficient within 1e-09 nats", "--tolerance=1e-9"),
        ("unknown option tolerence; did you mean tolerance?", "--tolerence=1"),
    ],
)
def test_what_cannot_be_learned_is_one_sentence(message, option, place):
    found = error_of("subsets", "--config=mine.yaml", "--epochs=1", option, *QUIET)
    assert message in found
    assert not (place / "subsets.yaml").exists()
