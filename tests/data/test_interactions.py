"""The reader of interactions.json: what a file holds, and what it must not."""

import json

import pytest

from zoo import ZooError
from zoo.data.interactions import Interaction, read_interactions, write_interactions

PAIR = {
    **{"fields": ["a", "b"], "order": 2, "count": 8, "by": "walsh", "effect": -0.2, "size": 0.3},
    **{"effect_low": -0.3, "effect_high": -0.1, "share": 0.03, "share_low": 0.02},
    **{"share_high": 0.04, "p": 1e-9, "q": 1e-7, "p_uniform": 0.1},
    **{"null_count": None, "p_permutation": None, "q_permutation": None},
    "strongest": [{"row": 3, "effect": -0.9, "error": 0.01}, {"row": 0, "effect": 0.8}],
}
FOUND = {
    **{"model": "DeepFM", "detector": "walsh", "instances": 9},
    "fidelity": {"all": 0.99, "linear": 0.9, "with_interactions": 0.97},
    **{"fields": ["a", "b"], "matrix": [[0.5, 0.03], [0.03, 0.4]]},
    "mains": [{"field": "a", "effect": 1.5, "share": 0.5}, {"field": "b"}],
    "interactions": [PAIR],
}


def read(tmp_path, content):
    write_interactions(tmp_path / "found.json", content)
    return read_interactions(tmp_path / "found.json", ("a", "b", "c"), "--interactions")


def test_all_that_a_file_holds_is_read(tmp_path):
    found = read(tmp_path, FOUND)
    (pair,) = found.interactions
    for name in PAIR.keys() - {"fields", "order", "strongest"}:
        assert getattr(pair, name) == PAIR[name]
    assert [(row.row, row.effect, row.error) for row in pair.strongest] == [
        (3, -0.9, 0.01),
        (0, 0.8, None),
    ]
    assert (found.detector, found.instances) == ("walsh", 9)
    assert found.fidelity == FOUND["fidelity"]
    assert (found.fields, found.matrix) == (("a", "b"), ((0.5, 0.03), (0.03, 0.4)))
    assert [(m.field, m.effect, m.share) for m in found.mains] == [
        ("a", 1.5, 0.5),
        ("b", None, None),
    ]


def test_what_several_checkpoints_say(tmp_path):
    each = [{"count": 8, "share": 0.03, "q": 1e-7}, {"count": 1, "share": 0.001, "q": 0.3}]
    pair = PAIR | {"checkpoints": each, "spread": 0.02, "agreement": None}
    content = FOUND | {"interactions": [pair], "checkpoints": ["1.ckpt", "2.ckpt"]}
    found = read(tmp_path, content)
    assert found.checkpoints == ("1.ckpt", "2.ckpt")
    (pair,) = found.interactions
    assert [(of.count, of.share, of.q) for of in pair.checkpoints] == [
        (8, 0.03, 1e-7),
        (1, 0.001, 0.3),
    ]
    assert (pair.significant_in, pair.spread, pair.agreement) == (1, 0.02, None)
    added = {"fields": ["a", "c"], "gain": 0.1}  # as the command gains adds them
    found = read(tmp_path, content | {"interactions": [*content["interactions"], added]})
    assert found.interactions[1].checkpoints == ()


@pytest.mark.parametrize(
    ("change", "of_pair", "sentence"),
    [
        ({"checkpoints": 3}, {}, '"checkpoints" is not a list'),
        ({"checkpoints": [3]}, {}, '"checkpoints" is not a list of names'),
        (
            {"checkpoints": ["1.ckpt"]},
            {"checkpoints": [{}, {}]},
            "interaction 1 has numbers of 2 checkpoints, the file names 1",
        ),
        ({}, {"checkpoints": [{}]}, "interaction 1 has numbers of 1 checkpoints, the file names 0"),
        ({}, {"checkpoints": [3]}, "interaction 1: checkpoint 1 is no mapping: 3"),
        ({}, {"checkpoints": [{"q": "low"}]}, "checkpoint 1 has no number as its q: 'low'"),
        ({}, {"spread": []}, "interaction 1 has no number as its spread: []"),
    ],
)
def test_checkpoints_that_are_none(change, of_pair, sentence, tmp_path):
    with pytest.raises(ZooError) as error:
        read(tmp_path, FOUND | {"interactions": [PAIR | of_pair]} | change)
    assert sentence in str(error.value)


def test_a_file_need_not_hold_more_than_fields(tmp_path):
    found = read(tmp_path, {"interactions": [{"fields": ["a", "c"]}]})
    assert found.interactions == (Interaction(("a", "c")),)
    assert (found.mains, found.fields, found.matrix, found.fidelity) == ((), (), (), {})


@pytest.mark.parametrize(
    ("q", "q_permutation", "significant"),
    [(0.01, 0.9, True), (0.9, 0.01, False), (None, 0.01, True), (None, None, False)],
)
def test_q_counts_where_there_is_one(q, q_permutation, significant):
    found = Interaction(("a", "b"), q=q, q_permutation=q_permutation)
    assert found.significant == significant


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"share": "large"}, "interaction 1 has no number as its share: 'large'"),
        ({"effect": 10**400}, "interaction 1 has no number as its effect: 1000"),
        ({"q": True}, "interaction 1 has no number as its q: True"),
        ({"by": 3}, "interaction 1 has no text as its by: 3"),
        ({"strongest": 3}, 'interaction 1 "strongest" is not a list'),
        ({"strongest": [3]}, 'one of its strongest rows has no number as its "row": None'),
        ({"strongest": [{"row": -1}]}, 'has no number as its "row": -1'),
        ({"strongest": [{"row": 1.5}]}, 'has no number as its "row": 1.5'),
        ({"strongest": [{"row": 1}]}, 'interaction 1: row 1 has no "effect"'),
        (
            {"strongest": [{"row": 1, "effect": 1, "error": []}]},
            "interaction 1: row 1 has no number as its error: []",
        ),
    ],
)
def test_an_interaction_that_is_none(change, sentence, tmp_path):
    with pytest.raises(ZooError) as error:
        read(tmp_path, {"interactions": [PAIR | change]})
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"mains": {}}, '"mains" is not a list'),
        ({"mains": [3]}, 'main effect 1 has no "field", a name'),
        ({"mains": [{"field": "a", "share": []}]}, "main effect 1 has no number as its share: []"),
        ({"matrix": "large"}, '"matrix" is not a list'),
        ({"matrix": [[1, 2]]}, '"matrix" has not 2 rows of 2 numbers'),
        ({"matrix": [[1, 2], 3]}, '"matrix" has not 2 rows of 2 numbers'),
        ({"matrix": [[1, 2], [3, None]]}, '"matrix" holds what is no number'),
        ({"fields": 3}, '"fields" is not a list of names, which "matrix" needs'),
        ({"fields": [3, 4]}, '"fields" is not a list of names, which "matrix" needs'),
    ],
)
def test_a_file_whose_picture_is_none(change, sentence, tmp_path):
    with pytest.raises(ZooError) as error:
        read(tmp_path, FOUND | change)
    assert sentence in str(error.value)
    json.loads((tmp_path / "found.json").read_text())  # which is JSON all the same
