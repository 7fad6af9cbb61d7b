"""What a device allows: operations and bytes of a training step, over its measured rates.

Shapes: B rows of a batch, C categorical fields, N numerical ones, D embedding, W numbers that the
layers of a model give for a row.
"""

import time
from typing import NamedTuple

import torch
from plain import make_plain
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.flop_counter import FlopCounterMode

from zoo.data.schema import Schema

COUNTED_ROWS = 64
DIM = 16
HIDDEN = (400, 400)
# numbers that the layers of an architecture give for a row, beside the deep part's
EXTRA = {
    "DCN": 6 * 429,  # six cross layers of the flat input
    "xDeepFM": 3 * 200 * DIM,  # three layers of maps; their outer products need not be kept
    "AutoInt": 3 * 26 * 5 * DIM,  # of three layers query, key, value, residual and output
}


class Rates(NamedTuple):
    """What a device does in a second: operations of products, and bytes read or written."""

    products: float
    bytes: float


def now(device: torch.device) -> float:
    """Seconds, when the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def best_seconds(call: object, device: torch.device, repeats: int = 5) -> float:
    """The shortest of several calls."""
    seconds = []
    for _ in range(repeats + 1):
        start = now(device)
        call()
        seconds.append(now(device) - start)
    return min(seconds)


def measure_rates(device: torch.device, half: bool, size: int) -> Rates:
    """The rate of the product of two matrices, and of a copy.

    Args:
        device: The device.
        half: Whether the product is of bfloat16.
        size: Rows and columns of the matrices; the copy is of as many numbers, eight times.
    """
    kind = torch.bfloat16 if half else torch.float32
    a, b = torch.randn(2, size, size, device=device, dtype=kind)
    source = torch.zeros(8 * size * size, device=device)
    target = torch.empty_like(source)
    products = 2 * size**3 / best_seconds(lambda: a @ b, device)
    return Rates(products, 2 * source.nbytes / best_seconds(lambda: target.copy_(source), device))


def flops_of_row(name: str, schema: Schema) -> float:
    """Operations of the matrix products of a row, forward and backward, as PyTorch counts them."""
    ids = torch.zeros(COUNTED_ROWS, len(schema.categorical), dtype=torch.int)
    numbers = torch.zeros(COUNTED_ROWS, len(schema.numerical))
    model = make_plain(name, schema, DIM, HIDDEN)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        logits: Tensor = model(numbers, ids)
        binary_cross_entropy_with_logits(logits, torch.zeros_like(logits)).backward()
    return counter.get_total_flops() / COUNTED_ROWS


def bytes_of_step(name: str, schema: Schema, batch_size: int, half: bool) -> float:
    """Bytes that a step has to move.

    - rows: 4 (N + C + 2) B, with the label and the place in the order.
    - table: of the C B rows, all taken for distinct, 4 C (D + 1) B numbers seven times: the
      look-up, the gradient written and read, weight and sum of the optimizer read and written.
    - layers: 4 W B numbers (2 in half precision) four times: written and read forward, their
      gradient written and read backward; W = the flat input, the deep part's layers and `EXTRA`.
    - weights of the layers: 4 bytes seven times, as those of the table.
    """
    c, n = len(schema.categorical), len(schema.numerical)
    flat = c * DIM + n
    activations = flat + sum(HIDDEN) + EXTRA.get(name, 0)
    model = make_plain(name, schema, DIM, HIDDEN)
    weights = sum(p.numel() for key, p in model.named_parameters() if not key.startswith("table"))
    of_row = 4 * (n + c + 2) + 7 * 4 * c * (DIM + 1) + 4 * (2 if half else 4) * activations
    return batch_size * of_row + 7 * 4 * weights


def limit(
    name: str, schema: Schema, batch_size: int, rates: Rates, half: bool
) -> dict[str, float | int]:
    """Samples a second that neither products nor traffic of the device would let a step exceed."""
    flops = flops_of_row(name, schema) * batch_size
    moved = bytes_of_step(name, schema, batch_size, half)
    seconds = max(flops / rates.products, moved / rates.bytes)
    return {
        "samples_per_second": round(batch_size / seconds),
        "flops_per_sample": round(flops / batch_size),
        "bytes_per_sample": round(moved / batch_size),
    }
