"""Pairs in the contexts all on and all off, from black boxes whose terms are known."""

from unittest import mock

import numpy as np
import pytest
import torch
from scipy import stats

from zoo import Batch, ZooError
from zoo.data.batch import concatenate
from zoo.glider.contexts import in_contexts, strengths
from zoo.glider.perturb import OnOff
from zoo.glider.walsh.detector import WalshDetector, WalshRows
from zoo.glider.walsh.search import WalshConfig
from zoo.glider.walsh.summary import summarise_effects
from zoo.run.trainer import ZooTrainer

FEATURES = 24
ROW = Batch(torch.ones(1, 4), torch.ones(1, 20).int(), torch.zeros(1))
NEIGHBOURS = OnOff(torch.zeros(4))
NAMES = [f"f{i}" for i in range(FEATURES)]


def on(rows):
    return torch.cat((rows.numerical != 0, rows.categorical >= 0), 1)


def scores(rows):
    """Main effects, f0 x f1, and an AND of f1 .. f18, which no random mask shows."""
    z = 2 * on(rows).double() - 1
    return z.sum(1) + z[:, 0] * z[:, 1] + 2 * on(rows)[:, 1:19].all(1)


def detected(scores, folder, rows=4, contexts=True):
    """What is found in rows of which the scores are multiples."""
    batch = concatenate([ROW] * rows)
    detector = WalshDetector(scores, batch, NEIGHBOURS, WalshConfig(800, 200), folder, 0)
    detector.contexts = contexts
    detector.write(folder / "0.npz", range(rows))
    found, _ = WalshRows.read(folder)
    return summarise_effects(found, detector.masks, NAMES, range(rows))


def test_pairs_of_a_large_and_are_found_in_the_contexts_alone(tmp_path):
    found = detected(scores, tmp_path)["interactions"]
    by = {tuple(row["fields"]): row["by"] for row in found}
    inside = {(f"f{a}", f"f{b}") for a in range(1, 19) for b in range(a + 1, 19)}
    assert by == {("f0", "f1"): "both"} | dict.fromkeys(inside, "contexts")
    first, second, *_ = found
    # 4 / 4 in both contexts, and 2 / 4 with all others on, over a variance of 25
    assert first["context_share"] == pytest.approx(1 / 25, rel=0.1)
    assert second["context_share"] == pytest.approx((1 / 4) / 2 / 25, rel=0.1)
    assert (first["count"], second["count"]) == (4, 4)
    assert max(first["q"], second["q"]) < 0.05
    assert second["share"] < 1e-3


def test_without_contexts_nothing_is_said_of_them(tmp_path):
    (row,) = detected(scores, tmp_path, contexts=False)["interactions"]
    assert (row["fields"], row["by"]) == (["f0", "f1"], "walsh")
    assert "context_share" not in row


def test_a_single_row_has_what_its_mixed_differences_say(tmp_path):
    found = detected(scores, tmp_path, rows=1)["interactions"]
    assert {row["by"] for row in found} == {"both", "contexts"}
    assert len(found) == 1 + 18 * 17 // 2


def test_larger_groups_have_no_share_in_contexts(tmp_path):
    def triple(rows):
        z = 2 * on(rows).double() - 1
        return z.sum(1) + 2 * z[:, 0] * z[:, 1] + 2 * z[:, :3].prod(1)

    found = {tuple(row["fields"]): row for row in detected(triple, tmp_path)["interactions"]}
    assert (found["f0", "f1", "f2"]["by"], found["f0", "f1", "f2"]["context_share"]) == (
        "walsh",
        None,
    )
    assert found["f0", "f1"]["by"] == "both"
    # a quarter of the mixed difference is 2 where all others are on, -2 where they are off
    assert found["f1", "f2"]["by"] == "contexts"


def test_additive_scores_have_no_pair(tmp_path):
    found = detected(lambda rows: 1e3 + on(rows).float().sum(1) / 3, tmp_path)
    assert found["interactions"] == []


def test_scores_that_random_masks_find_constant(tmp_path):
    """Nothing but an AND of twenty: all of the variance that there is."""
    found = detected(lambda rows: on(rows)[:, 4:].all(1).double(), tmp_path, rows=2)
    assert len(found["interactions"]) == 20 * 19 // 2
    assert {row["context_share"] for row in found["interactions"]} == {1.0}


def test_the_p_value_is_that_of_a_test_over_rows():
    """Shares whose roots hardly vary: Student's t-test of the roots themselves."""
    random = np.random.default_rng(0)
    roots = 0.05 + 1e-4 * random.normal(size=(50, 1))
    found = in_contexts(4 * roots**2, np.full(50, 4.0), 2, 0.04999**2)[0, 1]
    wanted = stats.ttest_1samp(roots[:, 0], 0.04999, alternative="greater").pvalue
    assert found["p"] == pytest.approx(wanted, rel=0.02)
    assert found["share"] == pytest.approx((roots**2).mean())
    assert found["count"] == (roots > 0.04999).sum()


def test_false_alarms_are_as_rare_as_the_level():
    """2,000 pairs whose mean share is exactly what does not matter."""
    shares = 1e-3 * np.random.default_rng(0).gamma(2, 1 / 2, (200, 2016))
    found = in_contexts(shares, np.ones(200), 64, 1e-3)
    assert 0.03 < np.mean([of["p"] < 0.05 for of in found.values()]) < 0.07


def test_rounding_of_large_scores_is_no_strength():
    y = np.full(10, 1e4)
    found = strengths(lambda rows: 1e4 + on(rows).float().sum(1) / 7, ROW, NEIGHBOURS, y)
    assert found.shape == (FEATURES * (FEATURES - 1) // 2,)
    assert not found.any()


def test_contexts_are_an_option_of_walsh():
    with pytest.raises(ZooError, match="contexts is an option of walsh: leave it out"):
        ZooTrainer.detect(mock.Mock(), None, None, "a.ckpt", detector="nid", contexts=True)
