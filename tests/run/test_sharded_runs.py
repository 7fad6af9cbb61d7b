"""Runs whose processes shared their tables, read and gone on from by others."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from support.inspection import lightning_warnings
from support.running import QUIET, ROOT, command, error_of

import zoo
from zoo.data.archive import check_archive
from zoo.data.shard_content import restored
from zoo.inspect import load
from zoo.inspect.checkpoint import read
from zoo.run.checkpoint import _copy
from zoo.run.checkpoint_io import AtomicCheckpointIO

pytestmark = [lightning_warnings, pytest.mark.filterwarnings("ignore:.*dirpath has changed")]
RUN = Path("runs/t/version_0")
BEST = RUN / "checkpoints/best.ckpt"
ALONE = ["--trainer.strategy=auto", "--trainer.devices=1", *QUIET]
SCORED = [f"--config={RUN}/config.yaml", *ALONE]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder of such runs; see the script."""
    folder = tmp_path_factory.mktemp("sharded")
    script = ROOT / "tests/support/sharded_runs.py"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, str(script)]
    done = subprocess.run(
        line, capture_output=True, text=True, timeout=600, env=environment, cwd=folder
    )
    assert done.returncode == 0, done.stderr[-5000:]
    return folder


@pytest.fixture(autouse=True)
def here(runs, monkeypatch):
    monkeypatch.chdir(runs)


def whole(path):
    return restored(read(path), path)


def last(version):
    return whole(Path(f"runs/t/version_{version}/checkpoints/last.ckpt"))


def numbers(content):
    return [content["state_dict"], *(s["state"] for s in content["optimizer_states"])]


def test_tables_lie_in_parts_beside_small_files():
    (table,) = read(BEST)["shards"]["tensors"].keys() & {"state_dict/embedding.table"}
    assert read(BEST)["state_dict"][table.partition("/")[2]].is_meta
    for checkpoint in (BEST, BEST.with_name("last.ckpt"), *Path("kept").glob("*.ckpt")):
        folder = checkpoint.parent / read(checkpoint)["shards"]["folder"]
        assert sorted(file.suffix for file in folder.iterdir()) == ["", *[".safetensors"] * 2]
    named = {
        read(path)["shards"]["folder"] for path in Path().rglob("*.ckpt") if "3" not in str(path)
    }
    assert {path.name for path in Path().rglob("*.shards")} == named  # nothing else is left


@pytest.mark.parametrize("version", [1, 2, 3])
def test_any_number_of_processes_goes_on_as_the_unbroken_run(version):
    found, expected = last(version), last(0)
    exact = {"rtol": 0, "atol": 0} if version == 2 else {"rtol": 1e-12, "atol": 1e-13}
    torch.testing.assert_close(numbers(found), numbers(expected), **exact)
    assert found["global_step"] == expected["global_step"] == 60
    assert found["state_dict"]["embedding.table"].dtype == torch.float64


def test_the_first_epochs_best_is_taken_along():
    """A checkpoint of parts is best until a later one is; its copy has parts of its own."""
    for version in (1, 2):
        best = Path(f"runs/t/version_{version}/checkpoints/best.ckpt")
        assert best.with_name(read(best)["shards"]["folder"]).is_dir()
    torch.testing.assert_close(whole(BEST)["state_dict"], whole(best)["state_dict"])


def test_one_process_and_two_predict_the_same():
    alone, two = (pd.read_parquet(f"scored_{processes}.parquet") for processes in (1, 2))
    assert alone.equals(two)
    assert len(alone) == 1200


