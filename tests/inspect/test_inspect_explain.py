"""`inspect`: examples of experts, sessions, interactions, and every model explained."""

import json
import re
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from support.explained_rows import CROSS, encoder, rows, sessions
from support.inspection import changed, command, lightning_warnings, refusal, shown
from support.small_checkpoints import (
    MODELS,
    ROWS,
    SESSION_SUBSETS,
    SESSIONS,
    fitted,
    row_batch,
    session_batch,
    small,
)

from zoo import Field, Schema, ZooError
from zoo.glider.detect import Result, summarise
from zoo.inspect import figures, load
from zoo.inspect.effects import effects_of
from zoo.inspect.explain import Example, Explanation, Prediction, examples, explain, session
from zoo.inspect.explain_sheets import examples_sheet
from zoo.inspect.interactions import read_interactions
from zoo.inspect.report import report
from zoo.inspect.scores import score

pytestmark = lightning_warnings


def explained(found, batch):
    """The scores of a checkpoint on one batch."""
    data = mock.Mock(schema=found.schema, encoder_folder=None)
    data.val_dataloader.return_value = [batch]
    return score(found, data)


# experts


def test_examples_are_the_rows_in_which_an_expert_is_sure_and_heard(tmp_path):
    model, batch = small("InterpretableMLP", embedding_std=1.0).eval(), rows()
    encoder(tmp_path / "encoder")
    found = examples(model, batch, tmp_path / "encoder")
    assert [example.expert for example in found] == ["few"] * 3 + ["all"] * 3
    with torch.no_grad():
        gates = model.expert_outputs(batch).double().tanh().abs()
        logits, attribution = model.explain(batch)
    # few lies inside all
    few, all_ = gates[:, 0], gates[:, 1] * (1 - gates[:, 0])
    for expert, alpha in (("few", few), ("all", all_)):
        heard = alpha * alpha / (few + all_)
        most = heard.argsort(descending=True)[:3].tolist()
        for i, example in zip(most, (e for e in found if e.expert == expert), strict=True):
            told = example.prediction
            assert told.probability == pytest.approx(float(logits[i].sigmoid()), abs=1e-6)
            assert told.label == float(batch.label[i])
            assert list(told.attribution) == ["few", "all"]
            assert list(told.attribution.values()) == pytest.approx(attribution[i].tolist())
            values = {"n0": pytest.approx(float(batch.numerical[i, 0]))}
            if expert == "all":
                ids = dict(
                    zip([f.name for f in ROWS.categorical], batch.categorical[i], strict=True)
                )
                known = {"[red]c0[/red]": {6: "six"}, "<b>c1</b>": {2: "<i>two</i>"}}
                known[CROSS] = {2: "six x <i>two</i>", 3: "(unknown) x id 9"}
                special = {0: "(unknown)", 1: "(missing)"}
                values |= {f: (special | known[f]).get(int(v), f"id {v}") for f, v in ids.items()}
            assert example.values == values


def test_an_example_tells_the_share_of_its_own_expert():
    others = {f"e{i}": 0.24 for i in range(4)}
    example = Example("mine", Prediction(0.5, 1.0, {**others, "mine": 0.004}), {"n0": 1.0})
    found = Explanation(1, (), (), (example,), None)
    ((_, _, shares, *_),) = examples_sheet(found).rows
    assert shares.endswith("mine 0.00")


def test_one_expert_alone_is_not_told_by_examples():
    found = explain(MODELS["InterpretableMLP"](ROWS, embedding_dim=4).eval(), [rows()], 100)
    assert found.examples == ()


