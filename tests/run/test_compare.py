"""`compare`: fits of generated rows side by side, and what is said of noise and of mistakes."""

import json
import shutil
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
import yaml
from sklearn.metrics import roc_auc_score
from support.browsing import browse, needs_browser
from support.fitting import fit, scored_test_split
from support.running import command, error_of

from datamodules.synthetic.clicks import PlantedClicks
from zoo.inspect.runs.compared import same_rows
from zoo.inspect.runs.rows import Rows
from zoo.inspect.runs.words import sentences
from zoo.run import run_scores


@pytest.fixture(scope="module")
def three(tmp_path_factory, fitted_once, criteo_file):
    """A folder with the runs of two seeds of one config, and one that has hardly learned."""
    folder = tmp_path_factory.mktemp("three")
    shutil.copytree(fitted_once / "prepared", folder / "prepared")
    shutil.copytree(fitted_once / "runs", folder / "runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        fit(criteo_file, "--trainer.max_epochs=2", "--seed_everything=1")
        fit(criteo_file, "--trainer.max_epochs=1", "--model.learning_rate=0.0001", "--name=slow")
    return folder


@pytest.fixture
def runs(three, tmp_path, monkeypatch):
    """The current folder, with copies of the runs."""
    shutil.copytree(three, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def compared(capsys, *arguments):
    capsys.readouterr()
    command("compare", *arguments, "--json")
    return json.loads(capsys.readouterr().out)


def scores_of(*folders):
    return {str(f): np.load(next(Path(f).glob("scores/test-*.npy"))) for f in folders}


def test_two_seeds_and_another_config(runs, capsys, criteo_file):
    found = compared(capsys, "runs", "--html=page.html")
    assert found["split"] == "test"
    names = ["slow/version_0", "t/version_0", "t/version_1"]
    assert [run["name"] for run in found["runs"]] == names
    assert found["settings"] == {
        "seed_everything": [0, 0, 1],
        "trainer.max_epochs": [1, 2, 2],
        "model.learning_rate": [0.0001, 0.01, 0.01],
    }
    (part,) = found["rows"]
    assert (part["unit"], part["metric"], part["best"]) == (
        "row",
        "logloss",
        "t/version_0 (2 seeds)",
    )
    for run in found["runs"]:
        recorded = json.loads(Path(run["folder"], "metrics.json").read_text())
        assert run["metrics"]["samples_per_second"] == recorded["samples_per_second"] > 0
        for name in ("auc", "logloss"):
            value = part["metrics"][name][run["name"]]
            assert value["value"] == pytest.approx(recorded[f"test/{name}"], abs=1e-6)
            assert value["low"] < value["value"] < value["high"]
    arrays, p = scored_test_split(Path("runs/t/version_0"), criteo_file)
    auc = part["metrics"]["auc"]["t/version_0"]["value"]
    assert auc == pytest.approx(roc_auc_score(arrays.label, p), abs=1e-6)
    assert [config["runs"] for config in part["configs"]] == [names[:1], names[1:]]
    assert not any(pair["is_noise"] for pair in part["pairs"])
    better, seeds = found["sentences"]
    assert better.startswith("t/version_0 (2 seeds) is better than slow/version_0: logloss -0.")
    assert better.endswith("more than the noise of rows and seeds")
    assert seeds.startswith("no difference between t/version_0 and t/version_1 but that of their")
    page = Path("page.html").read_text()
    assert better.replace("<", "&lt;") in page
    assert 'src="http' not in page


@needs_browser
def test_the_page_fits_a_phone(runs, tmp_path):
    command("compare", "runs", "--html=page.html")
    seen = browse(Path("page.html").read_text(), 390, tmp_path)
    assert seen["title"] == "3 runs compared"
    assert seen["plots"] == [1]


def test_draws_of_two_seeds_show_no_difference_and_a_planted_one(runs, capsys, criteo_file):
    compared(capsys, "runs/t", "runs/slow")
    kept = scores_of("runs/t/version_0", "runs/t/version_1", "runs/slow/version_0")
    labels = scored_test_split(Path("runs/t/version_0"), criteo_file)[0].label
    random, told = np.random.default_rng(0), {"seeds": 0, "planted": 0}
    for _ in range(100):
        chosen = random.integers(len(labels), size=len(labels))
        logits = {name: torch.from_numpy(of[chosen]) for name, of in kept.items()}
        rows = Rows(torch.from_numpy(np.array(labels[chosen], np.float32)))
        better, seeds = sentences(same_rows(rows, logits, [[0, 1], [2]], draws=100))
        told["planted"] += " is better than runs/slow/version_0: " in better
        told["seeds"] += seeds.startswith("no difference between ")
    assert told["seeds"] >= 90, told
    assert told["planted"] >= 90, told


def test_scores_are_kept_beside_the_run_and_never_stale(runs, capsys, tmp_path):
    run = Path("runs/t/version_0")
    with mock.patch.object(run_scores, "score_rows", wraps=run_scores.score_rows) as work:

        def measured(*arguments):
            work.reset_mock()
            (part,) = compared(capsys, run, *arguments)["rows"]
            return work.call_count, part["metrics"]["auc"]["t/version_0"]["value"]

        first = measured()
        assert first[0] == 1
        assert measured() == (0, first[1])
        assert measured("--fresh") == first
        (file,) = run.glob("scores/*.npy")
        file.write_bytes(file.read_bytes()[:-4])
        assert measured() == first
        PlantedClicks(rows=900, seed=5).write(tmp_path / "new.txt")
        of_file = ("--split=predict", f"--data.predict_path={tmp_path / 'new.txt'}")
        assert measured(*of_file)[0] == 1
        PlantedClicks(rows=800, seed=6).write(tmp_path / "new.txt")
        assert measured(*of_file)[0] == 1
        assert measured(*of_file)[0] == 0
        assert measured() == (0, first[1])
        content = torch.load(run / "checkpoints/best.ckpt", weights_only=True)
        content["state_dict"]["bias"] += 0.5
        content["state_dict"]["embedding.table"] *= 0.5
        torch.save(content, run / "checkpoints/best.ckpt")
        changed = measured()
        assert changed[0] == 1
        assert changed[1] != first[1]
        assert len([*run.glob("scores/*.npy")]) == 2  # one of each split


def test_runs_of_other_rows_are_shown_without_a_test(runs, capsys):
    config = Path("runs/slow/version_0/config.yaml")
    content = yaml.safe_load(config.read_text())
    content["data"]["init_args"]["split_ratio"] = [7, 1, 2]
    config.write_text(yaml.safe_dump(content))
    found = compared(capsys, "runs")
    assert [part["runs"] for part in found["rows"]] == [
        ["slow/version_0"],
        ["t/version_0", "t/version_1"],
    ]
    assert found["rows"][0]["pairs"] == found["rows"][0]["seeds"] == []
    (note,) = found["notes"]
    assert note.startswith(
        "not all runs were scored on the same rows, and no test pairs other rows"
    )
    rows = [part["rows"] for part in found["rows"]]
    assert (
        f"slow/version_0 on {rows[0]:,} rows; t/version_0, t/version_1 on {rows[1]:,} rows" in note
    )
    assert "the configs" not in " ".join(found["sentences"])


def test_what_the_runs_recorded_needs_no_data(runs, capsys):
    shutil.rmtree("prepared")
    Path("runs/notes.txt").write_text("mine")
    Path("runs/failed/version_0").mkdir(parents=True)
    command("compare", *sorted(Path("runs").iterdir()), "--split=none")
    shown = " ".join(capsys.readouterr().out.split())
    assert "test/auc" in shown
    assert "warning: runs/failed is left out: there is no checkpoints/best.ckpt in it" in shown
    assert "runs/notes.txt is left out" in shown
    last = compared(
        capsys, "runs/t/version_0", "runs/t/version_0/checkpoints/last.ckpt", "--split=none"
    )
    assert [run["name"] for run in last["runs"]] == ["t/version_0", "t/version_0/last"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "no such run: nowhere"),
        (["prepared"], "no run with a checkpoint in prepared: name run directories"),
        (["runs", "--metric=f1"], "--metric: there is no f1 of these rows; there are logloss, auc"),
        (["runs", "--split=none", "--data.path=x"], "--data.path=x changes data, of which"),
        (["runs", "--data.pth", "x"], "unknown option data.pth; did you mean data.path?"),
        (["runs", "--split=predict"], "--split predict scores a file: give --data.predict_path"),
        (["runs", "--html=no/page.html"], "--html: there is no folder"),
        (["runs", "--level=1.5"], "level"),
        (["runs", "--spilt=val"], "unknown option spilt; did you mean split?"),
    ],
)
def test_mistakes_are_named(runs, arguments, message):
    assert message in error_of("compare", *arguments)


def test_a_run_that_cannot_be_scored_is_named(runs, criteo_file):
    shutil.rmtree("prepared")
    said = error_of("compare", "runs/slow", "--data.path=gone.txt")
    assert said.startswith("error: slow/version_0 cannot be scored: no such file: gone.txt")
    Path("runs/slow/version_0/config.yaml").unlink()
    assert "has no config.yaml, which names its data: use --split none" in error_of(
        "compare", "runs"
    )
