"""`edit` of a glass box: what it switches, measures and writes, and what it refuses."""

import json
import math
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score
from support.glass_boxes import AGE, BOX, CITY, HOUR, TAGS, TERMS, GlassBox, glass_box, rows_of_box
from support.inspection import Given, lightning_warnings, shown
from support.python_runs import FIELDS, fit, table
from support.running import QUIET, command, error_of
from support.small_checkpoints import saved, small
from torch.nn import functional

import zoo
from zoo import ZooError
from zoo.data.batch import chunks
from zoo.inspect import load
from zoo.inspect.scores import model_of
from zoo.run.editing.edit import Wanted, edit

pytestmark = lightning_warnings
PAIR = f"{CITY} x {HOUR}"


@pytest.fixture(scope="module")
def box(tmp_path_factory):
    """The path of a checkpoint, its model, and rows."""
    path = saved(GlassBox(BOX, TERMS), tmp_path_factory.mktemp("box") / "box.ckpt")
    return path, glass_box(), rows_of_box(900)


def edited(box, split="val", **wanted):
    path, _, batch = box
    data = Given(BOX, [*chunks(batch, 400)]) if split else None
    return edit(path, Wanted(**wanted), data, split)


def logits_of(model, batch):
    with torch.no_grad():
        return model(batch).double()


def added_by(model, batch, *names):
    places = [i for i, term in enumerate(model.terms) if term.name in names]
    with torch.no_grad():
        return model.contributions(batch).double()[:, places].sum(1)


def bce(logits, labels):
    return functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")


# What is switched


def test_predictions_change_by_exactly_what_the_terms_add(box, tmp_path):
    path, model, batch = box
    found = edited(box, off=(PAIR, TAGS), output=tmp_path / "edited.ckpt")
    assert (found.off, found.terms_on, found.terms) == ((TAGS, PAIR), 4, 6)
    written = model_of(load(tmp_path / "edited.ckpt"))
    assert [term.name for term in written.terms if not term.on] == [TAGS, PAIR]
    expected = logits_of(model, batch) - added_by(model, batch, PAIR, TAGS)
    torch.testing.assert_close(logits_of(written, batch), expected, atol=1e-6, rtol=0)
    again = edit(
        tmp_path / "edited.ckpt", Wanted(on=(PAIR, TAGS), output=tmp_path / "again.ckpt"), None, ""
    )
    assert again.terms_on == 6
    torch.testing.assert_close(
        logits_of(model_of(load(tmp_path / "again.ckpt")), batch), logits_of(model, batch)
    )
    torch.testing.assert_close(logits_of(model_of(load(path)), batch), logits_of(model, batch))


def test_fields_of_a_term_may_stand_in_any_order(box):
    assert edited(box, split="", off=(f"{HOUR} x {CITY}",)).off == (PAIR,)


def test_quality_before_and_after_is_that_of_the_logits(box):
    _, model, batch = box
    found = edited(box, off=(AGE,))
    labels = batch.label.numpy()
    for quality, logits in (
        (found.before, logits_of(model, batch)),
        (found.after, logits_of(model, batch) - added_by(model, batch, AGE)),
    ):
        p = logits.sigmoid().numpy()
        assert quality.auc == pytest.approx(roc_auc_score(labels, p))
        assert quality.logloss == pytest.approx(log_loss(labels, p), abs=1e-6)
        assert quality.predicted == pytest.approx(p.mean(), abs=1e-6)
    assert found.changes.auc.value == pytest.approx(found.after.auc - found.before.auc)
    assert found.changes.logloss.value == pytest.approx(found.after.logloss - found.before.logloss)
    labels = batch.label.double()
    after = logits_of(model, batch) - added_by(model, batch, AGE)
    risen = bce(after, labels) - bce(logits_of(model, batch), labels)
    error = float(risen.std(correction=0)) / math.sqrt(900)
    assert found.changes.logloss.error == pytest.approx(error, rel=1e-4)