@pytest.mark.parametrize("name", ["InterpretableGRU", "InterpretableTransformer"])
def test_the_session_is_the_one_whose_attribution_changes_most(name):
    model, batch = small(name).eval(), sessions()
    batch.future.mul_(3)
    found = session(model, batch)
    with torch.no_grad():
        logits, attribution = model.explain(batch)
    lengths = batch.future_mask.sum(1).tolist()
    change = [
        sum(float((a[t] - a[t - 1]).abs().sum()) for t in range(1, n))
        for a, n in zip(attribution, lengths, strict=True)
    ]
    i = int(np.argmax(change))
    assert len(found.tracks) == lengths[i]
    for t, track in enumerate(found.tracks):
        assert track.probability == pytest.approx(float(logits[i, t].sigmoid()), abs=1e-6)
        assert list(track.attribution) == list(SESSION_SUBSETS)
        assert list(track.attribution.values()) == pytest.approx(attribution[i, t].tolist())
        unknown = batch.label[i, t].isnan()
        assert track.label == (None if unknown else float(batch.label[i, t]))
    assert found.past == tuple((batch.past[i, batch.past_mask[i], 1] > 0.5).tolist())


def test_the_figure_of_a_session_shows_each_expert():
    model, batch = small("InterpretableGRU").eval(), sessions()
    found = session(model, batch)
    traces = {trace.name: trace for trace in figures.session(found).plot.data}
    for expert in SESSION_SUBSETS:
        assert list(traces[expert].y) == [t.attribution[expert] for t in found.tracks]
    assert list(traces["probability"].y) == [t.probability for t in found.tracks]
    known = sum(track.label is not None for track in found.tracks) + len(found.past)
    assert len(traces["skipped"].x) + len(traces["not skipped"].x) == known


@pytest.fixture
def detected(tmp_path):
    """What `detect` writes of three rows."""
    fields = [f.name for f in (*ROWS.numerical, *ROWS.categorical)]
    results = [
        Result(i, found, [[]], (0.9, 0.5, 0.8))
        for i, found in enumerate([[(1, 2), (0, 1)], [(1, 2)], [(1, 2), (0, 1, 2)]])
    ]
    path = tmp_path / "interactions.json"
    path.write_text(json.dumps({"model": "DeepFM", **summarise(results, fields)}))
    return path


# interactions


def test_interactions_are_listed(detected, tmp_path, capsys):
    checkpoint = fitted(small("DeepFM"), tmp_path / "model.ckpt")
    capsys.readouterr()
    command(checkpoint, "--interactions", detected, "--json", "--html", tmp_path / "r.html")
    found = json.loads(capsys.readouterr().out)["interactions"]
    written = json.loads(detected.read_text())["interactions"]
    assert found["instances"] == 3
    assert [{k: v for k, v in row.items() if k != "order"} for row in written] == found["found"]
    command(checkpoint, "--interactions", detected)
    assert "interactions found in DeepFM, in 3 rows" in capsys.readouterr().out
    text = shown(read_interactions(detected, ROWS))
    assert re.search(r"│ \[red\]c0\[/red\] x <b>c1</b> +│ +3 │ +0 │", text)
    page = (tmp_path / "r.html").read_text()
    assert "<td class=word>[red]c0[/red] x &lt;b&gt;c1&lt;/b&gt;</td><td>3</td>" in page


