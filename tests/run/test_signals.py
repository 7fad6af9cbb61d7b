"""SIGTERM and Ctrl-C: exit status, hint, checkpoint of the running batch."""

import contextlib
import io
import os
import signal
from pathlib import Path
from unittest import mock

import pytest
import torch
from support.fitting import arguments, fit
from support.running import command

from zoo.run.record import RunRecord
from zoo.run.signals import TERMINATED, Terminated, status_of, terminable

pytestmark = pytest.mark.usefixtures("prepared_rows", "handlers")
LAST = Path("runs/t/version_0/checkpoints/last.ckpt")
STOPPED = {signal.SIGTERM: ("terminated", 143), signal.SIGINT: ("interrupted", 130)}


@pytest.fixture
def handlers():
    """Signals are handled as before when a test has ended: Lightning ignores Ctrl-C after one."""
    before = {number: signal.getsignal(number) for number in STOPPED}
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@contextlib.contextmanager
def signalled(number, hook, times):
    """This process receives a signal when a hook of the run is called for the n-th time."""
    real, calls = getattr(RunRecord, hook), []

    def call(*args, **kwargs):
        calls.append(args)
        if len(calls) == times:
            os.kill(os.getpid(), number)
        return real(*args, **kwargs)

    with mock.patch.object(RunRecord, hook, call):
        yield calls


def ended(*args):
    """The exit status of a command, and what it says."""
    with contextlib.redirect_stderr(io.StringIO()) as said, pytest.raises(SystemExit) as exit_:
        command(*args)
    return exit_.value.code, said.getvalue()


@pytest.mark.parametrize("batch", [3, 20])  # in the first epoch of 16 batches, and in the second
def test_sigterm_ends_a_fit_with_a_checkpoint_of_the_running_batch(criteo_file, batch):
    given = arguments("fit", criteo_file, "--trainer.max_epochs=2")
    with signalled(signal.SIGTERM, "on_train_batch_end", batch):
        status, said = ended(*given)
    assert status == 143
    assert f"terminated; to go on, repeat the command with --ckpt_path {LAST}" in said
    assert torch.load(LAST, weights_only=True)["global_step"] == batch
    assert not (LAST.parents[1] / "metrics.json").exists()
    resumed = fit(criteo_file, "--trainer.max_epochs=2", "--ckpt_path", LAST)
    unbroken = fit(criteo_file, "--trainer.max_epochs=2")
    for name in ("last", "best"):
        mine, whole = (
            torch.load(run / f"checkpoints/{name}.ckpt", weights_only=True)["state_dict"]
            for run in (resumed, unbroken)
        )
        torch.testing.assert_close(mine, whole, rtol=0, atol=0)


@pytest.mark.parametrize("number", STOPPED)
def test_a_signal_before_the_first_batch(criteo_file, number):
    word, expected = STOPPED[number]
    with signalled(number, "on_fit_start", 1):
        status, said = ended(*arguments("fit", criteo_file))
    assert (status, said.splitlines()[-1]) == (expected, word)
    assert not list(Path("runs").rglob("*.ckpt"))


def test_ctrl_c_in_a_fit(criteo_file):
    with signalled(signal.SIGINT, "on_train_batch_end", 20):
        status, said = ended(*arguments("fit", criteo_file))
    assert status == 130
    assert f"interrupted; to go on, repeat the command with --ckpt_path {LAST}" in said


def test_a_signal_in_a_validation_leaves_the_checkpoint_of_before(criteo_file):
    with signalled(signal.SIGTERM, "on_validation_start", 3):  # the sanity check is the first
        status, said = ended(*arguments("fit", criteo_file))
    assert status == 143
    assert str(LAST) in said
    assert torch.load(LAST, weights_only=True)["epoch"] == 0


def test_no_checkpoint_amid_gradients_that_are_accumulated(criteo_file):
    given = arguments("fit", criteo_file, "--trainer.accumulate_grad_batches=4")
    with signalled(signal.SIGTERM, "on_train_batch_end", 3):
        status, _ = ended(*given)
    assert status == 143
    assert not LAST.exists()


@pytest.mark.parametrize("number", STOPPED)
def test_a_signal_while_data_are_prepared(criteo_file, number):
    def send(*_):
        os.kill(os.getpid(), number)

    word, expected = STOPPED[number]
    with mock.patch("datamodules.prepared.folder.Manifest.save", send):
        status, said = ended(*arguments("prepare", criteo_file, "--data.min_count=3"))
    assert (status, said.splitlines()[-1]) == (expected, word)
    assert not list(Path("prepared").glob(".*"))


def test_a_signal_while_rows_are_predicted(run, criteo_file):
    checkpoint, rows = run / "checkpoints/best.ckpt", f"--data.predict_path={criteo_file}"
    given = ["predict", "--config", run / "config.yaml", "--ckpt_path", checkpoint, rows]

    def send(*_, **__):
        os.kill(os.getpid(), signal.SIGTERM)

    with mock.patch("zoo.run.predictions.PredictionWriter.on_predict_batch_end", send):
        status, said = ended(*given)
    assert (status, said.splitlines()[-1]) == (143, "terminated")
    assert not list((run / "predictions").glob("*"))


# What the parts do


def test_an_exit_that_lightning_left_in_charge_would_report_as_success():
    class SIGTERMException(SystemExit):
        pass

    assert status_of(SIGTERMException()) == TERMINATED
    assert status_of(SystemExit(2)) is None


@pytest.mark.parametrize("kind", [Terminated, KeyboardInterrupt])
def test_a_signal_that_comes_out_as_another_error(kind):
    error = SystemExit(2)
    error.__context__ = KeyError("a module that was being imported")
    error.__context__.__context__ = kind()
    assert status_of(error) == (143 if kind is Terminated else 130)


def test_a_signal_that_was_swallowed():
    with terminable():
        with contextlib.suppress(Terminated):
            os.kill(os.getpid(), signal.SIGTERM)
        assert status_of(SystemExit(2)) == TERMINATED
    with terminable():
        assert status_of(SystemExit(2)) is None


def test_the_handler_of_before_comes_back():
    with pytest.raises(Terminated), terminable():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with terminable():
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN


def test_a_fork_ends_in_silence():
    with terminable():
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 143