def test_each_is_what_switching_off_that_term_changes(box):
    found = edited(box, each=True)
    costs = [cost.changes.logloss.value for cost in found.each]
    assert costs == sorted(costs, reverse=True)
    assert {cost.term for cost in found.each} == {" x ".join(fields) for fields in TERMS}
    assert found.changes is None
    for cost in found.each[:2]:
        alone = edited(box, off=(cost.term,))
        assert cost.changes.logloss.value == pytest.approx(alone.changes.logloss.value, abs=1e-6)
        assert cost.changes.auc.value == pytest.approx(alone.changes.auc.value, abs=3e-5)
        assert cost.changes.auc.error == pytest.approx(alone.changes.auc.error, rel=0.01)
    without = edited(box, off=(AGE,), each=True)
    assert AGE not in {cost.term for cost in without.each}


def test_the_constant_keeps_the_mean_probability(box, tmp_path):
    _, model, batch = box
    plain = edited(box, off=(AGE, CITY))
    assert abs(plain.after.predicted - plain.before.predicted) > 0.01
    output = tmp_path / "edited.ckpt"
    found = edited(box, off=(AGE, CITY), keep_mean=True, output=output)
    assert found.after.predicted == pytest.approx(found.before.predicted, abs=1e-6)
    expected = logits_of(model, batch) - added_by(model, batch, AGE, CITY) + found.shift
    torch.testing.assert_close(
        logits_of(model_of(load(output)), batch), expected, atol=1e-5, rtol=0
    )
    assert "so that the mean probability stays" in shown(found)


def test_weighted_rows_count_by_their_weight(box):
    path, model, batch = box
    weight = torch.arange(900).remainder(3).float()
    found = edit(path, Wanted(off=(AGE,)), Given(BOX, [batch._replace(weight=weight)]), "val")
    p = (logits_of(model, batch) - added_by(model, batch, AGE)).sigmoid().numpy()
    kept = weight.numpy() > 0
    args = batch.label.numpy()[kept], p[kept]
    assert found.after.logloss == pytest.approx(log_loss(*args, sample_weight=weight.numpy()[kept]))
    assert found.changes.logloss.value == pytest.approx(found.after.logloss - found.before.logloss)


def test_labels_of_one_class_have_no_auc(box):
    path, _, batch = box
    data = Given(BOX, [batch._replace(label=torch.ones(900))])
    found = edit(path, Wanted(off=(AGE,), each=True), data, "val")
    assert found.changes.auc is None
    (line,) = (line for line in shown(found).splitlines() if "change │" in line)
    assert [cell.strip() for cell in line.split("│")[2:5]] == ["", "", "-"]


# What is written


def test_a_checkpoint_says_what_was_measured_of_it_and_no_training_goes_on(box, tmp_path):
    path, output = box[0], tmp_path / "edited.ckpt"
    found = edited(box, off=(AGE,), output=output)
    content = torch.load(output, weights_only=True)
    assert content["metrics"] == {"val/auc": found.after.auc, "val/logloss": found.after.logloss}
    before = torch.load(path, weights_only=True)
    assert content.keys() <= before.keys()
    assert not content.keys() & {"optimizer_states", "lr_schedulers", "callbacks", "loops"}
    assert edited(box, split="", off=(AGE,), output=output).before is None
    assert torch.load(output, weights_only=True)["metrics"] == {}


def test_the_given_file_stays_unless_it_is_named(box, tmp_path):
    path = tmp_path / "mine.ckpt"
    path.write_bytes(box[0].read_bytes())
    edit(path, Wanted(off=(AGE,)), None, "")
    assert path.read_bytes() == box[0].read_bytes()
    edit(path, Wanted(off=(AGE,), output=path), None, "")
    assert not model_of(load(path)).terms[0].on


