"""The command line: mistakes, damaged files, a full disk."""

import shutil
from pathlib import Path

import pytest
import torch
import yaml
from support.fitting import arguments
from support.running import ROOT, error_of

pytestmark = pytest.mark.usefixtures("workplace")


def test_a_misspelt_option_is_named(criteo_file):
    message = error_of(*arguments("fit", criteo_file, "--model.embeding_dim=3"))
    assert message == "error: unknown option model.embeding_dim; did you mean model.embedding_dim?"


def test_a_misspelt_key_of_a_config_is_named(criteo_file):
    config = yaml.safe_load((ROOT / "configs/criteo/deepfm.yaml").read_text())
    config["data"]["init_args"]["batchsize"] = 3
    Path("c.yaml").write_text(yaml.safe_dump(config))
    message = error_of("fit", "--config", "c.yaml")
    assert message == "error: unknown option data.batchsize; did you mean data.batch_size?"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--model=DeepFN", "model: no class and no file DeepFN; did you mean DeepFM?"),
        ("--data=Criteoo", "data: no class and no file Criteoo; did you mean Criteo?"),
        ("--data=data.Avazu", "data: no class and no file data.Avazu; did you mean Avazu?"),
        ("--model=zoo.Deep", "model: no class and no file zoo.Deep; did you mean DeepFM?"),
        ("--data.workers=two", "data.workers takes a whole number or ray, got two"),
        ("--data.verify=onc", "data.verify: no verify onc; did you mean once?"),
        ("--data.resident=maybe", "data.resident takes true or false or auto, got maybe"),
        ("--data=x.yaml", "data: no class and no file x.yaml; there are Avazu, Criteo, "),
    ],
)
def test_a_misspelt_class_or_choice_is_named(criteo_file, option, message):
    assert error_of(*arguments("fit", criteo_file), option).startswith(f"error: {message}")


def test_a_class_whose_module_lacks_another_is_not_misspelt(criteo_file, monkeypatch):
    Path("mine.py").write_text("import nowhere\n")
    monkeypatch.syspath_prepend(".")
    message = error_of(*arguments("fit", criteo_file), "--data=mine.Rows")
    assert "No module named 'nowhere'" in message


@pytest.mark.parametrize("line", [["--data.synthetic.row=30"], ["--data.synthetic.row", "30"]])
def test_a_misspelt_option_of_an_option_is_named_in_full(line):
    message = error_of("fit", "--config", "demo", *line)
    assert message == (
        "error: unknown option data.synthetic.row; did you mean data.synthetic.rows?"
    )


@pytest.mark.parametrize("patience", ["=-1", "=-9"])
def test_a_negative_number_is_named_in_plain_words(patience):
    message = error_of("fit", "--config", "demo", f"--early_stopping.patience{patience}")
    assert message == "error: early_stopping.patience must be a whole number that is not negative"


def test_an_abbreviation_is_a_misspelling(criteo_file):
    message = error_of(*arguments("fit", criteo_file, "--trainer.max_epoch=3"))
    assert "unknown option trainer.max_epoch; did you mean trainer.max_epochs?" in message


def test_a_batch_size_of_zero(criteo_file):
    message = error_of(*arguments("fit", criteo_file, "--data.batch_size=0"))
    assert message == "error: data.batch_size must be at least 1, got 0"


def test_a_fit_without_validation(criteo_file):
    message = error_of(*arguments("fit", criteo_file, "--trainer.limit_val_batches=0"))
    assert message.startswith("error: trainer.limit_val_batches is 0: val/logloss, which says")
    assert not Path("runs/t/version_0/checkpoints").exists()


def test_a_missing_file():
    message = error_of(*arguments("fit", "nowhere.txt"))
    assert message == "error: no such file: nowhere.txt (data.path)"


def test_a_missing_checkpoint(criteo_file):
    message = error_of(*arguments("test", criteo_file, "--ckpt_path=nowhere.ckpt"))
    assert message == "error: no such checkpoint: nowhere.ckpt"


def test_a_checkpoint_of_another_schema(run, criteo_file):
    other = ["--data.min_count=3", "--ckpt_path", run / "checkpoints/best.ckpt"]
    message = error_of(*arguments("test", criteo_file, *other))
    assert "was fitted with data.min_count = 10, this config has 3" in message
    shutil.copy(run / "checkpoints/best.ckpt", "alone.ckpt")  # without the encoder of its run
    message = error_of(
        *arguments("test", criteo_file, "--data.min_count=3", "--ckpt_path=alone.ckpt")
    )
    assert "trained on another schema than these data: field C" in message


def test_a_checkpoint_that_would_run_code_is_refused(criteo_file):
    class Evil:
        def __reduce__(self):
            return Path.touch, (Path("executed"),)

    torch.save({"state_dict": {}, "payload": Evil()}, "evil.ckpt")
    message = error_of(*arguments("test", criteo_file, "--ckpt_path=evil.ckpt"))
    assert "not loaded, as it could run code" in message
    assert not Path("executed").exists()


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04half a zip"])
def test_a_file_that_is_no_checkpoint(criteo_file, content):
    Path("x.ckpt").write_bytes(content)
    message = error_of(*arguments("test", criteo_file, "--ckpt_path=x.ckpt"))
    assert "x.ckpt is not a checkpoint, or is damaged" in message


def test_predict_without_a_file(run):
    given = ["--config", run / "config.yaml", "--ckpt_path", run / "checkpoints/best.ckpt"]
    message = error_of("predict", *given)
    assert "give --data.predict_path FILE" in message


def test_a_full_disk(criteo_file, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    message = error_of(*arguments("fit", criteo_file, "--trainer.max_epochs=1"))
    assert "the disk is full" in message
