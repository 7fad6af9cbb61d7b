"""Several checkpoints of one config: what all have learned, and what is luck of the seed."""

import re
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from support.inspection import changed
from support.running import QUIET, command, error_of
from support.small_checkpoints import saved, small

from datamodules.synthetic.clicks import PlantedClicks
from zoo.data.interactions import read_interactions
from zoo.glider.detector import Detector
from zoo.glider.stability import summarise_checkpoints
from zoo.glider.walsh import SharedMasks
from zoo.glider.walsh.detector import WalshDetector, WalshRows
from zoo.glider.walsh.fit import products
from zoo.glider.walsh.search import WalshConfig
from zoo.run.inspect import data_of

NAMES = [f"f{i}" for i in range(8)]
ROWS = 24
MASKS = SharedMasks(8, WalshConfig(masks=300, held_out=150), 0)
SIGN = np.where(np.arange(ROWS) % 2, 1.0, -1.0)
# of each seed what it has beside main effects: one interaction in all, one that turns with the
# seed, one in one alone, and one of three fields in two
SEEDS = [
    {(0, 1): 0.5, (2, 3): 0.4 * SIGN, (4, 5): 0.5, (0, 1, 6): 0.4},
    {(0, 1): 0.6, (2, 3): -0.4 * SIGN, (0, 1, 6): 0.4},
    {(0, 1): 0.7, (2, 3): 0.4 * SIGN},
]


def rows_of(seed, skipped=()):
    """What is found around rows whose coefficients are these."""
    random = np.random.default_rng(seed)
    z = 2 * MASKS.masks.numpy().astype(float) - 1
    truth = {(i,): 1.0 for i in range(8)} | SEEDS[seed]
    values = np.stack([np.broadcast_to(c, ROWS) for c in truth.values()], 1)
    y = values @ products(z, [*truth]).T
    y += 0.05 * random.standard_normal(y.shape)
    kept = [i for i in range(ROWS) if i not in skipped]
    return WalshRows.of(kept, MASKS.fits(y[kept]), [[]] * len(kept))


def summary(*rows, top=None):
    return summarise_checkpoints(rows, MASKS, NAMES, [*range(100, 100 + ROWS)], top)


def by_fields(found):
    return {tuple(map(NAMES.index, row["fields"])): row for row in found["interactions"]}


def test_what_all_have_learned_comes_first():
    found = by_fields(summary(*map(rows_of, range(3))))
    assert [*found][:4] == [(0, 1), (2, 3), (0, 1, 6), (4, 5)]
    assert [found[s]["significant_in"] for s in [*found][:4]] == [3, 3, 2, 1]
    assert found[4, 5]["agreement"] is None or abs(found[4, 5]["agreement"]) < 0.5
    assert found[0, 1]["agreement"] == pytest.approx(1, abs=0.01)
    # of the three pairs of seeds, one says the same and two the opposite
    assert found[2, 3]["agreement"] == pytest.approx(-1 / 3, abs=0.01)
    for s in ((0, 1), (2, 3), (4, 5)):
        each = found[s]["checkpoints"]
        truth = [np.abs(seed.get(s, 0.0)).max() for seed in SEEDS]
        assert [of["size"] for of in each] == pytest.approx(truth, abs=0.02)
        assert [of["count"] for of in each] == [ROWS * (size > 0) for size in truth]
        shares = [of["share"] for of in each]
        assert found[s]["spread"] == pytest.approx(np.std(shares, ddof=1))
        for of in each:
            assert of["share_low"] <= of["share"] <= of["share_high"]
    # the numbers of the file are those of the first checkpoint
    first = found[0, 1]
    assert first["share"] == first["checkpoints"][0]["share"]
    assert next(row["row"] for row in first["strongest"]) >= 100


def test_rows_that_one_lacks_are_left_out_of_all():
    found = summary(rows_of(0, skipped=(3, 4)), rows_of(1, skipped=(7,)))
    assert found["instances"] == ROWS - 3
    assert {of["count"] for of in by_fields(found)[0, 1]["checkpoints"]} == {ROWS - 3}


def test_top_keeps_those_that_most_have_learned():
    found = summary(*map(rows_of, range(3)), top=2)
    assert [*by_fields(found)] == [(0, 1), (2, 3)]


