"""The command gains, and `data.crosses` of what pays."""

import json

import pytest
from support.running import QUIET, SMALL, command, error_of

from zoo import WideDeep

FILE = [["C9", "C17"], ["C6", "C23"], ["C20", "C23"], ["C22", "C23"], ["C9", "C17", "C20"]]
PLANTED = [["C9", "C17"], ["C20", "C23"]]
SHORT = ["--trainer.max_steps=1", "--trainer.limit_val_batches=1", "--trainer.limit_test_batches=1"]


@pytest.fixture(scope="module")
def places(tmp_path_factory, criteo_file):
    """A folder of a run, of a file of interactions, and of its gains."""
    folder = tmp_path_factory.mktemp("gains")
    found = [{"fields": fields, "count": 9 - i} for i, fields in enumerate(FILE)]
    content = {"format": 1, "model": "DeepFM", "interactions": found}
    (folder / "interactions.json").write_text(json.dumps(content))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        fit(criteo_file)
        command("gains", *run_of(0), "--output=gains.json", *QUIET)
    return folder


def fit(rows, *options):
    data = ["--data=datamodules.Criteo", f"--data.path={rows}", *options]
    command("fit", "--model=zoo.WideDeep", *data, *SMALL, *SHORT, "--name=t", *QUIET)


def run_of(version):
    return "--config", f"runs/t/version_{version}/config.yaml"


def crosses_of(version):
    model = WideDeep.load_from_checkpoint(f"runs/t/version_{version}/checkpoints/best.ckpt")
    return [field.name for field in model.schema.fields if " x " in field.name]


def test_gains_are_measured(places):
    content = json.loads((places / "gains.json").read_text())
    rows = content["interactions"]
    assert [row["fields"] for row in rows] == FILE
    assert [row["count"] for row in rows] == [9, 8, 7, 6, 5]
    assert [row["fields"] for row in rows if row["pays"]] == PLANTED
    assert all(row["gain"] > 2 * row["gain_error"] > 0 for row in rows if row["pays"])
    gains = content["gains"]
    assert gains["rows"]["train"] > 7 * gains["rows"]["val"] > 10_000
    assert gains["logloss_with_crosses"] < gains["logloss"] - 0.01
    assert len(gains["data"]["train"]) == len(gains["data"]["val"]) == 64


def test_gains_are_the_same_again_and_in_place(places, monkeypatch, capsys):
    monkeypatch.chdir(places)
    before = (places / "gains.json").read_text()
    command("gains", *run_of(0), "--interactions=gains.json", *QUIET)
    assert (places / "gains.json").read_text() == before
    out = capsys.readouterr().out
    assert "2 of 5 pay; logloss of" in out
    assert "no gain: C6 x C23, C22 x C23, C9 x C17 x C20" in out


def test_a_model_gets_the_crosses_that_pay(places, criteo_file, monkeypatch, capsys):
    monkeypatch.chdir(places)
    fit(criteo_file, "--data.crosses=gains.json")
    assert crosses_of(1) == ["C9 x C17", "C20 x C23"]
    err = capsys.readouterr().err
    assert (
        "gains.json: 2 of 5 cross fields pay; left out, unless data.cross_all is true: "
        "C6 x C23, C22 x C23, C9 x C17 x C20\n"
    ) in err
    assert "other rows" not in err
    fit(criteo_file, "--data.crosses=gains.json", "--data.cross_all=true", "--data.top_k=3")
    assert crosses_of(2) == [" x ".join(fields) for fields in FILE[:3]]
    assert "pay" not in capsys.readouterr().err


def test_gains_of_other_rows_are_named(places, criteo_file, monkeypatch, capsys):
    monkeypatch.chdir(places)
    command(
        *("prepare", "--model=zoo.WideDeep", "--data=datamodules.Criteo", "--data.split_seed=1"),
        *(f"--data.path={criteo_file}", "--data.crosses=gains.json", *QUIET),
    )
    assert (
        "gains.json: its gains were measured on other rows than these: measure them again with the "
        "command gains, or set data.cross_all to true\n"
    ) in capsys.readouterr().err


def test_gains_beyond_a_model(places, monkeypatch):
    """A model of one step has learned nothing, so that the same crosses pay."""
    monkeypatch.chdir(places)
    command("gains", *run_of(0), "--beyond=model", "--output=beyond.json", *QUIET)
    content = json.loads((places / "beyond.json").read_text())
    assert content["gains"]["beyond"] == "model"
    assert [row["fields"] for row in content["interactions"] if row["pays"]] == PLANTED


def test_mistakes(places, monkeypatch):
    monkeypatch.chdir(places)
    (places / "other.json").write_text('{"format": 1, "interactions": [{"fields": ["a", "C1"]}]}')
    assert error_of("gains", *run_of(0), "--interactions=other.json", *QUIET) == (
        "error: other.json: interaction 1 names an unknown field: a; the file is of other data, or "
        "of crosses"
    )
    assert error_of("gains", *run_of(0), "--bins=[1]", *QUIET) == (
        "error: bins must be numbers from 2 on, got [1]"
    )