def test_a_list_by_hand_and_an_empty_one_will_do(detected):
    detected.write_text('{"format": 1, "interactions": [{"fields": ["n0", "<b>c1</b>"]}]}')
    found = read_interactions(detected, ROWS)
    assert (found.found[0].fields, found.found[0].count) == (("n0", "<b>c1</b>"), None)
    assert "n0 x <b>c1</b> │     - " in shown(found)
    detected.write_text('{"format": 1, "interactions": []}')
    found = read_interactions(detected, ROWS)
    assert found.found == ()
    assert "interactions found in a model" in shown(found)
    assert figures.interactions(found).plot.data[0].x == ()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "is not JSON: "),
        ("[" * 100_000, "is not JSON: "),
        ("\udcff", "is not JSON: "),
        ("[]", 'is not a file of interactions: it has no list "interactions"'),
        ('{"format": 1}', 'is not a file of interactions: it has no list "interactions"'),
        ('{"format": 9, "interactions": []}', "has format 9, this version reads 1"),
        ('{"format": 1, "interactions": [3]}', 'interaction 1 lacks its "fields", a list'),
        ('{"format": 1, "interactions": [{"fields": [[]]}]}', 'interaction 1 lacks its "fields"'),
        ('{"format": 1, "interactions": [{"fields": ["n0"]}]}', "has fewer than two fields: n0"),
        (
            '{"format": 1, "interactions": [{"fields": ["n0", "C7"]}]}',
            "interaction 1 names C7, which the checkpoint's schema lacks: the file is of other",
        ),
        (
            '{"format": 1, "interactions": [{"fields": ["n0", "<b>c1</b>"], "count": "many"}]}',
            "interaction 1 has no number as its count: 'many'",
        ),
        (
            '{"format": 1, "interactions": [{"fields": ["n0", "<b>c1</b>"], "p_uniform": NaN}]}',
            "interaction 1 has no number as its p_uniform: nan",
        ),
    ],
)
def test_a_file_that_holds_no_interactions(content, sentence, tmp_path):
    path = tmp_path / "interactions.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ZooError) as error:
        read_interactions(path, ROWS)
    assert str(error.value).startswith(str(path))
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_interactions_need_a_file_and_one_checkpoint(tmp_path):
    checkpoint = fitted(small("DeepFM"), tmp_path / "model.ckpt")
    missing = tmp_path / "nowhere.json"
    assert refusal(checkpoint, "--interactions", missing) == (
        f"{missing} cannot be read: No such file or directory"
    )
    assert "one checkpoint" in refusal(checkpoint, checkpoint, "--interactions", missing)
    foreign = changed(checkpoint, lambda c: c.pop("model_class"))
    assert "no model of this project" in refusal(foreign, "--interactions", missing)


# all of it


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_explained(name, tmp_path, capsys):
    model = small(name)
    found = load(fitted(model, tmp_path / "model.ckpt"))
    batch = session_batch() if model.schema == SESSIONS else row_batch()
    data = mock.Mock(schema=model.schema, encoder_folder=None)
    data.val_dataloader.return_value = [batch, batch]
    config = tmp_path / "config.yaml"
    config.write_text("data: {class_path: datamodules.GaussianClusters}")
    made = mock.Mock(data=data)
    with mock.patch("zoo.run.parser.ZooParser.instantiate_classes", return_value=made):
        capsys.readouterr()
        command(found.file, "--config", config, "--json", "--sample", 20)
    plain = json.loads(capsys.readouterr().out)
    explanation = plain["scores"]["explanation"]
    assert explanation["rows"] == {24: 18}.get(batch.label.numel(), 20)
    assert {i["field"] for i in explanation["importance"]} == {f.name for f in model.schema.fields}
    assert bool(explanation["attention"]) == (name == "AutoInt")
    assert bool(explanation["examples"]) == name.startswith("Interpretable")
    in_sessions = name in ("InterpretableGRU", "InterpretableTransformer")
    assert bool(explanation["session"]) == in_sessions
    assert bool(plain["effects"]["crosses"]) == (name == "DCN")
    assert bool(plain["effects"]["linear"]) == (name in ("WideDeep", "DeepFM", "xDeepFM"))
    scores = explained(found, batch)
    assert "importance: what changes" in shown(scores)
    page = report(found, scores)
    assert ("a session: who has most to say" in page) == in_sessions
    assert page.count("Plotly.newPlot(") >= 3


def test_long_names_and_many_fields_keep_the_figures_small():
    fields = tuple(Field(f"{'long ' * 30}{i}", "categorical", 4) for i in range(130))
    model = small("DCN", Schema(fields), parameterization="matrix", cross_layers=1)
    (grid,) = effects_of(Schema(fields), model.hparams, dict(model.named_parameters())).crosses
    assert len(grid.rows) == 130
    plot = figures.heat(grid).plot
    assert (len(plot.data[0].z), len(plot.data[0].z[0])) == (100, 100)
    assert max(map(len, plot.layout.xaxis.ticktext)) <= 16
    assert "Only the 100 fields" in figures.heat(grid).reading


def test_a_sample_is_no_negative_number(tmp_path, capsys):
    checkpoint = fitted(small("DeepFM"), tmp_path / "model.ckpt")
    with pytest.raises(SystemExit):
        command(checkpoint, "--sample", "-3")
    assert "sample" in capsys.readouterr().err
    assert Path(checkpoint).is_file()
