"""Unusual files that `inspect` is handed, and what a checkpoint says of itself."""

import json
import os
import subprocess
import sys

import pytest
import pytorch_lightning as pl
import torch
from support.inspection import changed, command, lightning_warnings, refusal, shown
from support.running import ROOT
from support.small_checkpoints import fitted, small

from zoo.inspect import load

pytestmark = lightning_warnings


@pytest.fixture
def deepfm(checkpoint_of):
    """A checkpoint that no test may change."""
    return checkpoint_of("DeepFM")


@pytest.fixture
def copy(copy_of):
    """A checkpoint that a test may change."""
    return copy_of("DeepFM", "copy.ckpt")


def foreign(path, state):
    """A checkpoint of another project."""
    torch.save({"state_dict": state}, path)
    return path


def test_a_checkpoint_says_how_good_it_is_and_what_wrote_it(tmp_path):
    found = load(fitted(small("DeepFM"), tmp_path / "model.ckpt", epochs=1))
    (monitor,) = found.training.monitors
    assert found.training.metrics["val/logloss"] == pytest.approx(monitor.value)
    assert 0 <= found.training.metrics["val/auc"] <= 1
    versions = found.training.versions
    assert versions["torch"] == torch.__version__
    assert versions["pytorch-lightning"] == pl.__version__
    assert "metrics at save" in shown(found)


def test_metrics_that_are_no_numbers_are_left_out(copy):
    changed(
        copy, lambda c: c.update(metrics={"val/auc": float("nan"), "val/logloss": 0.5, "x": "y"})
    )
    assert load(copy).training.metrics == {"val/logloss": 0.5}
    changed(copy, lambda c: (c.pop("metrics"), c.pop("versions")))
    assert load(copy).training.metrics == {}
    assert list(load(copy).training.versions) == ["pytorch-lightning"]


def test_metrics_without_the_config_of_a_run_are_not_the_runs(deepfm, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    path = tmp_path / "checkpoints/best.ckpt"
    path.write_bytes(deepfm.read_bytes())
    (tmp_path / "metrics.json").write_text('{"accuracy": 0.99}')
    assert load(path).run is None


def test_torchs_older_format_is_read(deepfm, tmp_path):
    content = torch.load(deepfm, weights_only=True)
    torch.save(content, tmp_path / "old.ckpt", _use_new_zipfile_serialization=False)
    assert load(tmp_path / "old.ckpt").parts == load(deepfm).parts


def test_weights_of_eight_bits_are_measured(tmp_path):
    weights = torch.tensor([1.0, -2.0, torch.nan]).to(torch.float8_e4m3fn)
    (part,) = load(foreign(tmp_path / "small.ckpt", {"a.weight": weights})).parts.values()
    assert (part.parameters, part.largest, part.not_finite) == (3, 2.0, 1)


def test_what_is_no_named_weight_is_left_out(tmp_path):
    state = {"a": torch.ones(2), 5: torch.ones(3), "meta": torch.ones(4, device="meta")}
    assert load(foreign(tmp_path / "odd.ckpt", state)).parameters == 2


@pytest.mark.parametrize("key", ["name", "group", "cardinality"])
def test_a_field_of_a_schema_that_is_no_text(key, copy):
    def spoil(content):
        content["hyper_parameters"]["schema"]["fields"][1][key] = torch.ones(2)

    assert str(copy) in refusal(changed(copy, spoil))


def test_output_that_nobody_reads_to_its_end(deepfm):
    code = (
        "import sys, train\n"
        f"sys.argv = ['train.py', 'inspect', {str(deepfm)!r}, '--json']\n"
        "train.main()"
    )
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.parametrize("option", ["--split=test", "--sample=5", "--by=c0"])
def test_options_of_data_need_data(option, deepfm):
    message = refusal(deepfm, option)
    name = option.partition("=")[0]
    assert f"{name} needs data: give --config RUN/config.yaml, or --data" in message


def test_data_options_need_a_class(deepfm):
    assert "give --config RUN/config.yaml, or --data CLASS" in refusal(deepfm, "--data.path=x")


def test_a_pipe_is_wide(deepfm, capsys):
    capsys.readouterr()
    command(deepfm)
    assert 80 < max(map(len, capsys.readouterr().out.splitlines())) <= 120


def test_json_holds_the_metrics(deepfm, capsys):
    capsys.readouterr()
    command(deepfm, "--json")
    training = json.loads(capsys.readouterr().out)["training"]
    assert training["metrics"] == load(deepfm).training.metrics
