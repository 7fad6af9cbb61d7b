"""Rows that a report lets one choose from: which they are, and what is said of them."""

import json
import warnings
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
from support.browsing import browse, needs_browser
from support.explained_rows import rows, sessions
from support.inspection import Given, command, lightning_warnings, shown
from support.small_checkpoints import SESSIONS, fitted, small

from zoo import explain
from zoo.data.batch import take
from zoo.inspect import load
from zoo.inspect.report import report
from zoo.inspect.scores import score
from zoo.inspect.with_data.chosen import HIGH, LEAST, LOW, RANDOM, SUREST, choose
from zoo.inspect.with_data.quality import Scored, score_rows
from zoo.run.inspect_data import explained
from zoo.run.inspect_rows import explain_chosen

pytestmark = lightning_warnings


class Trained(Given):
    """Data with training rows, whose means are what numbers are where they are off."""

    def train_dataloader(self):
        return self.given


def checkpoint(name, folder, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load(fitted(small(name, **options), folder / f"{name}.ckpt"))


def scored(logits, labels):
    empty = torch.zeros(len(logits), 0)
    place = torch.arange(len(logits)).unsqueeze(1)
    return Scored(logits, labels, empty, empty, (), place=place)


# Which


def test_the_rows_are_wrong_sure_and_random():
    random = torch.Generator().manual_seed(3)
    logits = torch.randn(1000, generator=random)
    labels = (torch.rand(1000, generator=random) < 0.3).float()
    found = choose(scored(logits, labels), 40)
    assert len(found) == len({each.row for each in found}) == 40
    by_kind = {}
    for each in found:
        by_kind.setdefault(each.why, []).append(each.row)
    order = logits.argsort().tolist()
    positive = [i for i in order if labels[i] > 0.5]
    negative = [i for i in order[::-1] if labels[i] < 0.5]
    assert by_kind[LOW] == positive[:5]
    assert by_kind[HIGH] == negative[:5]
    left = [i for i in order if i not in by_kind[LOW] and i not in by_kind[HIGH]]
    assert by_kind[SUREST] == left[:-6:-1]
    assert by_kind[LEAST] == left[:5]
    assert len(by_kind[RANDOM]) == 20
    assert choose(scored(logits, labels), 40) == found


@pytest.mark.parametrize("count", [1, 3, 7, 8, 50])
def test_few_rows_are_all_chosen_once_and_none_that_is_not_finite(count):
    logits = torch.tensor([torch.nan, 1.0, -torch.inf, 0.0, 2.0, torch.inf, -1.0])
    found = choose(scored(logits, torch.tensor([1.0, 0, 1, 0, 1, 0, 1])), count)
    assert len(found) == min(count, 4)
    assert {each.row for each in found} <= {1, 3, 4, 6}


def test_tracks_are_chosen_by_session_and_position():
    model, batch = small("InterpretableGRU").eval(), sessions()
    found = score_rows(model, [batch, batch], ())
    with torch.no_grad():
        logits = torch.cat([model(batch)] * 2)
    for each in choose(found, 30):
        session, track = each.row, each.position - 1
        assert torch.cat([batch.labelled] * 2)[session, track]
        place = (found.place == torch.tensor([session, track])).all(1).nonzero().item()
        assert found.logits[place] == pytest.approx(float(logits[session, track]), abs=1e-6)


# What is said of them


@pytest.mark.parametrize("name", ["DeepFM", "InterpretableMLP"])
def test_a_row_is_explained_as_by_explain(name, tmp_path):
    found = checkpoint(name, tmp_path, embedding_std=0.5)
    batches = [rows(70), rows(50)]
    data = Trained(found.schema, batches)
    scores = score(found, data, chosen=16)
    picked = explain_chosen(found, data, scores)
    assert [each.why for each in picked.rows] == [each.why for each in scores.chosen]
    model = small(name).__class__.load_from_checkpoint(found.file, weights_only=True).eval()
    means = {"n0": float(torch.cat([batch.numerical for batch in batches]).mean())}
    for choice, each in zip(scores.chosen[::5], picked.rows[::5], strict=True):
        row = each.row
        first = choice.row < 70
        batch = take(batches[not first], slice(*(np.array([0, 1]) + choice.row - 70 * (not first))))
        lines = explain(model, batch, means).set_index("fields")
        mine = pd.Series({c.name or "(intercept)": c.contribution for c in row.all_lines()})
        pd.testing.assert_series_equal(
            mine, lines.contribution, check_names=False, check_index_type=False, rtol=1e-5
        )
        assert sum(c.contribution for c in row.all_lines()) == pytest.approx(row.logit)
        with torch.no_grad():
            assert row.logit == pytest.approx(float(model(batch)), abs=1e-5)
        assert row.label == float(batch.label)
        assert row.row == choice.row
        assert bool(row.attribution) == (name == "InterpretableMLP")


@pytest.mark.slow
@needs_browser
def test_a_track_is_shown_in_its_session(tmp_path):
    found = checkpoint("InterpretableTransformer", tmp_path)
    batch = sessions(8)
    data = Trained(SESSIONS, [batch])
    scores = score(found, data, chosen=12)
    picked = explain_chosen(found, data, scores)
    for each in picked.rows:
        assert len(each.session.tracks) == int(batch.future_mask[each.row.row].sum())
        mine = each.session.tracks[each.row.position - 1]
        assert mine.probability == pytest.approx(each.row.probability, abs=1e-6)
        assert mine.label == each.row.label
    drive = """
      const marked = () => all(".chosen .track-of-session .this").map((track) => track.textContent);
      const before = marked();
      const link = document.querySelector(".chosen .track-of-session a");
      const target = link && link.hash.slice(1);
      if (link) link.click();
      return [before, target, all("article.chosen").map((article) => article.id)];
    """
    seen = browse(report(found, scores, picked), 390, tmp_path, drive)["driven"]
    marked, target, chosen = seen
    first = picked.rows[0]
    assert len(marked) == 1
    assert marked[0].startswith(f"track {first.row.position}{first.row.probability:.2f}")
    assert chosen == [target or first.id]


def test_a_report_says_why_no_row_is_explained(tmp_path):
    found = checkpoint("DeepFM", tmp_path)
    data = Given(found.schema, [rows(50)])  # without training rows
    scores = score(found, data, chosen=8)
    picked = explained(found, data, scores)
    assert picked.rows == ()
    text = report(found, scores, picked)
    assert "No row is explained: Given has no rows to train on" in text
    assert "What does it use?" in text


def test_rows_without_finite_scores_are_left_out(tmp_path):
    found = checkpoint("DeepFM", tmp_path)
    batch = rows(50)
    data = Trained(found.schema, [batch])
    scores = score(found, data, chosen=8)
    batch.numerical[:] = torch.where(torch.arange(50) % 2 > 0, torch.nan, 1.0).unsqueeze(1)
    with mock.patch("zoo.run.inspect_rows.training_means", return_value=torch.zeros(1)):
        picked = explain_chosen(found, data, scores)
    odd = sum(each.row % 2 for each in scores.chosen)
    assert 0 < picked.left_out == odd < 8
    assert f"{odd} rows are not explained: NaN or infinite" in shown(picked).replace("\n", " ")


def test_the_command_explains_as_many_as_it_is_asked_for(tmp_path, capsys):
    found = checkpoint("DeepFM", tmp_path)
    config, page = tmp_path / "config.yaml", tmp_path / "page.html"
    config.write_text("data: {class_path: datamodules.GaussianClusters}")
    data = {"data": Trained(found.schema, [rows(60)])}
    with mock.patch("zoo.run.parser.ZooParser.instantiate_classes", return_value=data):
        line = [found.file, "--config", config, "--sample=20"]
        command(*line, "--explain=3")
        text = capsys.readouterr().out
        assert text.count("│ random │") == 3
        command(*line, "--html", page)
        assert "explained rows" not in capsys.readouterr().out
        assert page.read_text().count("<article") == 40
        command(*line, "--html", page, "--explain=0")
        assert "<article" not in page.read_text()
        capsys.readouterr()
        command(*line, "--html", page, "--explain=10", "--json")
    plain = json.loads(capsys.readouterr().out)["rows"]["rows"]
    assert page.read_text().count("<article") == len(plain) == 10
    for each in plain:
        parts = [*each["fields"], *each["interactions"], each["intercept"], each["weaker"]]
        total = sum(part["contribution"] for part in parts) + each["rest"]
        assert total == pytest.approx(each["logit"])
