"""The option `terms`: lists of fields, or a file of interactions."""

import json

import pytest
from support.additive import SCHEMA
from support.small_checkpoints import saved

from zoo import AdditiveNetwork, Field, Schema, ZooError

FOUND = [["c", "d"], ["a", "b", "c"], ["b", "a"], ["d", "a"], ["a", "c", "d", "b"], ["b", "c", "d"]]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "interactions.json"
    content = {"format": 1, "interactions": [{"fields": names} for names in FOUND]}
    path.write_text(json.dumps(content))
    return path


def names(terms, **options):
    return [term.name for term in AdditiveNetwork(SCHEMA, terms=terms, **options).terms]


def test_the_default_is_all_single_fields():
    assert names(None) == ["a", "c", "b", "d"]


def test_lists_are_put_in_order():
    assert names([["d", "c", "a"], ["d"], ["b", "a"]]) == ["d", "a x b", "a x c x d"]


def test_the_strongest_interactions_of_a_file(file):
    singles = ["a", "c", "b", "d"]
    assert names({"from": str(file), "pairs": 2, "triples": 1}) == [
        *singles, "c x d", "a x b", "a x c x b"
    ]  # fmt: skip
    assert names({"from": str(file), "pairs": 1, "triples": 0}) == [*singles, "c x d"]
    assert len(names({"from": str(file)})) == 4 + 3 + 2


def test_a_checkpoint_needs_no_file(file, tmp_path):
    model = AdditiveNetwork(SCHEMA, terms={"from": str(file), "pairs": 1, "triples": 1})
    assert model.settled == {"terms": model.hparams["terms"]}
    path = saved(model, tmp_path / "m.ckpt")
    file.unlink()
    loaded = AdditiveNetwork.load_from_checkpoint(path, weights_only=True)
    assert loaded.terms == model.terms
    assert loaded.hparams["terms"] == [["a"], ["c"], ["b"], ["d"], ["c", "d"], ["a", "c", "b"]]


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ([["a"], ["e"]], "model.terms names 'e', which is no field: a, c, b, d"),
        ([["a", "b", "a"]], "model.terms names the field a twice in a term"),
        ([["a", "b"], ["b", "a"]], "model.terms names a x b twice"),
        (["a", "b"], "model.terms: each term is a list of fields, got 'a'"),
        ([[]], "model.terms: each term is a list of fields"),
        ([], "model.terms must be a list of terms"),
        ("all", "model.terms must be a list of terms"),
        ({"pairs": 3}, "model.terms has pairs: it must have from"),
        ({"from": "x.json", "pair": 3}, "model.terms has from, pair: it must have from"),
        ({"from": "none.json"}, r"cannot read none.json \(model.terms.from\): No such file"),
    ],
)
def test_what_are_no_terms_is_refused(terms, message):
    with pytest.raises(ZooError, match=message):
        AdditiveNetwork(SCHEMA, terms=terms)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pairs": -1}, "model.terms.pairs must be at least 0, got -1"),
        ({"triples": True}, "model.terms.triples must be a whole number, got True"),
        ({"pairs": "all"}, "model.terms.pairs must be a whole number, got 'all'"),
    ],
)
def test_a_wrong_number_of_interactions_is_refused(file, options, message):
    with pytest.raises(ZooError, match=message):
        AdditiveNetwork(SCHEMA, terms={"from": str(file), **options})


def test_a_file_of_other_data_is_refused(tmp_path):
    path = tmp_path / "interactions.json"
    path.write_text(json.dumps({"format": 1, "interactions": [{"fields": ["a", "other"]}]}))
    with pytest.raises(ZooError, match="names an unknown field: other"):
        AdditiveNetwork(SCHEMA, terms={"from": str(path)})


def test_a_cross_field_is_not_confused_with_the_pair_of_its_fields():
    fields = [Field(name, "categorical", 4) for name in ("c", "d")]
    schema = Schema((*fields, Field("c x d", "categorical", 9, "cross")))
    with pytest.raises(ZooError, match="names c x d twice, or a cross field and the pair"):
        AdditiveNetwork(schema, terms=[["c x d"], ["c", "d"]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 0}, "model.rank must be at least 1, got 0"),
        (
            {"switched_off": ["a x b"]},
            "model.switched_off must name terms: a, c, b, d, got 'a x b'",
        ),
        ({"teacher_share": 1.5}, "model.teacher_share must be from 0 to 1, got 1.5"),
        ({"sparsity": -1.0}, "model.sparsity must be at least 0"),
        ({"embedding_dims": {"c": 2}}, "AdditiveNetwork joins the embeddings of fields"),
    ],
)
def test_other_options_are_checked(options, message):
    with pytest.raises(ZooError, match=message):
        AdditiveNetwork(SCHEMA, **options)
