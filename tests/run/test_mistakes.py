"""Errors that a user can correct: one sentence each."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch
from pytorch_lightning.callbacks import ProgressBar
from support.fitting import arguments, fit
from support.interruption import fails_half_way
from support.running import ROOT, error_of

from zoo import ZooError
from zoo.run.directory import new_run_directory
from zoo.run.mistakes import sentence_of
from zoo.run.record import RunRecord
from zoo.run.signals import status_of


def raised(error, by=None):
    try:
        raise error from by
    except type(error) as found:
        return found


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ZooError("a sentence"), "a sentence"),
        (raised(ValueError(), ZooError("the cause")), "the cause"),
        (raised(ZooError("damaged"), OSError(errno.EMFILE, "", "a")), "a: too many files are open"),
        (raised(ZooError("damaged"), OSError(errno.ENOENT, "", "a")), "damaged"),
        (OSError(errno.ENOSPC, ""), "the disk is full"),
        (OSError(errno.ENOSPC, "", "a/b"), "a/b: the disk is full"),
        (OSError(errno.EROFS, "", b"a"), "a: the file system is read-only"),
        (OSError(errno.EMFILE, ""), "too many files are open: raise the limit with `ulimit -n"),
        (OSError(errno.EACCES, "", Path("a")), "a: the permission is missing"),
        (OSError(errno.ENOENT, "", "a"), "a: the file or its folder does not exist, or has been"),
        (raised(RuntimeError(), OSError(errno.EDQUOT, "", "a")), "a: the quota of the disk is"),
    ],
)
def test_a_sentence(error, sentence):
    assert sentence_of(error).startswith(sentence)


def test_what_is_no_mistake_of_the_user_keeps_its_traceback():
    for error in (KeyError("x"), ValueError("x"), OSError(errno.ENOENT, ""), OSError("x")):
        assert sentence_of(error) is None
    bug = KeyError("x")
    bug.__context__ = OSError(errno.ENOENT, "", "a file that need not be there")
    assert sentence_of(bug) is None


def test_a_sentence_is_not_empty():
    with pytest.raises(NotImplementedError) as caught:
        ProgressBar().enable()  # an error of Lightning without a message
    assert sentence_of(caught.value) is None


def test_an_error_that_is_its_own_cause_ends():
    error = raised(KeyError("x"))
    error.__cause__ = error
    assert sentence_of(error) is None
    assert status_of(error) is None


@pytest.mark.usefixtures("prepared_rows")
class TestFit:
    """What the disk does to a fit."""

    def test_a_full_disk_leaves_the_checkpoint_of_before(self, criteo_file):
        one = fit(criteo_file, "--trainer.max_epochs=1")
        last = one / "checkpoints/last.ckpt"
        resumed = arguments("fit", criteo_file, "--trainer.max_epochs=3", "--ckpt_path", last)
        folder = one.with_name("version_1") / "checkpoints"
        with fails_half_way(folder, 10_000):
            message = error_of(*resumed)
        assert message.startswith("error: ")
        assert message.endswith("checkpoints/best.ckpt: the disk is full")
        assert not list(Path("runs").rglob(".*"))
        torch.load(last, weights_only=True)

    def test_a_full_disk_while_the_encoder_is_copied(self, criteo_file):
        full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        with mock.patch("shutil.copytree", side_effect=full):
            message = error_of(*arguments("fit", criteo_file))
        assert message == ("error: cannot write runs/t/version_0/encoder: No space left on device")
        assert not list(Path("runs").iterdir())

    def test_a_run_directory_that_is_deleted(self, criteo_file):
        real = RunRecord.on_train_epoch_end

        def delete(record, trainer, model):
            shutil.rmtree(record.run)
            real(record, trainer, model)

        with mock.patch.object(RunRecord, "on_train_epoch_end", delete):
            message = error_of(*arguments("fit", criteo_file, "--trainer.max_epochs=2"))
        assert message == (
            "error: runs/t/version_0 has been deleted while the fit was writing into it"
        )


@pytest.mark.usefixtures("prepared_rows")
@pytest.mark.parametrize(
    ("command", "option", "place"),
    [
        ("fit", "--runs", "taken/runs"),
        ("prepare", "--data.prepared", "taken/prepared"),
        ("detect", "--output", "taken/found.json"),
        ("detect", "--output", "taken/folder/found.json"),
        ("predict", "--data.predict_output", "taken/scores.parquet"),
        ("predict", "--data.predict_output", "taken/folder/scores.csv"),
    ],
)
def test_a_place_that_cannot_be_written_to(command, option, place, run, criteo_file):
    Path("taken").write_text("a file")
    scored = ["--config", run / "config.yaml", "--ckpt_path", run / "checkpoints/best.ckpt"]
    lines = {
        "fit": arguments("fit", criteo_file),
        "prepare": arguments("prepare", criteo_file),
        "detect": ["detect", *scored, "--instances=2"],
        "predict": ["predict", *scored, "--data.predict_path", criteo_file],
    }
    message = error_of(*lines[command], option, place)
    assert message.startswith("error: ")
    assert "taken" in message
    assert Path("taken").read_text() == "a file"


def test_a_folder_that_has_been_deleted(tmp_path):
    code = (
        "import os, sys; from zoo.run.main import main; os.rmdir(os.getcwd()); "
        "sys.argv = ['t', 'fit']; main()"
    )
    gone = tmp_path / "gone"
    gone.mkdir()
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, cwd=gone, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "error: the current folder has been deleted: change to another\n"


def test_the_next_run_removes_what_killed_ones_left(tmp_path):
    killed = tmp_path / "t/version_0"
    left = [killed / ".config.yaml.1.partial", killed / "checkpoints/.best.ckpt.1.partial"]
    left.append(killed / ".encoder.partial/vocabulary.parquet")
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        os.utime(path, (0, 0))
    os.utime(killed / ".encoder.partial", (0, 0))
    assert new_run_directory(tmp_path, "t").name == "version_1"
    assert [path.name for path in killed.rglob("*")] == ["checkpoints"]
