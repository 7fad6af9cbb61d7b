"""`inspect`: files that are refused, or read in part."""

import pickle
import random
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from support.inspection import Given, changed, lightning_warnings, refusal, shown

from zoo import ZooError
from zoo.inspect import load
from zoo.inspect.scores import score

pytestmark = lightning_warnings


class Evil:
    def __reduce__(self):
        return Path.touch, (Path("executed"),)


@pytest.mark.parametrize("save", [torch.save, lambda x, p: p.write_bytes(pickle.dumps(x))])
def test_a_file_that_would_run_code_is_refused(save, deepfm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content = torch.load(deepfm, weights_only=True)
    save({**content, "payload": Evil()}, tmp_path / "evil.ckpt")
    message = refusal("evil.ckpt")
    assert "evil.ckpt" in message
    assert not Path("executed").exists()
    if save is torch.save:
        assert "could run code" in message
        assert "pathlib.Path" in message


def test_a_missing_file_and_a_directory(deepfm):
    assert refusal("nowhere.ckpt") == "no such checkpoint: nowhere.ckpt"
    folder = deepfm.parent
    assert refusal(folder) == f"{folder} is a directory: name a checkpoint, such as {deepfm}"


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99])
def test_a_truncated_file(keep, deepfm):
    whole = deepfm.read_bytes()
    deepfm.write_bytes(whole[: int(keep * len(whole)) if keep < 1 else keep])
    assert refusal(deepfm) == f"{deepfm} is not a checkpoint, or is damaged"


def test_a_text_file(tmp_path):
    path = tmp_path / "notes.ckpt"
    path.write_text("not a checkpoint\n")
    assert refusal(path) == f"{path} is not a checkpoint, or is damaged"


def test_damaged_bytes_end_in_one_sentence(deepfm):
    whole, chance = deepfm.read_bytes(), random.Random(0)
    for _ in range(60):
        damaged = bytearray(whole)
        for _ in range(10):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        deepfm.write_bytes(damaged)
        try:
            load(deepfm)
        except ZooError as error:
            assert str(deepfm) in str(error)  # noqa: PT017 - undamaged weights may be read


def test_a_foreign_model_is_read_in_part(tmp_path):
    class Foreign(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Linear(3, 2)

    trainer = pl.Trainer(barebones=True, accelerator="cpu")
    trainer.strategy.connect(Foreign())
    trainer.save_checkpoint(tmp_path / "foreign.ckpt", weights_only=True)
    found = load(tmp_path / "foreign.ckpt")
    assert (found.architecture, found.schema, found.parameters) == (None, None, 8)
    assert found.parts["net"].parameters == 8
    assert found.warnings[0].startswith("not a checkpoint of this project")
    assert "net" in shown(found)


def test_weights_alone_are_no_checkpoint(tmp_path):
    torch.save({"net.weight": torch.zeros(3)}, tmp_path / "weights.pt")
    assert "holds no state_dict" in refusal(tmp_path / "weights.pt")


def test_a_schema_of_a_later_version(deepfm):
    path = changed(deepfm, lambda c: c["hyper_parameters"]["schema"].update(format=99))
    message = refusal(path)
    assert message.startswith(f"{path}: schema of format 99, this version reads 1")


def test_a_schema_that_makes_no_sense(deepfm):
    path = changed(deepfm, lambda c: c["hyper_parameters"].update(schema={"format": 1}))
    assert refusal(path) == f"{path}: the schema is damaged: it has no list of fields"


@pytest.mark.parametrize("key", ["loops", "callbacks", "optimizer_states"])
@pytest.mark.parametrize("value", ["x", 3, [3], torch.zeros(2, 2)])
def test_a_training_state_that_makes_no_sense(key, value, deepfm):
    path = changed(deepfm, lambda c: c.update({key: value}))
    try:
        load(path)
    except ZooError as error:
        assert str(error) == f"{path} is damaged: its training state cannot be read"  # noqa: PT017


def test_an_unknown_model_without_a_description(deepfm):
    def rename(content):
        content["model_class"] = "SuperNet\x1b"
        del content["description"]

    path = changed(deepfm, rename)
    message = refusal(path)
    assert message.startswith(rf"{path}: holds a model 'SuperNet\x1b', which this version")
    assert "DeepFM" in message


def test_a_model_that_is_not_installed_is_not_scored(deepfm):
    path = changed(deepfm, lambda c: c.update(model_class="nowhere_to_import.models.Mine"))
    found = load(path)
    with pytest.raises(ZooError, match="whose module is not installed") as error:
        score(found, Given(found.schema, []))
    assert str(error.value).startswith(f"{path}: holds a model 'nowhere_to_import.models.Mine'")


def test_a_split_that_the_data_do_not_have(deepfm):
    found = load(deepfm)
    with pytest.raises(ZooError, match=r"^Given has no split test; it has val$"):
        score(found, Given(found.schema, []), "test")


ROWS = {"parameter": "bias", "fields": ["n0"], "column": None}


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("text", None, None),
        ("embeddings", 3, "its description is damaged"),
        ("embeddings", torch.zeros(2, 2), "its description is damaged"),
        ("embeddings", [{**ROWS, "column": float("inf")}], "its description is damaged"),
        ("embeddings", [{**ROWS, "parameter": "nowhere"}], "its embedding table does not fit"),
        ("embeddings", [{**ROWS, "fields": ["other"]}], "its embedding table does not fit"),
        ("first_order", [{**ROWS, "parameter": "nowhere"}], "its first-order weights do not fit"),
        ("first_order", [{**ROWS, "column": 3}], "its first-order weights do not fit"),
        ("first_order", [{**ROWS, "fields": ["n0", "n0"]}], "its first-order weights do not fit"),
        (
            "grids",
            [{"title": "links", "reading": "", "parameter": "bias", "columns": {"n0": [0]}}],
            "its links do not fit",
        ),
        ("experts", [{"name": "a", "fields": ["x"], "inside": []}], "its experts do not fit"),
        ("experts", [{"name": "a", "fields": ["n0"], "inside": ["a"]}], "its experts do not fit"),
        ("unused", ["x"], "its experts do not fit"),
        ("unused", "n0", "its description is damaged"),
    ],
)
def test_a_description_that_makes_no_sense(key, value, sentence, deepfm):
    path = changed(deepfm, lambda c: c["description"].update({key: value}))
    if sentence is None:
        assert load(path).architecture.description == "None"
        return
    message = refusal(path)
    assert message.startswith(str(path))
    assert sentence in message


@pytest.mark.parametrize("value", [None, 3, [], "text", torch.zeros(2)])
def test_a_description_of_another_kind(value, deepfm):
    path = changed(deepfm, lambda c: c.update(description=value))
    assert refusal(path).startswith(f"{path}: its description is damaged")


def test_options_of_version_0_1_0_that_would_fill_the_memory(copy_of):
    def spoil(content):
        content["hyper_parameters"]["embedding_dim"] = 10**12
        del content["description"]

    path = changed(copy_of("DCN"), spoil)
    assert refusal(path) == f"{path}: its embedding_dim does not fit its weights"


def test_a_table_that_does_not_fit_the_schema(deepfm):
    path = changed(
        deepfm, lambda c: c["hyper_parameters"]["schema"]["fields"][1].update(cardinality=8)
    )
    assert refusal(path) == f"{path} is damaged: its embedding table does not fit its schema"
