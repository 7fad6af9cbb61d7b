"""`inspect`: which fields count, and who says what, against independent computation."""

import json
import math
import re
from itertools import product
from pathlib import Path
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score
from small_checkpoints import (
    MODELS,
    ROWS,
    SESSION_SUBSETS,
    SESSIONS,
    fitted,
    row_batch,
    session_batch,
    small,
)
from test_inspect import changed, command, refusal, shown

from zoo import Batch, Field, Schema, SessionBatch, ZooError
from zoo.glider.detect import Result, summarise
from zoo.inspect import figures, load
from zoo.inspect.effects import effects_of
from zoo.inspect.explain import (
    Example,
    Explanation,
    Prediction,
    attention,
    examples,
    explain,
    session,
)
from zoo.inspect.explain_sheets import examples_sheet
from zoo.inspect.importance import importance
from zoo.inspect.interactions import read_interactions
from zoo.inspect.report import report
from zoo.inspect.sample import sample
from zoo.inspect.scores import score
from zoo.inspect.training import Run
from zoo.inspect.vocabulary import names

CROSS = ROWS.fields[3].name

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*configure_optimizers` returned `None`", "ignore:Checkpoint directory .* not empty"
)


def rows(count=200, schema=ROWS):
    random = torch.Generator().manual_seed(1)
    ids = [torch.randint(f.cardinality, (count, 1), generator=random) for f in schema.categorical]
    numbers = torch.randn(count, len(schema.numerical), generator=random)
    labels = (torch.rand(count, generator=random) < 0.4).float()
    return Batch(numbers, torch.cat(ids, 1), labels)


def sessions(count=20, past=4, future=3, seed=1):
    """Sessions of unequal length, some of whose labels are not known."""
    random = torch.Generator().manual_seed(seed)
    seen, real = (
        torch.arange(most) < torch.randint(1, most + 1, (count, 1), generator=random)
        for most in (past, future)
    )
    real[0] = True
    label = torch.randint(2, (count, future), generator=random).float()
    label[0, 0] = torch.nan
    return SessionBatch(
        torch.randint(2, (count, past, 3), generator=random).float() * seen.unsqueeze(2),
        seen,
        torch.rand(count, future, 2, generator=random) * real.unsqueeze(2),
        real,
        label.masked_fill(~real, 0),
    )


def silenced(model):
    """The model with all weights at zero."""
    for parameter in model.parameters():
        parameter.data.zero_()
    return model.eval()


def order(count):
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))


def explained(found, batch):
    """The scores of a checkpoint on one batch."""
    data = mock.Mock(schema=found.schema, encoder_folder=None)
    data.val_dataloader.return_value = [batch]
    return score(found, data)


# importance


@pytest.mark.parametrize("field", ["<b>c1</b>", CROSS, "n0"])
def test_the_only_field_that_counts_is_found(field):
    model, batch = silenced(small("WideDeep")), rows()
    weights = torch.linspace(-2, 2, 11)
    if field == "n0":
        values = batch.numerical[:, 0]
        model.embedding.numerical_weight.data.fill_(0.7)
        logits = 0.7 * values
    else:
        f = [f.name for f in ROWS.categorical].index(field)
        values = batch.categorical[:, f]
        start = int(model.embedding.offsets[f])
        size = ROWS.categorical[f].cardinality
        model.embedding.table.data[start : start + size, -1] = weights[:size]
        logits = weights[values]
    random = torch.Generator().manual_seed(2)
    drawn = torch.rand(len(logits), generator=random) < logits.sigmoid()
    batch = batch._replace(label=drawn.float())
    first, *others = importance(model, batch)
    assert first.field == field
    assert {(item.auc, item.logloss, item.error) for item in others} == {(0, 0, 0)}

    p, q = (x.double().sigmoid().numpy() for x in (logits, logits[order(len(values))]))
    y = batch.label.numpy()
    assert first.logloss == pytest.approx(log_loss(y, q) - log_loss(y, p), abs=1e-6)
    assert first.auc == pytest.approx(roc_auc_score(y, p) - roc_auc_score(y, q), abs=1e-6)
    change = np.where(y == 1, np.log(p / q), np.log((1 - p) / (1 - q)))
    assert first.error == pytest.approx(change.std() / math.sqrt(len(y)), abs=1e-6)


def test_of_a_single_class_there_is_no_auc():
    batch = rows()._replace(label=torch.zeros(200))
    assert {item.auc for item in importance(small("DeepFM").eval(), batch)} == {None}


def test_the_only_field_of_sessions_that_counts_is_found():
    model, batch = small("LastSkip").eval(), sessions()
    found = {item.field: item for item in importance(model, batch)}
    first = found.pop("skip_2")
    assert {(item.auc, item.logloss) for item in found.values()} == {(0, 0)}

    events = [(b, t) for b, t in product(range(20), range(4)) if batch.past_mask[b, t]]
    values = [float(batch.past[b, t, 1]) for b, t in events]
    changed_values = dict(zip(events, [values[i] for i in order(len(events))], strict=True))
    unchanged = dict(zip(events, values, strict=True))
    losses = []
    for skips in (unchanged, changed_values):
        p, y = [], []
        for b, t in product(range(20), range(3)):
            if batch.future_mask[b, t] and not batch.label[b, t].isnan():
                last = max(time for session, time in events if session == b)
                p.append(2 / 3 if skips[b, last] else 1 / 3)
                y.append(float(batch.label[b, t]))
        losses.append(log_loss(y, p))
    assert first.logloss == pytest.approx(losses[1] - losses[0], abs=1e-6)


def test_what_is_known_of_both_parts_is_shuffled_in_both():
    model, batch = small("InterpretableGRU").eval(), sessions()
    (found,) = [item for item in importance(model, batch) if item.field == "energy"]
    moved = batch._replace(past=batch.past.clone(), future=batch.future.clone())
    for values, mask, column in (
        (moved.past, moved.past_mask, 2),
        (moved.future, moved.future_mask, 1),
    ):
        events = values[mask][:, column]
        values[..., column][mask] = events[order(len(events))]
    scored = batch.future_mask & ~batch.label.isnan()
    with torch.no_grad():
        p, q = (model(x)[scored].double().sigmoid().numpy() for x in (batch, moved))
    y = batch.label[scored].numpy()
    assert found.logloss == pytest.approx(log_loss(y, q) - log_loss(y, p), abs=1e-6)


# samples


def test_a_sample_of_all_is_all():
    batch = rows(60)
    parts = [Batch(*part) for part in zip(*(x.split(7) for x in batch[:3]), strict=True)]
    found = sample(parts, 60)
    assert all(torch.equal(a, b) for a, b in zip(found[:3], batch[:3], strict=True))


def test_a_sample_is_drawn_without_replacement_from_the_whole_split():
    numbers = torch.arange(5000.0).unsqueeze(1)
    ids, label = torch.zeros(5000, 3, dtype=torch.int), torch.zeros(5000)
    label[:1000] = torch.nan
    batches = [
        Batch(*parts) for parts in zip(*(x.split(99) for x in (numbers, ids, label)), strict=True)
    ]
    drawn = sample(batches, 1000).numerical.squeeze(1)
    assert len(drawn) == len(drawn.unique()) == 1000
    assert torch.equal(drawn, drawn.sort().values)
    assert drawn.min() >= 1000
    # the mean of 1000 of 4000 consecutive numbers, six deviations to each side
    assert abs(drawn.mean() - 2999.5) < 6 * 4000 / math.sqrt(12 * 1000)
    assert torch.equal(drawn, sample(batches, 1000).numerical.squeeze(1))


def test_tracks_of_sessions_count_as_rows():
    one, two = sessions(20), sessions(20, past=6, future=2, seed=2)
    found = sample([one, two], 120)
    assert len(found.label) == 40
    assert (found.past.shape, found.future.shape) == ((40, 6, 3), (40, 3, 2))
    assert int(found.past_mask.sum()) == int(one.past_mask.sum() + two.past_mask.sum())
    assert torch.equal(found.future[20:, :2], two.future)
    assert not found.future_mask[20:, 2].any()
    assert len(sample([one, two], 30).label) == 10


def test_of_no_labels_nothing_is_explained():
    batch = rows()._replace(label=torch.full((200,), torch.nan))
    assert explain(small("DeepFM").eval(), [batch], 100) is None
    assert explain(small("DeepFM").eval(), [rows()], 0) is None


# architectures


def test_attention_is_the_mean_of_each_row_and_head():
    model, batch = small("AutoInt", attention_dim=8).eval(), rows(30)
    grids = list(attention(model, batch))
    assert [grid.title for grid in grids] == [
        f"attention between fields, layer {i}" for i in (1, 2, 3)
    ]
    assert grids[0].rows == grids[0].columns == tuple(f.name for f in ROWS.fields)
    x = model.embedding(batch).vectors.detach()
    for grid, layer in zip(grids, model.attention_layers, strict=True):
        query, key = (w.detach().view(-1, 2, 4) for w in layer.weight.chunk(4, 1)[:2])
        expected = np.zeros((4, 4))
        for b, h in product(range(30), range(2)):
            q, k = (x[b] @ w[:, h] for w in (query, key))
            weights = np.exp((q @ k.T).double().numpy())
            expected += weights / weights.sum(1, keepdims=True) / 60
        np.testing.assert_allclose(grid.values, expected, atol=1e-6)
        x = layer(x).detach()


@pytest.mark.parametrize("name", ["WideDeep", "DeepFM"])
def test_the_largest_first_order_weights_are_named(name, tmp_path):
    run = tmp_path / "run"
    path = fitted(small(name), run / "checkpoints/best.ckpt")
    encoder(run / "encoder")
    (run / "config.yaml").write_text(f"model: {{class_path: zoo.{name}}}\n")

    def plant(content):
        table = content["state_dict"]["embedding.table"]
        table[:, -1] = 0.001
        table[[6, 1, 7 + 2, 7 + 11 + 2], -1] = torch.tensor([-3.0, 2.0, 1.5, -1.0])
        content["state_dict"]["embedding.numerical_weight"].fill_(-2.5)

    found = load(changed(path, plant)).effects.linear
    assert [(w.field, w.id, w.value, w.weight) for w in found[:5]] == [
        ("[red]c0[/red]", 6, "six", -3.0),
        ("n0", None, None, -2.5),
        ("[red]c0[/red]", 1, "(missing)", 2.0),
        ("<b>c1</b>", 2, "<i>two</i>", 1.5),
        (CROSS, 2, "six x <i>two</i>", -1.0),
    ]
    assert len(found) == 20
    assert [w.weight for w in found[5:]] == pytest.approx([0.001] * 15)
    text = shown(load(path))
    for value, weight in (("each unit", "-2.5000"), ("<i>two</i>", "+1.5000")):
        assert re.search(f"│ {value} +│ {re.escape(weight)} │", text)


def encoder(folder):
    """A run's encoder, which names some values."""
    (folder / "crosses/0000").mkdir(parents=True)
    fields, values = ["[red]c0[/red]", "<b>c1</b>"], ["six", "<i>two</i>"]
    table = {"field": fields, "value": values, "id": [6, 2], "count": [1, 1]}
    pq.write_table(pa.table(table), folder / "vocabulary.parquet")
    cross = {"format": 1, "members": fields, "edges": {}, "cardinality": 5}
    (folder / "crosses/0000/cross.json").write_text(json.dumps(cross))
    table = {"m0": [6, 0], "m1": [2, 9], "id": [2, 3], "count": [1, 1]}
    pq.write_table(pa.table(table), folder / "crosses/0000/vocabulary.parquet")
    return folder


def test_values_of_crosses_are_those_of_their_members(tmp_path):
    folder = encoder(tmp_path / "encoder")
    run = Run(str(tmp_path), {}, None)
    assert names(run.encoder, {CROSS: None})[CROSS] == {
        0: "(unknown)",
        1: "(missing)",
        2: "six x <i>two</i>",
        3: "(unknown) x id 9",
    }
    cross = {"members": ["n0", "<b>c1</b>"], "edges": {"n0": [0.5, 2.25]}}
    (folder / "crosses/0000/cross.json").write_text(json.dumps(cross))
    table = {"m0": [0, 1, 2], "m1": [2, 2, 2], "id": [2, 3, 4]}
    pq.write_table(pa.table(table), folder / "crosses/0000/vocabulary.parquet")
    found = names(run.encoder, {"n0 x <b>c1</b>": [2, 3, 4]})["n0 x <b>c1</b>"]
    assert [found[i] for i in (2, 3, 4)] == [
        f"{interval} x <i>two</i>" for interval in ("<= 0.5", "0.5 .. 2.25", "> 2.25")
    ]


def test_a_damaged_vocabulary_is_a_warning(tmp_path):
    run = tmp_path / "run"
    path = fitted(small("DeepFM"), run / "checkpoints/best.ckpt")
    (run / "config.yaml").write_text("model: {class_path: zoo.DeepFM}\n")
    (run / "encoder").mkdir()
    (run / "encoder/vocabulary.parquet").write_text("no parquet")
    found = load(path)
    assert found.warnings[-1].startswith(f"{run}/encoder cannot be read: ")
    assert {w.value for w in found.effects.linear if w.id and w.id > 1} <= {
        f"id {i}" for i in range(2, 11)
    }


@pytest.mark.parametrize("embed_numerical", [False, True])
@pytest.mark.parametrize("form", ["vector", "matrix"])
def test_cross_weights_are_norms_of_the_blocks_of_fields(form, embed_numerical, tmp_path):
    options = {"parameterization": form, "embed_numerical": embed_numerical, "cross_layers": 2}
    model = small("DCN", **options)
    grids = load(fitted(model, tmp_path / "model.ckpt")).effects.crosses
    kernels = model.cross.kernels.detach().double().numpy()
    fields = [f.name for f in ROWS.fields]
    columns = {name: model.embedding.columns(ROWS, [name]) for name in fields}
    assert sum(map(len, columns.values())) == kernels.shape[1]
    for layer, kernel in enumerate(kernels):
        for a, b in product(fields, fields):
            if form == "vector":
                (grid,) = grids
                r, c, block = grid.rows.index(a), layer, kernel[columns[a]]
            else:
                grid = grids[layer]
                r, c = grid.rows.index(a), grid.columns.index(b)
                block = kernel[np.ix_(columns[a], columns[b])]
            assert grid.values[r][c] == pytest.approx(np.linalg.norm(block), abs=1e-6)


@pytest.mark.parametrize(
    ("weights", "sentence"),
    [
        ({"cross.kernels": torch.zeros(2, 3, 1)}, "its cross weights do not fit its schema"),
        ({"cross.kernels": torch.zeros(3)}, "its cross weights do not fit its schema"),
        ({"embedding.numerical_weight": torch.zeros(2)}, "its first-order weights do not fit"),
    ],
)
def test_weights_that_do_not_fit_the_schema(weights, sentence, tmp_path):
    path = fitted(small("DCN"), tmp_path / "model.ckpt")
    assert sentence in refusal(changed(path, lambda c: c["state_dict"].update(weights)))


def test_models_without_such_weights_have_none(tmp_path):
    found = load(fitted(small("InterpretableMLP"), tmp_path / "model.ckpt")).effects
    assert (found.linear, found.crosses) == ((), ())


# experts


def test_examples_are_the_rows_in_which_an_expert_is_sure_and_heard(tmp_path):
    model, batch = small("InterpretableMLP", embedding_std=1.0).eval(), rows()
    encoder(tmp_path / "encoder")
    found = examples(model, batch, tmp_path / "encoder")
    assert [example.expert for example in found] == ["few"] * 3 + ["all"] * 3
    with torch.no_grad():
        gates = model.opinions(batch).double().tanh().abs()
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


# interactions


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
    with mock.patch("zoo.parser.ZooParser.instantiate_classes", return_value=made):
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
