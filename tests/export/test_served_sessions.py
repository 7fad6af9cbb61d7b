"""Exported models of sessions and of pairs say what `predict` says, without torch and zoo."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from support.listening import logs_of
from support.served import each_served
from torch import nn

import zoo
from datamodules import MovieLens, SkipSessions
from zoo.export.folder import write_folder
from zoo.export.quantized import quantized
from zoo.export.readers.sessions import PROBLEMS

OUTPUTS = ("probability", "logit", "attribution")
SUBSETS = {"tracks": ["position", "track_general", "track_music"], "all": ["*"]}
# cells as people, other programs and mistakes make them
CELLS = ("", "x", "-1", "0", "007", "255", "256", "3.0", "true", "TRUE", "2018-02-30", "20180715",
         "2018-W28-7", "2018-07-14", "9" * 30, "never seen", "nan", "None", "٣")  # fmt: skip
IDS = ("", "x", "-1", " 5 ", "007", "1.0", "1e3", "9" * 19, "99999", "None", "1 2", "٣")


def lively(model):
    """A model in evaluation whose outputs differ between rows, as trained ones do."""
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if name.startswith("embedding"):
            nn.init.normal_(parameter, std=0.3)
    return model.eval()


def spoiled(frame, columns, cells, count, seed=0):
    """The rows with some cells replaced by others, at random."""
    random = np.random.default_rng(seed)
    found = frame.copy()
    for row, column in zip(
        random.integers(len(frame), size=count), random.choice(columns, count), strict=True
    ):
        found.iat[int(row), found.columns.get_loc(column)] = str(random.choice(cells))
    return found


def predicted(model, data):
    """What `predict` says of the usable rows, in the order of the file, by name of the output."""
    data.setup("predict")
    batches = list(data.predict_dataloader())
    with torch.inference_mode():
        lines = [model.predict_step(batch) for batch in batches]
        logits = [model.explain(batch)[0] for batch in batches]
    if model.prediction_keys != ("row",):
        logits = [x[batch.future_mask] for x, batch in zip(logits, batches, strict=True)]
    found = {name: torch.cat([line[name] for line in lines]).numpy() for name in lines[0]}
    shares = [found[name] for name in found if name.startswith("attribution_")]
    return {
        **{name: found[name] for name in (*model.prediction_keys, "probability")},
        "logit": torch.cat(logits).numpy(),
        **({"attribution": np.stack(shares, 1)} if shares else {}),
    }


def compare(served, expected, keys):
    """What an exported folder says is what `predict` says; NaN where a row has a problem."""
    usable = served["problem"] == ""
    for name, values in expected.items():
        if name in keys:
            assert served[name][usable].tolist() == values.tolist()
            continue
        # shares are ratios, which magnify rounding where all experts are near zero
        near = 1e-5 if name == "probability" else 1e-4
        np.testing.assert_allclose(served[name][usable], values, rtol=0, atol=near)
        assert np.isnan(served[name][~usable]).all()
    return usable


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def session_rows(planted_sessions):
    """More than 10,000 raw rows of 800 sessions, in many of which something is wrong."""
    rows = logs_of(planted_sessions)
    parts = [spoiled(rows, rows.columns[1:], CELLS, 300, seed) for seed in range(2)]
    both = pd.concat(parts, ignore_index=True)
    return both.drop(np.random.default_rng(2).choice(len(both), 40, replace=False))


@pytest.fixture(scope="module")
def sessions_served(folder, shared_sessions, session_rows):
    """(folder, rows) of each model to be read, and what `predict` says."""
    session_rows.to_csv(folder / "log.csv", index=False)
    encoder = str(shared_sessions.folder / "encoder")
    anything: dict[str, Any] = {"max_bad_rows": 1.0, "max_bad_sessions": 1.0}
    anything["predict_path"] = str(folder / "log.csv")
    schema, jobs, expected = shared_sessions.schema, [], []
    torch.manual_seed(0)
    models = {
        "transformer": zoo.InterpretableTransformer(
            schema, subsets=SUBSETS, width=8, blocks=1, heads=2, feed_forward=8
        ),
        "gru": zoo.InterpretableGRU(schema, subsets=SUBSETS, width=8),
        "mean": zoo.MeanSkip(schema),
    }
    for name, model in models.items():
        outputs = OUTPUTS if model.experts else OUTPUTS[:2]
        write_folder(folder / name, lively(model), shared_sessions.serving(), outputs)
        rows = session_rows.to_dict("list" if name == "gru" else "records")
        jobs.append((folder / name, rows))
        data = SkipSessions("gone", "gone", encoder=encoder, **anything)
        expected.append(predicted(model, data))
    return jobs, expected


@pytest.fixture(scope="module")
def pairs_served(folder, planted_ratings):
    """As `sessions_served`, of 10,000 pairs and a model with embeddings of two types."""
    data = MovieLens(str(planted_ratings), prepared=str(folder / "prepared"))
    data.prepare_data()
    tables = data.serving().arrays
    random = np.random.default_rng(0)
    known = (tables["user_ids"], tables["item_ids"])
    columns = [random.choice(ids, 10_000).astype(str) for ids in known]
    pairs = pd.DataFrame(dict(zip(("user", "movie"), columns, strict=True)))
    pairs = spoiled(pairs, ["user", "movie"], IDS, 1500)
    pairs.to_csv(folder / "pairs.csv", index=False)
    encoder = str(data.folder / "encoder")
    jobs, expected = [], []
    for embeddings in ("float32", "int8"):
        torch.manual_seed(0)
        model = lively(zoo.DeepFM(data.schema, hidden_units=[8], embedding_dim=4))
        model = quantized(model, embeddings)
        write_folder(folder / embeddings, model, data.serving(), OUTPUTS[:2])
        jobs.append((folder / embeddings, pairs.to_dict("records")))
        path = str(folder / "pairs.csv")
        new = MovieLens("gone", encoder=encoder, predict_path=path, max_bad_rows=1.0)
        expected.append(predicted(model, new))
    return jobs, expected


@pytest.fixture(scope="module")
def read(sessions_served, pairs_served, folder):
    """What all folders say, read by one process."""
    return each_served([*sessions_served[0], *pairs_served[0]], folder)


def test_sessions_are_scored_as_predict_scores_them(read, sessions_served, session_rows):
    assert len(session_rows) > 10_000
    for served, expected in zip(read[:3], sessions_served[1], strict=True):
        usable = compare(served, expected, ("row", "position"))
        assert 200 < len(np.unique(served["row"][usable])) < 700
        assert (served["position"][~usable] == 0).all()
        changes = session_rows.session_id.ne(session_rows.session_id.shift())
        assert served["row"][-1] + 1 == changes.sum()
        assert set(served["problem"]) == {"", *PROBLEMS}
        assert served["probability"][usable].std() > 0.01


def test_pairs_are_scored_as_predict_scores_them(read, pairs_served):
    full, small = read[3:]
    for served, expected in zip((full, small), pairs_served[1], strict=True):
        row = expected.pop("row")
        usable = compare(served, expected, ())
        assert np.flatnonzero(usable).tolist() == row.tolist()
        assert 8000 < len(row) < 9900
    usable = full["problem"] == ""
    assert 0 < np.abs(full["logit"] - small["logit"])[usable].max() < 0.05
    assert full["problem"][~usable][0].startswith(("user cannot be", "movie cannot be"))
