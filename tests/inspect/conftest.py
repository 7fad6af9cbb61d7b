"""Checkpoints that the tests of `inspect` share."""

import shutil

import pytest
from support.small_checkpoints import fitted, small


@pytest.fixture(scope="session")
def checkpoint_of(tmp_path_factory):
    """The path of a checkpoint of each small model, fitted once, which no test may change."""
    folder, made = tmp_path_factory.mktemp("small"), {}

    def make(name):
        if name not in made:
            made[name] = fitted(small(name), folder / name / "model.ckpt")
        return made[name]

    return make


@pytest.fixture
def copy_of(checkpoint_of, tmp_path):
    """A copy of the checkpoint of a small model, which a test may change."""

    def make(name, path="model.ckpt"):
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        return shutil.copy(checkpoint_of(name), target)

    return make


@pytest.fixture
def deepfm(copy_of):
    """A small checkpoint of a DeepFM, which a test may change."""
    return copy_of("DeepFM")
