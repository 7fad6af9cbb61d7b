"""The curves of a training, from metrics.csv, and the first screen without data."""

import json
import re

import pytest
from support.browsing import plots_of
from support.inspection import lightning_warnings

from zoo.inspect import load
from zoo.inspect.report import report
from zoo.inspect.weights_only import curves
from zoo.inspect.weights_only.curves import curves_of, sections

pytestmark = lightning_warnings

FILE = """epoch,step,test/auc,train/auc,val/auc,val/acc
0,9,,,0.6,0.5
0,9,,0.7,,
1,19,,,0.65,0.55
1,19,,0.75,,
2,29,,,0.63,nan
2,29,,0.8,,
3,30,,,0.65,0.55
3,30,0.66,,,
"""


def test_curves_are_those_of_training_and_validation(tmp_path):
    (tmp_path / "metrics.csv").write_text(FILE)
    found = curves_of(tmp_path / "metrics.csv")
    # the last validation is that of the best checkpoint, at the end of the fit
    assert found["val/auc"] == [(9, 0.6), (19, 0.65), (29, 0.63)]
    assert found["train/auc"] == [(9, 0.7), (19, 0.75), (29, 0.8)]
    assert "test/auc" not in found
    (section,) = sections(found, ["val/acc"])
    first, second, table = section.page
    assert [list(trace.y) for trace in first.draw().data] == [[0.5, 0.55, 0.55]]
    train, val = second.draw().data
    assert (list(train.x), list(train.y)) == ([9, 19, 29], [0.7, 0.75, 0.8])
    assert list(val.y) == [0.6, 0.65, 0.63]
    assert table.columns == ("step", "val/acc", "train/auc", "val/auc")
    assert table.rows[0] == ["9", "0.5", "0.7", "0.6"]
    assert section.content == []  # of a terminal


@pytest.mark.parametrize(
    "text",
    ["", "\n", "step\n", "a,b\n1,2\n", "step,val/auc\nx,y\n", "step,val/auc\n1\n", '"\0', "\xff"],
)
def test_what_is_no_file_of_metrics_gives_no_curve(text, tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_bytes(text.encode("latin-1"))
    assert curves_of(path) == {}
    assert curves_of(tmp_path / "none.csv") == {}
    assert list(sections({}, [])) == []


def test_a_line_that_was_cut_off_is_passed_over_and_long_curves_are_thinned(tmp_path, monkeypatch):
    path = tmp_path / "metrics.csv"
    lines = "".join(f"{i},{i / 1000}\n" for i in range(0, 2500, 2))
    path.write_text(f"step,train/logloss\n{lines}25")
    monkeypatch.setattr(curves, "LONGEST", 100)
    curve = curves_of(path)["train/logloss"]
    assert len(curve) <= 101
    assert (curve[0], curve[-1]) == ((0, 0.0), (2498, 2.498))
    monkeypatch.setattr(curves, "LARGEST", 10)
    assert curves_of(path) == {}


def test_the_first_screen_without_data(copy_of, tmp_path):
    run = tmp_path / "run"
    checkpoint = copy_of("DeepFM", "run/checkpoints/best.ckpt")
    model = "model: {class_path: zoo.DeepFM}\ndata: {class_path: datamodules.Criteo}\n"
    (run / "config.yaml").write_text(model)
    metrics = {"val/auc": 0.75, "test/auc": 0.74, "ceiling/auc": 0.8, "test/logloss": None}
    (run / "metrics.json").write_text(json.dumps(metrics))
    (run / "metrics.csv").write_text(FILE)
    text = report(load(checkpoint))
    first = text[: text.index('<section class="chapter"')]
    figures = re.findall(r"<dt>(.*?)</dt><dd class=\"figure\">([\d.]+)", first)
    assert ("val/auc", "0.7500") in figures
    assert ("test/auc", "0.7400") in figures
    assert "possible 0.8" in first
    assert "not scored on data: --config RUN/config.yaml does it" in first
    assert ">curves</h3>" in text
    drawn = [trace for traces in plots_of(text) for trace in traces]
    assert [0.6, 0.65, 0.63] in [trace["y"] for trace in drawn if trace.get("name") == "val"]


def test_a_checkpoint_of_another_project_has_a_page_too(tmp_path):
    import torch

    path = tmp_path / "other.ckpt"
    torch.save({"state_dict": {"w": torch.ones(3)}, "pytorch-lightning_version": "2.6"}, path)
    text = report(load(path))
    assert '<h1 id="top">model</h1>' in text
    assert "not a checkpoint of this project" in text[: text.index('<section class="chapter"')]
