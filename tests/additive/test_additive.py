"""Each term is a function of its own fields, and together they are the logit."""

import pytest
import torch

from zoo import AdditiveNetwork, Batch, Field, Schema

SCHEMA = Schema(
    (
        Field("a", "numerical"),
        Field("c", "categorical", 7),
        Field("b", "numerical"),
        Field("d", "categorical", 5),
    )
)
TERMS = [["a"], ["b"], ["c"], ["d"], ["a", "b"], ["c", "a"], ["c", "d"], ["d", "c", "b"]]
ROWS = 64


def rows(seed=0, count=ROWS):
    generator = torch.Generator().manual_seed(seed)
    ids = [
        torch.randint(f.cardinality, (count, 1), generator=generator) for f in SCHEMA.categorical
    ]
    label = torch.rand(count, generator=generator).round()
    return Batch(torch.randn(count, 2, generator=generator), torch.cat(ids, 1), label)


def network(terms=TERMS, **options):
    """A model with weights of order one, whose terms are told apart by `rows()`."""
    torch.manual_seed(0)
    options = {"embedding_dim": 4, "rank": 3, "embedding_std": 1.0, "numerical_bins": 8} | options
    model = AdditiveNetwork(SCHEMA, terms=terms, **options).eval()
    quantiles = rows().numerical.quantile(torch.linspace(0, 1, 9), 0)
    model.embedding.encoding.fit(quantiles.numpy())
    model.kept_rows.add(rows())
    model.purify()
    return model


def assert_adds_up(model, batch):
    added = model.intercept + model.contributions(batch).sum(1)
    torch.testing.assert_close(added, model(batch), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("monotone", [None, {"b": 1}])
def test_contributions_add_up_to_the_logit(monotone):
    model, fresh = network(monotone=monotone), network()
    assert_adds_up(model, rows(1))
    fresh.load_state_dict(AdditiveNetwork(**fresh.hparams).state_dict())  # never told apart
    assert_adds_up(fresh, rows(1))


def test_each_term_depends_on_its_own_fields_bit_for_bit():
    model, batch, others = network(), rows(1), rows(2)
    before = model.contributions(batch)
    for field in SCHEMA.fields:
        part = "numerical" if field.kind == "numerical" else "categorical"
        column = getattr(SCHEMA, part).index(field)
        values = getattr(batch, part).clone()
        values[:, column] = getattr(others, part)[:, column]
        after = model.contributions(batch._replace(**{part: values}))
        for number, term in enumerate(model.terms):
            same = torch.equal(before[:, number], after[:, number])
            assert same == (field.name not in term.fields), (field.name, term.name)
