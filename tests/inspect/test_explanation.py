"""`inspect`: examples of experts, sessions, and every model explained."""

import json
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from support.browsing import plots_of
from support.explained_rows import CROSS, encoder, rows, sessions
from support.inspection import Given, command, lightning_warnings, shown
from support.small_checkpoints import (
    MODELS,
    ROWS,
    SESSION_SUBSETS,
    SESSIONS,
    row_batch,
    session_batch,
    small,
)

from zoo import Field, Schema
from zoo.inspect import load
from zoo.inspect.report import report
from zoo.inspect.scores import score
from zoo.inspect.table import TextTable
from zoo.inspect.weights_only.effects import effects_of
from zoo.inspect.with_data import examples, session
from zoo.inspect.with_data.examples import Example, examples_of
from zoo.inspect.with_data.explanation import explain
from zoo.inspect.with_data.prediction import Prediction
from zoo.inspect.with_data.session import session_of

pytestmark = lightning_warnings
ORDERS = [f"attention over fields, order {order}" for order in (1, 2, 3)]
GATES = {
    "FiBiNET": ["weights of SENET", "bilinear interactions"],
    "InterHAt": [*ORDERS, "attention over orders"],
}


def explained(found, batch):
    """The scores of a checkpoint on one batch."""
    return score(found, Given(found.schema, [batch]))


# experts


def test_examples_are_the_rows_in_which_an_expert_is_sure_and_heard(tmp_path):
    model, batch = small("InterpretableMLP", embedding_std=1.0).eval(), rows()
    encoder(tmp_path / "encoder")
    found = examples_of(model, batch, tmp_path / "encoder")
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
            found_here = example.prediction
            assert found_here.probability == pytest.approx(float(logits[i].sigmoid()), abs=1e-6)
            assert found_here.label == float(batch.label[i])
            assert list(found_here.attribution) == ["few", "all"]
            assert list(found_here.attribution.values()) == pytest.approx(attribution[i].tolist())
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


def test_an_example_shows_the_share_of_its_own_expert():
    others = {f"e{i}": 0.24 for i in range(4)}
    example = Example("mine", Prediction(0.5, 1.0, {**others, "mine": 0.004}), {"n0": 1.0})
    (section,) = examples.sections([example])
    (table,) = (item for item in section.content if isinstance(item, TextTable))
    ((_, _, shares, *_),) = table.rows
    assert shares.endswith("mine 0.00")


def test_one_expert_alone_has_no_examples():
    found = explain(MODELS["InterpretableMLP"](ROWS, embedding_dim=4).eval(), [rows()], 100)
    assert found.examples == ()


@pytest.mark.parametrize("name", ["InterpretableGRU", "InterpretableTransformer"])
def test_the_session_is_the_one_whose_attribution_changes_most(name):
    model, batch = small(name).eval(), sessions()
    batch.future.mul_(3)
    found = session_of(model, batch)
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
    found = session_of(model, batch)
    traces = {trace.name: trace for trace in session.figure(found).draw().data}
    for expert in SESSION_SUBSETS:
        assert list(traces[expert].y) == [t.attribution[expert] for t in found.tracks]
    assert list(traces["probability"].y) == [t.probability for t in found.tracks]
    known = sum(track.label is not None for track in found.tracks) + len(found.past)
    assert len(traces["skipped"].x) + len(traces["not skipped"].x) == known


# all of it


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_explained(name, checkpoint_of, tmp_path, capsys):
    model = small(name)
    found = load(checkpoint_of(name))
    batch = session_batch() if model.schema == SESSIONS else row_batch()
    data = Given(model.schema, [batch, batch])
    config = tmp_path / "config.yaml"
    config.write_text("data: {class_path: datamodules.GaussianClusters}")
    made = {"data": data}
    with mock.patch("zoo.run.parser.ZooParser.instantiate_classes", return_value=made):
        capsys.readouterr()
        command(found.file, "--config", config, "--json", "--sample", 20)
    plain = json.loads(capsys.readouterr().out)
    explanation = plain["scores"]["explanation"]
    assert explanation["rows"] == {24: 18}.get(batch.label.numel(), 20)
    assert {i["field"] for i in explanation["importance"]} == {f.name for f in model.schema.fields}
    assert bool(explanation["attention"]) == (name in ("AutoInt", "InterHAt"))
    assert [gate["title"] for gate in explanation["gates"]] == GATES.get(name, [])
    assert bool(explanation["examples"]) == name.startswith("Interpretable")
    in_sessions = name in ("InterpretableGRU", "InterpretableTransformer")
    assert bool(explanation["session"]) == in_sessions
    assert bool(plain["effects"]["crosses"]) == (name in ("DCN", "FiBiNET"))
    assert bool(plain["effects"]["linear"]) == (
        name in ("WideDeep", "DeepFM", "xDeepFM", "FiBiNET")
    )
    scores = explained(found, batch)
    assert "importance: what changes" in shown(scores)
    page = report(found, scores)
    assert ("a session: attribution of the tracks" in page) == in_sessions
    assert len(plots_of(page)) >= 3


def test_long_names_and_many_fields_keep_the_figures_small():
    fields = tuple(Field(f"{'long ' * 30}{i}", "categorical", 4) for i in range(130))
    model = small("DCN", Schema(fields), parameterization="matrix", cross_layers=1)
    parameters = dict(model.named_parameters())
    (grid,) = effects_of(Schema(fields), model.description, parameters).crosses
    assert len(grid.rows) == 130
    plot = grid.figure().draw()
    assert (len(plot.data[0].z), len(plot.data[0].z[0])) == (100, 100)
    assert max(map(len, plot.layout.xaxis.ticktext)) <= 16
    assert "Only the 100 fields" in grid.figure().reading


def test_a_sample_is_no_negative_number(checkpoint_of, capsys):
    checkpoint = checkpoint_of("DeepFM")
    with pytest.raises(SystemExit):
        command(checkpoint, "--sample", "-3")
    assert "sample" in capsys.readouterr().err
    assert Path(checkpoint).is_file()
