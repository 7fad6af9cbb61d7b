"""The project's own kernels against PyTorch's: same results, other speed."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.embedding import _LookUp
from zoo.linear import Linear
from zoo.optim import Adagrad


@given(st.data())
@settings(deadline=None, max_examples=40)
def test_sparse_steps_equal_dense_steps_of_torch(data):
    rows, width = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 4))
    options = {
        "lr": data.draw(st.sampled_from([0.01, 0.5])),
        "lr_decay": data.draw(st.sampled_from([0.0, 0.1])),
        "initial_accumulator_value": data.draw(st.sampled_from([0.0, 0.3])),
        "maximize": data.draw(st.booleans()),
    }
    ours, theirs = (torch.nn.Parameter(torch.ones(rows, width)) for _ in range(2))
    fast, reference = Adagrad([ours], **options), torch.optim.Adagrad([theirs], **options)
    for step in range(4):
        ids = torch.tensor(data.draw(st.lists(st.integers(0, rows - 1), min_size=1, max_size=40)))
        values = torch.randn(len(ids), width, generator=torch.Generator().manual_seed(step))
        ours.grad = torch.sparse_coo_tensor(ids[None], values, ours.shape, check_invariants=True)
        theirs.grad = torch.zeros(rows, width).index_add_(0, ids, values)
        fast.step()
        reference.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_a_sparse_step_touches_the_rows_of_the_batch_alone():
    parameter = torch.nn.Parameter(torch.ones(1000, 2))
    parameter.grad = torch.sparse_coo_tensor(
        torch.tensor([[7, 3, 7]]), torch.ones(3, 2), parameter.shape, check_invariants=True
    )
    Adagrad([parameter], lr=0.1).step()
    assert (parameter != 1).any(1).nonzero().flatten().tolist() == [3, 7]


def test_the_optimizer_runs_its_closure_and_gives_the_loss():
    parameter = torch.nn.Parameter(torch.tensor([[2.0]]))
    optimizer = Adagrad([parameter], lr=0.5)

    def closure():
        loss = (parameter**2).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) == 4.0
    assert parameter.item() == pytest.approx(1.5)  # the first step is of length lr


@given(st.integers(1, 40), st.integers(1, 20), st.integers(1, 20), st.booleans())
@settings(deadline=None, max_examples=40)
def test_linear_equals_torch_with_its_gradients(batch, inputs, outputs, bias):
    torch.manual_seed(0)
    ours, theirs = Linear(inputs, outputs, bias), torch.nn.Linear(inputs, outputs, bias)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(batch, inputs)
    found, expected = [], []
    for layer, results in ((ours, found), (theirs, expected)):
        leaf = x.clone().requires_grad_()
        out = layer(leaf)
        (out**2).sum().backward()
        results += [out, leaf.grad, *(p.grad for p in layer.parameters())]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sparse", [True, False])
def test_the_look_up_equals_an_embedding_and_two_slices(sparse):
    torch.manual_seed(0)
    ids = torch.randint(10, (6, 3))
    table = torch.randn(10, 5)
    gradients = []
    for look_up in (
        lambda t: _LookUp.apply(t, ids, sparse),
        lambda t: (t[ids][..., :-1], t[ids][..., -1]),
    ):
        leaf = table.clone().requires_grad_()
        vectors, weights = look_up(leaf)
        (vectors.pow(2).sum() + weights.pow(3).sum()).backward()
        gradients.append((vectors, weights, leaf.grad.to_dense()))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)
