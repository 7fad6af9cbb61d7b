"""What tests of experts share."""

import json
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from hypothesis import reject
from hypothesis import strategies as st

from zoo import Batch, Field, InterpretableMLP, Schema, ZooError
from zoo.experts.proposed import resolved

FIELDS = (
    Field("n0", "numerical", group="user"),
    Field("n1", "numerical"),
    Field("c0", "categorical", 5, "user"),
    Field("c1", "categorical", 7, "item"),
    Field("c2", "categorical", 4, "item"),
)
SCHEMA = Schema(FIELDS)
NAMES = [field.name for field in FIELDS]
DIAMOND = {"user": ["user"], "item": ["item"], "both": ["user", "item"], "all": ["*"]}
named = st.lists(
    st.sets(st.sampled_from(NAMES), min_size=1).map(sorted), min_size=1, max_size=5, unique_by=tuple
).map(lambda sets: {f"s{i}": fields for i, fields in enumerate(sets)})


@st.composite
def proposals(draw):
    """Subsets that are proposed from a random file of interactions: at most five."""
    pairs = st.sets(st.sampled_from(NAMES), min_size=2, max_size=3).map(sorted)
    shares, q = st.floats(0.001, 1), st.none() | st.floats(0, 0.1)
    found = st.fixed_dictionaries({"fields": pairs, "share": shares, "q": q})
    mains = st.fixed_dictionaries({"field": st.sampled_from(NAMES), "share": shares})
    content = {
        "format": 1,
        "interactions": draw(st.lists(found, min_size=1, max_size=6)),
        "mains": draw(st.lists(mains, max_size=3)),
    }
    options = {"size": draw(st.integers(2, 5)), "of": draw(st.sampled_from(["groups", "fields"]))}
    with TemporaryDirectory() as folder:
        file = Path(folder) / "interactions.json"
        file.write_text(json.dumps(content))
        try:
            return resolved({"from": str(file), **options}, SCHEMA)
        except ZooError:  # nothing significant
            return reject()


proposed = proposals()
subsets = named | proposed


def random_batch(rows=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    ids = [torch.randint(f.cardinality, (rows,), generator=generator) for f in SCHEMA.categorical]
    return Batch(
        numerical=torch.randn(rows, 2, generator=generator),
        categorical=torch.stack(ids, 1),
        label=torch.randint(2, (rows,), generator=generator).float(),
    )


def model(given_subsets, seed=0, **options):
    torch.manual_seed(seed)
    quiet = {"hidden_units": [5, 3], "embedding_dim": 3, "embedding_std": 0.5, **options}
    with pytest.warns() if len(covered(given_subsets)) < 5 else nullcontext():
        return InterpretableMLP(SCHEMA, subsets=given_subsets, **quiet)


def covered(given_subsets):
    groups = {"user": ["n0", "c0"], "item": ["c1", "c2"], "*": NAMES}
    return {n for s in given_subsets.values() for e in s for n in groups.get(e, [e])}


def changed(batch, fields):
    """The batch with other values of some fields, by their names."""
    numerical, categorical = batch.numerical.clone(), batch.categorical.clone()
    for n, field in enumerate(SCHEMA.numerical):
        if field.name in fields:
            numerical[:, n] += 1.5
    for c, field in enumerate(SCHEMA.categorical):
        if field.name in fields:
            categorical[:, c] = (categorical[:, c] + 1) % field.cardinality
    return batch._replace(numerical=numerical, categorical=categorical)