# The command


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Detector, "chunk", 2)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A config, and checkpoints of three seeds of it, whose models are known."""
    folder = tmp_path_factory.mktemp("seeds")
    PlantedClicks(rows=600).write(folder / "train.txt")
    options = f"{{path: {folder}/train.txt, prepared: {folder}/prepared, min_count: 3}}"
    model = "{class_path: zoo.DeepFM, init_args: {embedding_dim: 4, hidden_units: [8, 6]}}"
    data = f"{{class_path: datamodules.Criteo, init_args: {options}}}"
    (folder / "config.yaml").write_text(
        f"model: {model}\ndata: {data}\ntrainer: {{accelerator: cpu}}"
    )
    datamodule = data_of(folder / "config.yaml")
    datamodule.prepare_data()
    for seed, more in enumerate(([], [("C3", "C4")], [("C3", "C4"), ("C5", "C6")])):
        plant(datamodule.schema, [("C1", "C2"), *more], folder / f"{seed}.ckpt")
    changed(folder / "0.ckpt", lambda c: c.update(data=datamodule.checksums()))
    return folder


def plant(schema, pairs, path):
    """A model whose only terms are products of the switches of these pairs."""
    model = small("DeepFM", schema)
    sizes = [field.cardinality for field in schema.categorical]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        blocks = model.embedding.table[: sum(sizes)].split(sizes)
        for k, pair in enumerate(pairs):
            for name in pair:
                blocks[[f.name for f in schema.categorical].index(name)][:, k] = 1.0
    return saved(model, path)


def given(run, *also, instances=5):
    named = ",".join(str(run / name if isinstance(name, str) else name) for name in also)
    line = ["detect", "--config", run / "config.yaml", "--ckpt_path", run / "0.ckpt", *QUIET]
    return [*line, f"--instances={instances}", f"--also=[{named}]"]


def test_the_command_says_what_all_have_learned(run, capsys):
    command(*given(run, "1.ckpt", "2.ckpt"))
    text = capsys.readouterr().out
    assert "learned by all 3 checkpoints (q < 0.05): C1 x C2\n" in text
    some = "by some of them, luck of the seed or near the line: C3 x C4 (2), C5 x C6 (1)"
    assert some in " ".join(text.split())
    assert re.search(r"C3 x C4 │ 2 of 3 │", text)
    page = Path("interactions.html").read_text()
    assert "in all checkpoints" in page
    names = [f"C{i}" for i in range(1, 27)] + [f"I{i}" for i in range(1, 14)]
    read = read_interactions(Path("interactions.json"), names, "--interactions")
    assert read.checkpoints == tuple(str(run / f"{i}.ckpt") for i in range(3))
    found = {item.fields: item for item in read.interactions}
    assert [found["C3", "C4"].significant_in, found["C5", "C6"].significant_in] == [2, 1]
    assert [of.count for of in found["C1", "C2"].checkpoints] == [5, 5, 5]
    assert [of.count for of in found["C3", "C4"].checkpoints] == [0, 5, 5]
    # a quarter of each of the switches' products, as of their main effects: 1 of 3, 6 and 9
    assert [of.share for of in found["C1", "C2"].checkpoints] == pytest.approx(
        [1 / 3, 1 / 6, 1 / 9], rel=0.1
    )
    assert found["C1", "C2"].agreement == pytest.approx(1, abs=1e-4)
    assert not list(Path().glob(".interactions*"))


def test_an_interrupted_comparison_goes_on_where_it_stopped(run):
    command(*given(run, "1.ckpt", instances=3))
    whole = Path("interactions.json").read_text()
    Path("interactions.json").unlink()
    original, asked = WalshDetector.write, []

    def some(self, file, indices):
        if len(asked) == 3:
            raise KeyboardInterrupt
        asked.append((file.parent.name, [*indices]))
        return original(self, file, indices)

    with mock.patch.object(WalshDetector, "write", some), pytest.raises(SystemExit):
        command(*given(run, "1.ckpt", instances=3))
    assert [indices for _, indices in asked] == [[0, 1], [2], [0, 1]]
    other = error_of(*given(run, "2.ckpt", instances=3))
    assert "holds an unfinished detection of another model" in other

    def rest(self, file, indices):
        asked.append((file.parent.name, [*indices]))
        return original(self, file, indices)

    with mock.patch.object(WalshDetector, "write", rest):
        command(*given(run, "1.ckpt", instances=3))
    assert asked[3:] == [("also_1", [2])]
    assert Path("interactions.json").read_text() == whole


def test_what_is_no_other_seed_is_refused_in_one_sentence(run, tmp_path):
    schema = torch.load(run / "0.ckpt", weights_only=True)["hyper_parameters"]["schema"]
    schema = data_of(run / "config.yaml").schema.from_dict(schema)
    wide = saved(small("DeepFM", schema, hidden_units=[9]), tmp_path / "wide.ckpt")
    message = error_of(*given(run, wide))
    assert f"also: {wide}: the weights of the checkpoint do not fit this model: " in message
    dcn = saved(small("DCN", schema), tmp_path / "dcn.ckpt")
    message = error_of(*given(run, dcn))
    assert f"also: {dcn}: the checkpoint holds DCN, not DeepFM" in message
    fewer = schema.__class__(schema.fields[1:])
    of_fewer = saved(small("DeepFM", fewer), tmp_path / "fewer.ckpt")
    message = error_of(*given(run, of_fewer))
    assert f"also: {of_fewer}: the checkpoint was trained on another schema" in message
    content = torch.load(run / "0.ckpt", weights_only=True)
    content["data"] = dict.fromkeys(content["data"], "0")
    torch.save(content, tmp_path / "encoded.ckpt")
    message = error_of(*given(run, tmp_path / "encoded.ckpt"))
    assert "encoded.ckpt: the model was trained with another encoder" in message
    assert "also: several checkpoints are" in error_of(*given(run, "1.ckpt"), "--detector=nid")
    assert "no such checkpoint: nowhere.ckpt" in error_of(*given(run, Path("nowhere.ckpt")))
    same = error_of(*given(run, "0.ckpt"))
    assert same.endswith(f"also: {run}/0.ckpt is the same checkpoint as {run}/0.ckpt")
