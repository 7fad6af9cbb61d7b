"""Subsets that are proposed from detected interactions."""

import json

import pytest
import pytorch_lightning as pl
import torch
import yaml
from hypothesis import given, settings
from support import expertise
from support.resuming import QUIET
from support.running import ROOT
from support.session_networks import SCHEMA as SESSIONS

from zoo import Field, InterpretableGRU, InterpretableMLP, Schema, ZooError
from zoo.experts.lattice import Lattice
from zoo.experts.parts import parts_of, subsets_of
from zoo.experts.proposed import propose, resolved, weights_of

FILE = {
    "mains": [{"field": "c1", "share": 0.3}, {"field": "n0", "share": 0.04}],
    "interactions": [
        {"fields": ["n0", "c1"], "share": 0.2, "q": 0.001},
        {"fields": ["c0", "n1"], "share": 0.1, "q": 0.001},
        {"fields": ["c0", "c2"], "share": 0.6, "q": 0.5},
        {"fields": ["n1", "n0"], "share": 0.02, "q": 0.001},
    ],
}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "interactions.json"
    path.write_text(json.dumps({"format": 1, **FILE}))
    return str(path)


def test_strong_interactions_and_their_unions_are_proposed_by_hand(file):
    """Worth of each part: c1 .3, n0 x c1 (.3 + .04 + .2) / 2, c0 x n1 .1 / 2, n0 .04, n1 x n0."""
    found = resolved({"from": file, "size": 7, "of": "fields"}, expertise.SCHEMA)
    assert found == {
        "c1": ["c1"],
        "n0": ["n0"],
        "n0 x c1": ["n0", "c1"],
        "n1 x c0": ["n1", "c0"],
        "n0 x n1": ["n0", "n1"],
        "n0 x n1 x c0 x c1": ["n0", "n1", "c0", "c1"],
        "all": ["*"],
    }
    fewer = resolved({"from": file, "size": 3, "of": "fields"}, expertise.SCHEMA)
    assert [*fewer] == ["c1", "n0 x c1", "all"]


def test_parts_are_groups_where_there_are_some(file):
    """user: n0 and c0; item: c1 and c2; n1 by itself."""
    found = resolved({"from": file}, expertise.SCHEMA)
    assert found == {
        "item": ["item"],
        "user": ["user"],
        "user x item": ["user", "item"],
        "user x n1": ["user", "n1"],
        "all": ["*"],
    }


def test_a_file_without_shares_counts_by_its_order():
    fields = yaml.safe_load((ROOT / "configs/examples/flights.yaml").read_text())
    fields = fields["data"]["init_args"]["fields"]
    schema = Schema(
        tuple(
            Field(f["name"], f["kind"], 9 * (f["kind"] == "categorical"), f["group"])
            for f in fields
        )
    )
    given_subsets = {"from": str(ROOT / "configs/examples/flights_detected.json"), "size": 4}
    assert [*resolved(given_subsets, schema)] == ["time", "time x route", "time x weather", "all"]
    of_fields = resolved({**given_subsets, "of": "fields"}, schema)
    assert [*of_fields] == ["date x minutes", "date x origin", "date x origin x minutes", "all"]
    # a field whose name is that of a group, too
    parts = parts_of(schema, "fields")
    named = subsets_of([["flight", "date"]], schema, parts)
    assert named["date x flight"] == ["date", "field:flight"]
    assert Lattice(schema, named).fields[0] == ("date", "flight")


def test_groups_that_repeat_the_kind_are_no_parts():
    fields = [Field(f"I{i}", "numerical", 0, "numerical") for i in range(2)]
    fields += [Field(f"C{i}", "categorical", 5, "categorical") for i in range(2)]
    assert [*parts_of(Schema(tuple(fields)))] == ["I0", "I1", "C0", "C1"]


def test_a_cross_field_belongs_to_what_holds_all_that_it_crosses():
    schema = Schema((*expertise.FIELDS, Field("c1 x n0", "categorical", 9, "cross")))
    parts = parts_of(schema, "fields")
    found = subsets_of([["c1"], ["c1", "n0"]], schema, parts)
    assert found == {"c1": ["c1"], "n0 x c1": ["n0", "c1", "c1 x n0"], "all": ["*"]}


