"""Matrix products that are faster."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from zoo.nn.device import is_cpu

HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


class Linear(nn.Linear):
    """y = x W^T + b, [B, in] -> [B, out], as `torch.nn.Linear`.

    In float32 on a CPU, PyTorch hands the product to MKL, which leaves the AVX-512 units of
    other makers' processors idle; oneDNN, which PyTorch carries too, uses them. There the
    product and its gradients go to oneDNN: more than twice as fast on AMD EPYC, and the same
    sums in another order. On a GPU its gradients take half of the calls. Everywhere else this is
    `torch.nn.Linear`.
    """

    def forward(self, input: Tensor) -> Tensor:
        """The product."""
        return linear(input, self.weight, self.bias)


class Head(nn.Linear):
    """w^T x, [B, in] -> [B]: what a part of a model adds to the logit.

    Args:
        width: Number of inputs, in.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, 1, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """The product."""
        return head(input, self.weight)


def head(x: Tensor, weight: Tensor) -> Tensor:
    """[B, in] -> [B] <w, x>; see `Head`.

    Args:
        x: [B, in] inputs.
        weight: [1, in] weights.
    """
    product = functional.linear if is_cpu(x) else linear  # for one output not by oneDNN
    return product(x, weight).squeeze(1)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """[B, out] x W^T + b, as `torch.nn.functional.linear`; see `Linear`.

    Args:
        x: [B, in] inputs.
        weight: [out, in] weights.
        bias: [out] biases; None adds none.
    """
    if takes_onednn(x, weight):
        # oneDNN is slow on what is neither contiguous nor its transpose
        return _Linear.apply(x.contiguous(), weight.contiguous(), bias)
    if not is_cpu(x) and not torch.compiler.is_compiling() and not _is_autocast(x):
        return _Linear.apply(x, weight, bias)
    return functional.linear(x, weight, bias)


def takes_onednn(x: Tensor, weight: Tensor) -> bool:
    """Whether `linear` of these goes to oneDNN; compiled code is left to the compiler."""
    return (
        HAS_ONEDNN
        and not torch.compiler.is_compiling()
        and is_cpu(x)
        and x.dtype == weight.dtype == torch.float32
        and not _is_autocast(x)
    )


def _is_autocast(x: Tensor) -> bool:
    return torch.is_autocast_enabled(x.device.type)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        if not is_cpu(x):
            return functional.linear(x, weight, bias)
        return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        with onednn_products():
            return (
                gradient @ weight if needs_x else None,
                gradient.t() @ x if needs_weight else None,
                sum_of_rows(gradient) if needs_bias else None,
            )


def sum_of_rows(x: Tensor) -> Tensor:
    """[B, W] -> [W] x.sum(0); as a product on CPUs, where that is faster."""
    if not is_cpu(x):
        return x.sum(0)
    return (x.new_ones(1, len(x)) @ x).squeeze(0)


@contextmanager
def onednn_products() -> Iterator[None]:
    """Products of matrices and of batches of them go to oneDNN in here.

    PyTorch passes products of float32 to oneDNN only where they may be rounded to bfloat16. oneDNN
    rounds them only on processors with units for such products (AMX), where nothing is changed.
    Compiled code is left to the compiler.
    """
    if torch.compiler.is_compiling():
        yield
        return
    settings = torch.backends.mkldnn.matmul  # pyright: ignore[reportAttributeAccessIssue]
    before = settings.fp32_precision
    if HAS_ONEDNN and not torch.cpu._is_amx_tile_supported():
        settings.fp32_precision = "bf16"
    try:
        yield
    finally:
        settings.fp32_precision = before
