"""Clipped gradients are those of torch, whatever their layout."""

import pytest
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from zoo.nn.clipping import clip_by_norm, clip_by_value


def parameters(sparse):
    """A table with repeated rows in its gradient, a vector, and one without a gradient."""
    torch.manual_seed(0)
    table, vector, idle = (nn.Parameter(torch.zeros(size)) for size in ((6, 2), (3,), (4,)))
    ids = torch.tensor([[4, 1, 4, 4]])
    with torch.sparse.check_sparse_tensor_invariants(True):  # of which torch 2.11 warns otherwise
        gradient = torch.sparse_coo_tensor(ids, torch.randn(4, 2), (6, 2))
    table.grad = gradient if sparse else gradient.to_dense()
    vector.grad = torch.randn(3)
    return [table, vector, idle]


def gradients(found):
    return [p.grad.to_dense() for p in found if p.grad is not None]


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("largest", [0.5, 100.0])
def test_norms_are_clipped_as_torch_does(sparse, largest):
    mine, theirs = parameters(sparse), parameters(False)
    norm, expected = clip_by_norm(mine, largest), clip_grad_norm_(theirs, largest)
    torch.testing.assert_close(norm, expected)
    torch.testing.assert_close(gradients(mine), gradients(theirs))


@pytest.mark.parametrize("sparse", [True, False])
def test_values_are_clipped_as_torch_does(sparse):
    mine, theirs = parameters(sparse), parameters(False)
    clip_by_value(mine, 0.4)
    clip_grad_value_(theirs[:2], 0.4)
    assert torch.equal(gradients(mine)[0], gradients(theirs)[0])


def test_nothing_to_clip_is_no_error():
    assert clip_by_norm([nn.Parameter(torch.zeros(2))], 1.0) == 0
