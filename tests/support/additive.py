"""A small additive network, whose terms are told apart by rows that are drawn."""

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
    sizes = [(field.cardinality, (count, 1)) for field in SCHEMA.categorical]
    ids = [torch.randint(size, shape, generator=generator) for size, shape in sizes]
    label = torch.rand(count, generator=generator).round()
    return Batch(torch.randn(count, 2, generator=generator), torch.cat(ids, 1), label)


def network(terms=TERMS, known=None, **options):
    """A model with weights of order one."""
    torch.manual_seed(0)
    options = {"embedding_dim": 4, "rank": 3, "embedding_std": 1.0, "numerical_bins": 8} | options
    model = AdditiveNetwork(SCHEMA, terms=terms, **options).eval()
    known = rows() if known is None else known
    edges = known.numerical.quantile(torch.linspace(0, 1, 9), 0)
    model.embedding.encoding.fit(edges.numpy())
    with torch.no_grad():
        for group in model.additive.groups:  # of which those of monotone terms begin small
            if hasattr(group, "slopes"):
                group.slopes.normal_()
    model.kept_rows.add(known)
    model.purify()
    return model
