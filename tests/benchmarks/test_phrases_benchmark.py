"""The benchmark of phrases: what it reads, and what its attributions add up to."""

import json
import sys

import numpy as np
import pytest
from support.running import ROOT

from zoo import ZooError

sys.path[:0] = [f"{ROOT}/benchmarks", f"{ROOT}/examples/domains"]
import phrases  # noqa: E402

TREE = "(4 (2 It) (4 (4 (2 never) (1 (1 fails) (2 .))) (3 (2 to) (3 well-engage))))"
IN_ORDER = [
    *(["It", 2], ["never fails . to well-engage", 4], ["never fails .", 4], ["never", 2]),
    *(["fails .", 1], ["fails", 1], [".", 2], ["to well-engage", 3], ["to", 2]),
    ["well-engage", 3],
]
TEXT = "It never fails . to well-engage"


def test_trees_and_phrases_in_preorder_are_the_same(tmp_path):
    (tmp_path / "a.txt").write_text(f"{TREE}\n")
    (tmp_path / "a.jsonl").write_text(json.dumps({"sentence": TEXT, "phrases": IN_ORDER}) + "\n")
    found = []
    for name in ("a.txt", "a.jsonl"):
        (one,) = phrases.labelled(tmp_path / name)
        assert one.words == ["it", "never", "fails", "to", "well", "engage"]
        rows = zip(one.phrases, one.single.tolist(), one.labels.tolist(), strict=True)
        found.append({(p.start, p.stop, single, label) for p, single, label in rows})
    assert found[0] == found[1]
    # without the sentence itself and the full stop, which is no word of the models
    assert found[0] == {
        *((0, 1, True, 0), (1, 6, False, 2), (1, 3, False, 2), (1, 2, True, 0), (2, 3, False, -1)),
        *((2, 3, True, -1), (3, 6, False, 1), (3, 4, True, 0), (4, 6, True, 1)),
    }


@pytest.mark.parametrize("line", ["(4 (2 It)", '{"sentence": "a b", "phrases": [["b", 2]]}', "x"])
def test_a_line_that_is_no_labelled_sentence(tmp_path, line):
    (tmp_path / "a.txt").write_text(f"{TREE}\n{line}\n")
    with pytest.raises(ZooError, match=r"a.txt, line 2: no sentence with the labels"):
        phrases.labelled(tmp_path / "a.txt")


def test_correlations_of_all_and_of_the_extremes():
    values = np.arange(100.0)
    labels = np.where(values < 11, -2.0, np.where(values > 88, 2.0, 0.0))
    every, extremes = phrases.correlations(values, labels)
    assert every == pytest.approx(np.corrcoef(values, labels)[0, 1])
    ends = np.r_[0:11, 89:100]
    assert extremes == pytest.approx(np.corrcoef(values[ends], labels[ends])[0, 1])


def test_attributions_of_a_model(tmp_path):
    """Whole sentences: what the score has beyond that of no words, or of vectors of zeros."""
    reviews = phrases.Reviews([["it", "never", "fails", "to", "engage"]] * 4, phrases.torch.ones(4))
    (tmp_path / "a.txt").write_text(f"{TREE}\n")
    words = ["it", "never", "fails", "to", "well", "engage"]
    whole = phrases.Labelled(words, [range(6), range(1, 3)], np.array([0, 0]), np.array([0, 0]))
    for name in phrases.MODELS:
        model = phrases.trained(name, reviews, 1)
        ids = model.vocabulary.encoded(words)[None]
        gap = float(model.scores(ids) - model.scores(0 * ids))
        on = {name: method(model, whole)[0] for name, method in phrases.METHODS.items()}
        for method in ("alone", "occlusion (Captum)"):
            assert on[method] == pytest.approx(gap, abs=1e-5)
        zero = model.model.read(model.model.words(ids) * 0, phrases.torch.tensor([6]))
        own = float(model.scores(ids) - zero.detach())
        assert on["Integrated Gradients, zero (Captum)"] == pytest.approx(own, abs=1e-3)
        counted, value = phrases.Counted(model.model), phrases.METHODS["alone"]
        with counted:
            value(model, whole)
        assert counted.rows == 3