@pytest.mark.parametrize("name", ["edited.ckpt", "run"])
def test_a_file_is_never_half_written(box, tmp_path, name):
    run = tmp_path / "given"
    (run / "checkpoints").mkdir(parents=True)
    (run / "encoder").mkdir()
    (run / "config.yaml").write_text("data: {}")
    path = run / "checkpoints" / "box.ckpt"
    path.write_bytes(box[0].read_bytes())
    output = tmp_path / name
    if name.endswith(".ckpt"):
        output.write_bytes(b"before")

    def fail(content, file):
        file.write(b"half")
        raise OSError(28, "No space left on device", file.name)

    with mock.patch("torch.save", fail), pytest.raises((OSError, ZooError), match="space"):
        edit(path, Wanted(off=(AGE,), output=output), None, "")
    assert {p.name for p in tmp_path.iterdir()} <= {"given", "edited.ckpt"}
    assert not output.exists() or output.read_bytes() == b"before"


# What is refused


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"off": ("aeg",)}, "off: the model has no term 'aeg'; did you mean age"),
        ({"on": ("?",)}, r"on: the model has no term '\?'; there are 6: age, <b>city</b>, tags"),
        ({"off": (AGE,), "on": (AGE,)}, "off and on both name age"),
        ({"on": (AGE, TAGS)}, "on: age, tags of .*box.ckpt is on already"),
        ({"off": (AGE,), "keep_mean": True}, "keep_mean needs rows: choose a split"),
        ({"each": True}, "each needs rows: choose a split"),
    ],
)
def test_what_cannot_be_done_is_said(box, wanted, message):
    with pytest.raises(ZooError, match=message):
        edited(box, split="", **wanted)


def test_nothing_to_do_and_places_that_cannot_be_written(box, tmp_path):
    with pytest.raises(ZooError, match="edit has nothing to do: name terms"):
        Wanted()
    with pytest.raises(ZooError, match="nothing is edited that could be written"):
        Wanted(each=True, output=tmp_path / "e.ckpt")
    (tmp_path / "folder.ckpt").mkdir()
    for output, message in (
        ("folder.ckpt", "folder.ckpt is a folder: name a file"),
        ("none/e.ckpt", "there is no folder .*none"),
        (".", "exists: name a folder that does not, or a file that ends in .ckpt"),
        ("run", "lies in no run directory, of which a folder would be a copy"),
    ):
        with pytest.raises(ZooError, match=message):
            edited(box, split="", off=(AGE,), output=tmp_path / output)


def test_a_model_without_terms_is_refused(tmp_path):
    path = saved(small("DeepFM"), tmp_path / "deep.ckpt")
    with pytest.raises(ZooError, match=r"deep.ckpt: DeepFM is no sum of terms, of which some"):
        edit(path, Wanted(off=("n0",)), None, "")


def test_data_of_another_schema_are_refused(box, tmp_path):
    data = Given(zoo.Schema((zoo.Field("n", "numerical"),)), [])
    with pytest.raises(ZooError, match="was trained on another schema than these data"):
        edit(box[0], Wanted(off=(AGE,)), data, "val")
    with pytest.raises(ZooError, match="Given has no split test; it has val"):
        edited(box, split="test", off=(AGE,))


# The command, and Python, of a run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A glass box that was fitted to a table."""
    folder = tmp_path_factory.mktemp("glass")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        terms = [["item"], ["price"], ["item", "price"]]
        model = {"class_path": "AdditiveNetwork", "embedding_dim": 4, "terms": terms}
        return fit(table(1500), model=model, fields=FIELDS)


@pytest.fixture
def home(run, monkeypatch):
    monkeypatch.chdir(run.path.parents[2])
    return run.path