def test_names_of_many_parts_are_short_and_distinct():
    schema = Schema(tuple(Field(f"f{i}", "numerical") for i in range(8)))
    unions = [[f"f{i}" for i in range(k)] for k in (4, 5, 6)]
    unions.append(["f0", "f1", "f2", "f6", "f7"])
    found = subsets_of(unions, schema, parts_of(schema))
    first = "f0 x f1 x f2"
    whole = f"{first} x f6 x f7"
    assert [*found] == [f"{first} x f3", f"{first} + 2", f"{first} + 3", whole, "all"]
    named_all = Schema((Field("all", "numerical"), Field("x", "numerical")))
    assert [*subsets_of([["all"]], named_all, parts_of(named_all))] == ["all alone", "all"]


@given(expertise.proposed)
@settings(deadline=None, max_examples=60)
def test_proposals_are_lattices_of_whole_parts_that_all_fields_close(given_subsets):
    lattice = Lattice(expertise.SCHEMA, given_subsets)
    assert 2 <= len(lattice) <= 5
    assert lattice.greatest == len(lattice) - 1
    assert lattice.names[-1] == "all"
    assert lattice.unused == ()


def test_weights_are_added_inside_parts():
    class Found:
        interactions, mains = (), ()

    assert weights_of(Found, parts_of(expertise.SCHEMA)) == {}
    assert propose({}, 6, parts_of(expertise.SCHEMA)) == []


# In a model


def test_a_checkpoint_needs_no_file(file, tmp_path):
    model = InterpretableMLP(
        expertise.SCHEMA, subsets={"from": file, "size": 3}, gate="sufficiency", hidden_units=[4]
    )
    assert model.hparams["subsets"] == {**model.settled["subsets"]}
    trainer = pl.Trainer(**{**QUIET, "max_epochs": 1})
    trainer.strategy.connect(model)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    (tmp_path / "interactions.json").unlink()
    loaded = InterpretableMLP.load_from_checkpoint(tmp_path / "a.ckpt", weights_only=True)
    assert loaded.lattice.names == model.lattice.names
    assert loaded.lattice.fields == model.lattice.fields
    assert [expert.name for expert in loaded.description.experts] == [*model.lattice.names]
    batch = expertise.random_batch()
    assert torch.equal(loaded.eval()(batch), model.eval()(batch))


def test_models_of_sessions_take_proposals_of_what_is_known_later(tmp_path):
    known = [field.name for field in SESSIONS.future]
    past = [field.name for field in SESSIONS.fields if field.past_only]
    pairs = [past[:2], known[:2]] if len(past) > 1 else [known[:2]]
    rows = [{"fields": fields, "share": 0.5} for fields in pairs]
    (tmp_path / "i.json").write_text(json.dumps({"format": 1, "interactions": rows}))
    named = {"from": str(tmp_path / "i.json"), "of": "fields"}
    model = InterpretableGRU(SESSIONS, subsets=named, width=12)
    assert all(set(fields) & set(known) for fields in model.lattice.fields)


@pytest.mark.parametrize(
    ("message", "changes"),
    [
        ("cannot read none.json .*model.subsets.from", {"from": "none.json"}),
        ("no option sise beside from; did you mean size", {"sise": 3}),
        ("no option number beside from; there are from, size, of", {"number": 3}),
        ("model.subsets.size must be a whole number from 2 on, got 1", {"size": 1}),
        ("model.subsets.size must be .*, got True", {"size": True}),
        ("model.subsets.of must be groups or fields, got 'field'", {"of": "field"}),
    ],
)
def test_an_option_that_makes_no_sense_is_named(message, changes, file):
    with pytest.raises(ZooError, match=message):
        InterpretableMLP(expertise.SCHEMA, subsets={"from": file, **changes})


@pytest.mark.parametrize(
    ("message", "content"),
    [
        ("names an unknown field: k9", {"interactions": [{"fields": ["n0", "k9"]}]}),
        ("has nothing to propose a subset of", {"interactions": []}),
        ("has nothing to propose", {"interactions": [{"fields": ["n0", "c1"], "q": 0.4}]}),
        ("has nothing to propose", {"interactions": [{"fields": expertise.NAMES}]}),
        ('has no "format"', {"format": None}),
    ],
)
def test_a_file_of_no_use_is_reported(message, content, tmp_path):
    content = {"format": 1, **content}
    kept = {key: value for key, value in content.items() if value is not None}
    (tmp_path / "i.json").write_text(json.dumps(kept))
    with pytest.raises(ZooError, match=message):
        InterpretableMLP(expertise.SCHEMA, subsets={"from": str(tmp_path / "i.json")})


def test_subsets_that_are_no_lists_are_reported():
    with pytest.raises(ZooError, match=r"form must be a list of fields and groups, got 'i\.json'"):
        InterpretableMLP(expertise.SCHEMA, subsets={"form": "i.json", "size": 4})
