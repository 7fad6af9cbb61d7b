"""`inspect A B --config C`: where the predictions of two checkpoints differ."""

import json
import re

import pytest
import torch
from sklearn.metrics import log_loss, roc_auc_score
from support.inspection import Given, lightning_warnings
from support.small_checkpoints import ROWS, SESSIONS, fitted, row_batch, session_batch, small

from zoo import Schema, ZooError
from zoo.data.batch import take
from zoo.inspect import load
from zoo.inspect.disagreement import disagree

pytestmark = lightning_warnings
PLAIN = Schema(ROWS.fields[:3])  # without the cross


def data_of(*batches, schema=ROWS):
    return Given(schema, batches)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A model without the cross field and one with it, fitted and loaded."""
    folder = tmp_path_factory.mktemp("pair")
    models = [small("DeepFM", PLAIN, embedding_std=0.5), small("DCN", embedding_std=0.5)]
    paths = [fitted(model, folder / f"{i}.ckpt") for i, model in enumerate(models)]
    return [load(path) for path in paths], [model.eval() for model in models]


@pytest.fixture(scope="module")
def batches():
    torch.manual_seed(1)
    return [row_batch() for _ in range(5)]


def probabilities(models, batches):
    with torch.no_grad():
        plain = [batch._replace(categorical=batch.categorical[:, :2]) for batch in batches]
        one = torch.cat([models[0](batch) for batch in plain]).double().sigmoid()
        return one, torch.cat([models[1](batch) for batch in batches]).double().sigmoid()


def test_the_differences_are_those_computed_row_by_row(pair, batches):
    sides, models = pair
    found = disagree(*sides, data_of(*batches))
    labels = torch.cat([batch.label for batch in batches]).numpy()
    ids = torch.cat([batch.categorical for batch in batches])
    numbers = torch.cat([batch.numerical for batch in batches])
    one, two = probabilities(models, batches)
    for p, quality in ((one, found.first), (two, found.second)):
        assert quality.auc == pytest.approx(roc_auc_score(labels, p), abs=1e-6)
        assert quality.logloss == pytest.approx(log_loss(labels, p), abs=1e-6)
        assert quality.predicted == pytest.approx(p.mean().item(), abs=1e-6)
    apart = (one - two).abs()
    assert found.correlation == pytest.approx(torch.corrcoef(torch.stack((one, two)))[0, 1].item())
    assert found.difference == pytest.approx(apart.mean().item(), abs=1e-6)
    assert found.largest == pytest.approx(apart.max().item(), abs=1e-6)
    assert [row.row for row in found.rows] == apart.argsort(descending=True)[:5].tolist()
    for row in found.rows:
        assert (row.first, row.second) == pytest.approx((one[row.row].item(), two[row.row].item()))
        assert row.label == labels[row.row]
        values = [f"{numbers[row.row, 0]:.4g}", *(f"id {i}" for i in ids[row.row])]
        assert list(row.inputs) == [field.name for field in ROWS.fields]
        assert list(row.inputs.values()) == values

    means = {}
    for c, field in enumerate(ROWS.categorical):
        for i in ids[:, c].unique().tolist():
            rows = ids[:, c] == i
            share = labels[rows.numpy()].mean()
            means[field.name, f"id {i}"] = (share, one[rows].mean(), two[rows].mean())
    shown = {(part.field, part.value): part for part in found.slices}
    assert set(shown) == set(means)
    for name, part in shown.items():
        assert (part.observed, part.first, part.second) == pytest.approx(
            tuple(map(float, means[name])), abs=1e-6
        )
    gaps = [abs(part.second - part.first) for part in found.slices]
    assert gaps == sorted(gaps, reverse=True)


def test_by_compares_one_field(pair, batches):
    sides, _ = pair
    found = disagree(*sides, data_of(*batches), by="<b>c1</b>")
    assert {part.field for part in found.slices} == {"<b>c1</b>"}


def test_small_slices_are_left_out(pair, batches):
    sides, _ = pair
    rare = batches[0]._replace(categorical=batches[0].categorical.clone())
    rare.categorical[0, 0] = 6
    for copies, shown in ((1, True), (7, False)):  # one of 96 rows, and of 576
        found = disagree(*sides, data_of(rare, *batches[:1] * (6 * copies - 1)))
        assert ("id 6" in {part.value for part in found.slices}) == shown


def test_a_checkpoint_agrees_with_itself(pair, batches):
    side = pair[0][1]
    found = disagree(side, side, data_of(*batches))
    assert found.correlation == pytest.approx(1)
    assert (found.difference, found.largest) == (0, 0)


def test_data_without_the_crosses_of_a_model_are_refused(pair, batches):
    sides, _ = pair
    with pytest.raises(ZooError, match=re.escape(sides[1].file)) as error:
        disagree(*sides, data_of(*batches, schema=PLAIN))
    assert str(error.value).endswith(
        "these data: field [red]c0[/red] x <b>c1</b> is in only one of them; a config with its "
        "crosses, such as that of its own run, scores both"
    )


def test_a_single_row_has_no_correlation(pair, batches):
    one = take(row_batch(), slice(1))
    assert disagree(*pair[0], data_of(one)).correlation is None


def test_data_of_other_fields_are_refused(pair, batches):
    sides, _ = pair
    with pytest.raises(ZooError, match="another schema than these data: field n0 is in only one"):
        disagree(*sides, data_of(*batches, schema=Schema(ROWS.fields[1:])))


def test_models_of_sessions_are_compared_by_tracks(checkpoint_of):
    sides = [load(checkpoint_of(name)) for name in ("LastSkip", "MeanSkip")]
    batch = session_batch()
    batch.label[0] = torch.nan
    found = disagree(*sides, data_of(batch, schema=SESSIONS))
    assert found.first.rows == 21
    assert found.slices == ()
    assert list(found.rows[0].inputs) == ["position", "energy"]
    json.dumps(found.to_dict(), allow_nan=False)
