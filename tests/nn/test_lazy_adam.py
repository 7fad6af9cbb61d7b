"""The steps of LazyAdam, against torch's SparseAdam and Adam."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch.nn import Parameter

from zoo.nn.optim import LazyAdam

ROWS, WIDTH = 9, 3


def sparse(ids, seed):
    values = torch.randn(len(ids), WIDTH, generator=torch.Generator().manual_seed(seed)).double()
    with torch.sparse.check_sparse_tensor_invariants(True):
        return torch.sparse_coo_tensor(torch.tensor(ids)[None], values, (ROWS, WIDTH)).coalesce()


@given(
    steps=st.lists(st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=20), max_size=5),
    betas=st.sampled_from([(0.9, 0.999), (0.5, 0.8)]),
    eps=st.sampled_from([1e-8, 1e-2]),
    maximize=st.booleans(),
)
@settings(deadline=None, max_examples=40)
def test_rows_move_as_with_sparse_adam_and_the_rest_as_with_adam(steps, betas, eps, maximize):
    start = torch.linspace(-1, 1, ROWS * WIDTH).double().view(ROWS, WIDTH)
    table, weight, table_of_torch, weight_of_torch = (Parameter(start.clone()) for _ in range(4))
    options = {"lr": 0.1, "betas": betas, "eps": eps, "maximize": maximize}
    ours = LazyAdam([table, weight], **options)
    theirs = [
        torch.optim.SparseAdam([table_of_torch], **options),
        torch.optim.Adam([weight_of_torch], **options),
    ]
    for seed, ids in enumerate(steps):
        table_of_torch.grad = sparse(ids, seed)
        table.grad = table_of_torch.grad.clone()
        weight.grad = weight_of_torch.grad = table_of_torch.grad.to_dense()
        for optimizer in (ours, *theirs):
            optimizer.step()
        assert table.grad is None
    torch.testing.assert_close(table, table_of_torch, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(weight, weight_of_torch, rtol=1e-12, atol=1e-13)


def test_rows_of_no_batch_stay_where_they_are():
    table = Parameter(torch.ones(ROWS, WIDTH).double())
    optimizer = LazyAdam([table], lr=0.1)
    table.grad = sparse([2, 5, 2], 0)
    optimizer.step()
    table.grad = sparse([5], 1)
    optimizer.step()
    moved = (table != 1).all(1)
    assert moved.nonzero().flatten().tolist() == [2, 5]
    state = optimizer.state[table]
    assert state["exp_avg"].abs().sum(1).nonzero().flatten().tolist() == [2, 5]


def test_it_goes_on_from_its_state():
    tables = [Parameter(torch.ones(ROWS, WIDTH).double()) for _ in range(2)]
    first, second = (LazyAdam([table], lr=0.1) for table in tables)
    for table, optimizer in zip(tables, (first, second), strict=True):
        table.grad = sparse([0, 1], 0)
        optimizer.step()
    again = LazyAdam([tables[1]], lr=0.1)
    again.load_state_dict(second.state_dict())
    for table, optimizer in zip(tables, (first, again), strict=True):
        table.grad = sparse([1, 2], 1)
        optimizer.step()
    assert torch.equal(*tables)


def test_a_weight_decay_of_rows_is_refused():
    table = Parameter(torch.ones(ROWS, WIDTH).double())
    table.grad = sparse([0], 0)
    with pytest.raises(ValueError, match="LazyAdam has no weight decay of parameters with sparse"):
        LazyAdam([table], weight_decay=0.1).step()
