"""The command line, run in this process as one of its own."""

import contextlib
import io
import warnings
from pathlib import Path
from unittest import mock

import pytest

import train

ROOT = Path(train.__file__).parent
SMALL = ["--model.hidden_units=[16]", "--model.embedding_dim=4", "--trainer.accelerator=cpu"]
QUIET = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]


def command(*args):
    with mock.patch("sys.argv", ["train.py", *map(str, args)]), warnings.catch_warnings():
        train.main()


def error_of(*args):
    """The one line with which a command fails."""
    with contextlib.redirect_stderr(io.StringIO()) as stderr, pytest.raises(SystemExit) as exit_:
        command(*args)
    code = exit_.value.code
    message = (code if isinstance(code, str) else stderr.getvalue()).strip()
    assert "\n" not in message, message
    return message
