"""The devices on which the tests of this room run: a CPU that takes the ways of GPUs, and a GPU."""

import pytest
import torch


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    """Where a test computes what it compares with the plain way of CPUs."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU that PyTorch can use")
    return torch.device(request.param)
