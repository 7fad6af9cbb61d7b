"""`inspect`: importance of fields, and the sample of rows that it rests on."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score
from support.explained_rows import CROSS, rows, sessions
from support.inspection import lightning_warnings
from support.small_checkpoints import ROWS, small

from zoo import Batch
from zoo.data.batch import chunks
from zoo.inspect.with_data.explanation import explain
from zoo.inspect.with_data.importance import importance_of
from zoo.inspect.with_data.sample import sample

pytestmark = lightning_warnings


def silenced(model):
    """The model with all weights at zero."""
    for parameter in model.parameters():
        parameter.data.zero_()
    return model.eval()


def order(count):
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))


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
    first, *others = importance_of(model, batch)
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
    assert {item.auc for item in importance_of(small("DeepFM").eval(), batch)} == {None}


def test_the_only_field_of_sessions_that_counts_is_found():
    model, batch = small("LastSkip").eval(), sessions()
    found = {item.field: item for item in importance_of(model, batch)}
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
    (found,) = [item for item in importance_of(model, batch) if item.field == "energy"]
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
    found = sample(chunks(batch, 7), 60)
    for name in ("numerical", "categorical", "label"):
        assert torch.equal(getattr(found, name), getattr(batch, name))


def test_a_sample_is_drawn_without_replacement_from_the_whole_split():
    numbers = torch.arange(5000.0).unsqueeze(1)
    ids, label = torch.zeros(5000, 3, dtype=torch.int), torch.zeros(5000)
    label[:1000] = torch.nan
    batches = [*chunks(Batch(numerical=numbers, categorical=ids, label=label), 99)]
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