def test_the_command_writes_a_run_that_predicts_and_is_inspected(run, home, tmp_path, capsys):
    output = tmp_path / "without"
    line = ["edit", "--ckpt_path", home, "--off", "price x item", "--each", "--output", output]
    command(*line)
    said = capsys.readouterr().out
    assert "switched off: item x price; 2 of 3 terms are on" in said
    assert said.strip().endswith(str(output))
    frame = table(50)
    without = zoo.load(output)
    lines = run.explain(frame)
    parts = lines.groupby(level=0, sort=False).contribution.sum()
    p = run.predict(frame).astype(float)
    np.testing.assert_allclose(parts, np.log(p / (1 - p)), atol=1e-4)
    pair = lines[lines.fields == "item x price"].contribution
    found = without.predict(frame).astype(float)
    np.testing.assert_allclose(np.log(found / (1 - found)), parts - pair, atol=1e-4)
    assert {*without.explain(frame).fields} == {"(intercept)", "item", "price"}
    command("validate", "--config", output / "config.yaml", *QUIET)
    assert f"{without.metrics['val/auc']:.10f}"[:10] in capsys.readouterr().out
    command("inspect", output / "checkpoints/best.ckpt", "--config", output / "config.yaml")
    assert "item x price (off)" in capsys.readouterr().out


def test_the_command_prints_json_and_names_what_a_file_needs(home, tmp_path, capsys):
    line = ["edit", f"--ckpt_path={home}", "--off", "price", f"--output={tmp_path}/e.ckpt"]
    command(*line, "--json", "--split=test")
    plain = json.loads(capsys.readouterr().out)
    assert plain["off"] == ["price"]
    assert plain["changes"]["logloss"]["value"] == pytest.approx(
        plain["after"]["logloss"] - plain["before"]["logloss"]
    )
    command(*line, "--split=none")
    said = capsys.readouterr()
    assert f"--data.encoder {home}/encoder" in said.err
    assert "quality" not in said.out


def test_explain_says_what_each_term_adds(home, tmp_path, capsys):
    line = ["explain", f"--config={home}/config.yaml", *QUIET]
    command(*line, "--row=3", f"--output={tmp_path}/row.json")
    assert "exactly the sum of the terms below and a constant" in capsys.readouterr().out
    (row,) = json.loads((tmp_path / "row.json").read_text())["rows"]
    parts = [row["intercept"], *row["fields"], *row["interactions"]]
    assert sum(part["contribution"] for part in parts) == pytest.approx(row["logit"])
    assert [part["field"] for part in row["fields"]] in (["item", "price"], ["price", "item"])
    table(20).to_parquet(tmp_path / "rows.parquet")
    command(*line, f"--rows={tmp_path}/rows.parquet", f"--output={tmp_path}/all.parquet")
    lines = pd.read_parquet(tmp_path / "all.parquet")
    assert len(lines) == 20 * 4
    assert "20 predictions" in capsys.readouterr().out
    assert "position is of sessions" in error_of(*line, "--row=3", "--position=1")


def test_mistakes_on_the_command_line(home, tmp_path):
    best = home / "checkpoints/best.ckpt"
    for given, message in (
        (
            ["--off", "item x prize"],
            "off: the model has no term 'item x prize'; did you mean item x",
        ),
        (["--off", "price", f"--output={best}"], "metrics.json describes: name another"),
        (["--of", "price"], "unknown option of; did you mean off?"),
        (
            ["--off", "price", "--split=none", "--data.batch_size=7"],
            "of which --split none measures",
        ),
        (["--off", "price", "--split=all"], "split"),
    ):
        assert message in error_of("edit", f"--ckpt_path={home}", *given)
    lost = tmp_path / "lost.ckpt"
    lost.write_bytes(best.read_bytes())
    assert "says what its data are: give --config FILE, or --split none" in error_of(
        "edit", f"--ckpt_path={lost}", "--off", "price"
    )
    said = error_of("edit", "--ckpt_path=none.ckpt", "--off=price")
    assert said == "error: no such checkpoint: none.ckpt"


def test_python_says_the_same_and_leaves_the_run_as_it_was(run, home):
    before = run.predict(table(20))
    found = run.edit(off=["price"], each=True)
    assert isinstance(found.each[0].term, str)
    assert found.before.auc == pytest.approx(run.metrics["val/auc"])
    assert "change" in shown(found)
    pd.testing.assert_series_equal(before, run.predict(table(20)))
    assert all(term.on for term in run.model.terms)
    with pytest.raises(ZooError, match="off: the model has no term 'prize'"):
        run.edit(off=["prize"])
