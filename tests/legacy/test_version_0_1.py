"""Checkpoints and run directories that version 0.1.0 wrote are read, and mean what they meant."""

import json
import math
import shutil
import warnings
from pathlib import Path
from unittest import mock

import pyarrow.parquet as pq
import pytest
import torch

import train
import zoo
import zoo.inspect

LEGACY = Path(__file__).parent
WORDING = {"/architecture/description", "/architecture/formula"}  # docstrings of today's models


def leaves(value, place=""):
    """Places and values of what nested lists and dictionaries hold, and the lengths of lists."""
    if isinstance(value, list | tuple):
        yield f"{place}/length", len(value)
        value = dict(enumerate(value))
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{place}/{key}")
    else:
        yield place, None if isinstance(value, float) and not math.isfinite(value) else value


def assert_alike(found, want):
    """All of `want` is in `found`, which may hold more; numbers may differ by rounding."""
    found, want = dict(leaves(found)), dict(leaves(want))
    for place in want.keys() - WORDING:
        have, wanted = found.get(place, "absent"), want[place]
        if isinstance(have, float) and isinstance(wanted, float):
            assert math.isclose(have, wanted, rel_tol=1e-5, abs_tol=1e-6), place
        else:
            assert (type(have), have) == (type(wanted), wanted), place


def batch_of(slots):
    kind = zoo.SessionBatch if "past" in slots else zoo.Batch
    given = {name: slot for name, slot in slots.items() if slot}
    return kind(
        **{n: torch.tensor(s["values"], dtype=getattr(torch, s["dtype"])) for n, s in given.items()}
    )


@pytest.mark.filterwarnings("ignore:.*contains no parameters")
@pytest.mark.parametrize("name", sorted(p.name for p in LEGACY.glob("checkpoints/*")))
def test_a_checkpoint_predicts_and_is_inspected_as_before(name):
    path = LEGACY / "checkpoints" / name / "best.ckpt"
    want = json.loads(path.with_name("expected.json").read_text())
    model = getattr(zoo, name).load_from_checkpoint(path, map_location="cpu", weights_only=True)
    batch = batch_of(want["batch"])
    real = batch.future_mask if "past" in want["batch"] else ...  # nothing is asked of padding
    with torch.no_grad():
        columns = {"logits": model.eval()(batch), **model.predicted(batch)}
    assert {c for c in columns if "_" in c} == {f"attribution_{n}" for n in want["attribution"]}
    wanted = {c: want[c] for c in ("logits", "probability")}
    wanted |= {f"attribution_{n}": column for n, column in want["attribution"].items()}
    for column, values in wanted.items():
        assert_alike(columns[column][real].tolist(), torch.tensor(values)[real].tolist())
    assert_alike(zoo.inspect.load(path).to_dict(), want["inspection"])


@pytest.mark.parametrize("dataset", sorted(p.name for p in LEGACY.glob("runs/*")))
def test_a_run_scores_raw_rows_as_before(dataset, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = shutil.copytree(LEGACY / "runs" / dataset, tmp_path / "run")
    checkpoint, rows = run / "checkpoints/best.ckpt", next(run.glob("rows.*"))
    options = ["--config", run / "config.yaml", "--ckpt_path", checkpoint]
    line = ["train.py", "predict", *map(str, options), f"--data.predict_path={rows}"]
    with mock.patch("sys.argv", line), warnings.catch_warnings():
        train.main()
    table = pq.read_table(run / "predictions/rows.parquet")
    want = json.loads((run / "expected.json").read_text())
    assert table.column_names == list(want)
    assert_alike(table.to_pydict(), want)
    beside = zoo.inspect.load(checkpoint).run
    assert_alike(beside.metrics, json.loads((run / "metrics.json").read_text()))
