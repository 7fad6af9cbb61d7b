"""What tests of `inspect` share."""

import pytest
import torch
from rich.console import Console
from support import running
from support.small_checkpoints import MODELS

from zoo.data.module import ZooDataModule

# what Lightning says of small checkpoints and of models without weights
lightning_warnings = pytest.mark.filterwarnings(
    "ignore:.*configure_optimizers` returned `None`",
    "ignore:Checkpoint directory .* not empty",
    "ignore:.*contains no parameters",
)
each_model = pytest.mark.parametrize("name", MODELS)


class Given(ZooDataModule):
    """Data whose validation split is some batches."""

    def __init__(self, schema, batches):
        super().__init__()
        self.fields, self.given = schema, list(batches)

    @property
    def schema(self):
        return self.fields

    def val_dataloader(self):
        return self.given


def changed(path, change):
    """Rewrites a checkpoint."""
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)
    return path


def command(*args):
    running.command("inspect", *args)


def refusal(*args):
    message = running.error_of("inspect", *args)
    assert message.startswith("error: ")
    return message.removeprefix("error: ")


def shown(found, width=200):
    console = Console(width=width, highlight=False)
    with console.capture() as capture:
        console.print(found)
    return capture.get()
