"""Matrix products that are faster on CPUs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


class Linear(nn.Linear):
    """y = x W^T + b, [B, in] -> [B, out], as `torch.nn.Linear`.

    In float32 on a CPU, PyTorch hands the product to MKL, which leaves the AVX-512 units of
    other makers' processors idle; oneDNN, which PyTorch carries too, uses them. There the
    product and its gradients go to oneDNN: more than twice as fast on AMD EPYC, and the same
    sums in another order. Everywhere else this is `torch.nn.Linear`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The product."""
        return linear(x, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """[B, in], [out, in], [out] -> [B, out], as `torch.nn.functional.linear`; see `Linear`."""
    if takes_onednn(x, weight):
        # oneDNN is slow on what is neither contiguous nor its transpose
        return _OneDNNLinear.apply(x.contiguous(), weight.contiguous(), bias)
    return functional.linear(x, weight, bias)


def takes_onednn(x: Tensor, weight: Tensor) -> bool:
    """Whether `product` of these goes to oneDNN; what is compiled is left to the compiler."""
    return (
        HAS_ONEDNN
        and not torch.compiler.is_compiling()
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
    )


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x @ weight^T + bias without a gradient, by oneDNN where that is faster."""
    if takes_onednn(x, weight):
        return _product(x, weight, bias)
    return functional.linear(x, weight, bias)


def weight_gradient(gradient: Tensor, x: Tensor) -> Tensor:
    """[B, out], [B, in] -> [out, in] gradient^T x, by oneDNN as in `onednn_products`."""
    with onednn_products():  # unlike `_product`, takes a transposed first factor as it lies
        return gradient.t() @ x


class _OneDNNLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        return (
            _product(gradient, weight.t()) if needs_x else None,
            weight_gradient(gradient, x) if needs_weight else None,
            gradient.sum(0) if needs_bias else None,
        )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


@contextmanager
def onednn_products() -> Iterator[None]:
    """Products of matrices and of batches of them go to oneDNN in here.

    PyTorch gives it those of float32 only by leave to round to bfloat16. oneDNN makes no use of
    that leave but on processors with units for such products (AMX), where it is not given. What
    is compiled is left to the compiler.
    """
    if torch.compiler.is_compiling():
        yield
        return
    settings = torch.backends.mkldnn.matmul
    before = settings.fp32_precision
    if HAS_ONEDNN and not torch.cpu._is_amx_tile_supported():
        settings.fp32_precision = "bf16"
    try:
        yield
    finally:
        settings.fp32_precision = before