def test_consolidated_it_is_what_one_process_would_have_saved(tmp_path, capsys):
    path, output = RUN / "checkpoints/last.ckpt", tmp_path / "whole.ckpt"
    command("consolidate", path, f"--output={output}")
    assert "whole.ckpt: 0.1 MB" in capsys.readouterr().out
    assert check_archive(output) is True  # may be mapped into memory
    found = torch.load(output, weights_only=True, mmap=True)
    plain = torch.load("runs/t/version_3/checkpoints/last.ckpt", weights_only=True)
    assert [*found] == [*plain]
    assert [*found["state_dict"]] == [*plain["state_dict"]]
    torch.testing.assert_close(numbers(found), numbers(plain), rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(numbers(found), numbers(last(0)), rtol=0, atol=0)
    assert error_of("consolidate", path, f"--output={output}") == (
        f"error: {output} (--output) exists: delete it, or name another file"
    )
    assert error_of("consolidate", output) == (
        f"error: {output} is one file already: its tables do not lie in parts"
    )


def test_consolidate_takes_a_run():
    command("consolidate", RUN)
    made = BEST.with_name("best.whole.ckpt")
    found, expected = zoo.DeepFM.load_from_checkpoint(made), zoo.DeepFM.load_from_checkpoint(BEST)
    made.unlink()
    assert torch.equal(found.embedding.table, expected.embedding.table)
    table = whole(BEST)["state_dict"]["embedding.table"]
    assert torch.equal(found.embedding.table, table.float())


def test_all_commands_read_it(tmp_path, capsys):
    metrics = zoo.load(RUN).metrics
    command("validate", *SCORED)
    assert f"{metrics['val/logloss']:.5f}"[:6] in capsys.readouterr().out
    output = tmp_path / "interactions.json"
    command("detect", *SCORED, "--instances=20", f"--output={output}")
    assert output.exists()
    command("explain", *SCORED, "--row=0")
    assert "logit" in capsys.readouterr().out


def test_it_is_inspected_as_one_file_is(tmp_path):
    plain = tmp_path / "plain.ckpt"
    command("consolidate", BEST, f"--output={plain}")
    beside = {"file": None, "bytes": None, "run": None, "warnings": None}
    found, expected = ({**load(path).to_dict(), **beside} for path in (BEST, plain))
    for shown in (found, expected):
        shown["effects"].pop("linear")  # which name values, by the run
    assert found == expected
    assert load(BEST).bytes > sum(f.stat().st_size for f in BEST.parent.glob("best-*/part*"))


def test_a_loaded_run_scores_as_predict_does():
    columns = zoo.load(RUN).data.table_columns()
    rows = pd.read_csv("train.txt", sep="\t", header=None, dtype=str)
    rows.columns = ["label", *columns]
    found = zoo.load(RUN).predict(rows)
    expected = pd.read_parquet("scored_1.parquet")["probability"]
    assert (found - expected).abs().max() < 1e-6


def test_warm_starts_take_its_rows(tmp_path):
    """By one process, and by two that share them: their steps are too small to change a number."""
    alone = ["--model.learning_rate=1e-30", f"--runs={tmp_path}", "--trainer.max_epochs=1"]
    command("fit", *SCORED, f"--warm_start={RUN}", *alone, "--trainer.callbacks=null")
    before = numbers(whole(BEST))
    for run in (tmp_path / "t", Path("runs/warm")):
        after = numbers(whole(run / "version_0/checkpoints/last.ckpt"))
        torch.testing.assert_close(after[0], before[0], rtol=0, atol=1e-20)
        assert (after[1][1]["sum"] >= before[1][1]["sum"]).all()  # of the table
        assert (after[1][1]["sum"] > before[1][1]["sum"]).any()


def test_a_copy_and_its_removal_take_the_parts_along(tmp_path):
    (tmp_path / "note.txt").write_text("no checkpoint")
    target = tmp_path / "best.ckpt"
    _copy(BEST, target)
    torch.testing.assert_close(numbers(whole(target)), numbers(whole(BEST)), rtol=0, atol=0)
    AtomicCheckpointIO().remove_checkpoint(target)
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]
    assert whole(BEST)


def test_a_plain_checkpoint_in_its_place_leaves_no_parts(tmp_path):
    target = tmp_path / "best.ckpt"
    _copy(BEST, target)
    AtomicCheckpointIO().save_checkpoint(whole(BEST), target)
    assert [path.name for path in tmp_path.iterdir()] == ["best.ckpt"]


def test_what_is_said_of_parts_that_are_missing(tmp_path):
    copied = tmp_path / "runs"
    shutil.copytree(RUN, copied / "t/version_0")
    best = copied / "t/version_0/checkpoints/best.ckpt"
    (folder,) = best.parent.glob(read(best)["shards"]["folder"])
    part = folder / "part-00001-of-00002.safetensors"
    part.unlink()
    said = f"{folder} is not whole: {part.name} is missing"
    config = ["--config", copied / "t/version_0/config.yaml", *ALONE]
    for subcommand in ("validate", "predict", "detect"):
        assert error_of(subcommand, *config) == f"error: {said}"
    assert error_of("inspect", best) == f"error: {said}"
    assert error_of("consolidate", best) == f"error: {said}"
    for read_by in (zoo.load, zoo.DeepFM.load_from_checkpoint):
        with pytest.raises(zoo.ZooError, match=re.escape(said)):
            read_by(best)


def test_content_without_its_path():
    content = torch.load(BEST, weights_only=True)
    model = zoo.DeepFM(**content["hyper_parameters"])
    with pytest.raises(zoo.ZooError, match="lie beside its file: load it by its path"):
        model.on_load_checkpoint(content)
