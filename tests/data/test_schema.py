"""Fields and schemas: plain data out and in, and what is said of wrong or different ones."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zoo.data.errors import ZooError
from zoo.data.schema import Field, Schema

names = st.text(min_size=1, max_size=8)
fields = st.one_of(
    st.builds(
        Field,
        name=names,
        kind=st.just("numerical"),
        group=st.text(max_size=4),
        past_only=st.booleans(),
    ),
    st.builds(
        Field,
        name=names,
        kind=st.just("categorical"),
        cardinality=st.integers(2, 2**31 - 1),
        group=st.text(max_size=4),
    ),
)
schemas = st.builds(
    Schema, st.lists(fields, min_size=1, max_size=6, unique_by=lambda f: f.name).map(tuple)
)
I1 = Field("I1", "numerical")
C1 = Field("C1", "categorical", 7)
C2 = Field("C2", "categorical", 9, "user")


@given(schemas)
def test_json_round_trip(schema):
    assert Schema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema


@given(schemas)
def test_plain_data_holds_every_attribute_by_its_name(schema):
    assert schema.to_dict()["fields"] == [
        {"name": f.name, "kind": f.kind, "cardinality": f.cardinality, "group": f.group}
        | ({"past_only": True} if f.past_only else {})
        for f in schema.fields
    ]


def test_a_schema_passes_through_from_dict():
    schema = Schema((I1,))
    assert Schema.from_dict(schema) is schema


def test_columns_keep_the_order_of_the_fields():
    schema = Schema((C2, I1, C1))
    assert (schema.numerical, schema.categorical) == ((I1,), (C2, C1))


def test_the_future_has_the_columns_that_are_not_of_the_past_only():
    skip = Field("skip", "numerical", past_only=True)
    schema = Schema((skip, I1, C1))
    assert (schema.numerical, schema.future) == ((skip, I1), (I1,))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: Field("C1", "ordinal"),
            "field C1: kind must be numerical, categorical, multi or sequence",
        ),
        (lambda: Field("C1", "categorical", 1), "field C1: .* at least 2 .*got 1"),
        (lambda: Schema((C1, I1, C1)), "distinct fields, got .*C1"),
        (lambda: Schema(()), "distinct fields, got none"),
        (lambda: Schema.from_dict({"format": 99, "fields": []}), "format 99, this version reads 1"),
        (lambda: Schema.from_dict({"fields": []}), "format None"),
    ],
)
def test_message_of_a_wrong_schema(make, message):
    with pytest.raises(ZooError, match=message):
        make()


@pytest.mark.parametrize(
    ("mine", "theirs", "difference"),
    [
        ((I1, C1), (I1,), "field C1 is in only one of them"),
        ((I1,), (I1, C1), "field C1 is in only one of them"),
        (
            (C1,),
            (Field("C1", "categorical", 8),),
            "field C1 is categorical of 7 ids and categorical of 8 ids",
        ),
        (
            (C2,),
            (Field("C2", "numerical"),),
            "field C2 is categorical of 9 ids in group 'user' and numerical",
        ),
        (
            (Field("I1", "numerical", past_only=True),),
            (I1,),
            "field I1 is numerical known of the past only and numerical",
        ),
        ((I1, C1), (C1, I1), "their fields stand in different order"),
    ],
)
def test_difference_in_words(mine, theirs, difference):
    assert Schema(mine).difference(Schema(theirs)) == difference


@given(schemas, schemas)
def test_no_difference_means_equal(mine, theirs):
    assert (mine.difference(theirs) is None) == (mine == theirs)


@given(schemas)
def test_no_difference_from_itself(schema):
    assert schema.difference(Schema.from_dict(schema.to_dict())) is None
