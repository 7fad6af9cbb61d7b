"""Round numbers of the table on the axis of a curve, which is that of the model."""

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from zoo.inspect.with_data.term_shapes import Curve

MOST, FEW = 8, 3  # ticks
ROUND = (1.0, 2.0, 5.0)


def ticks(curve: Curve) -> dict[str, Any]:
    """Where they lie and what they say, as plotly takes it; nothing where the numbers are the same.

    Args:
        curve: The curve.
    """
    if not curve.raw or curve.raw == curve.values or not curve.counts:
        return {}
    start, end = curve.edges[0], curve.edges[-1]
    low, middle, high = (
        between(x, curve.values, curve.raw) for x in (start, (start + end) / 2, end)
    )
    straight = abs(middle - (low + high) / 2) < 0.01 * (high - low)
    numbers = [] if straight else powers(low, high)
    apart = (end - start) / (MOST + 1)
    places: list[tuple[float, float]] = []
    for number in sorted(numbers if len(numbers) >= FEW else even(low, high), key=_last):
        at = between(number, curve.raw, curve.values)
        if all(abs(at - other) >= apart for other, _ in places):
            places.append((at, number))
    places.sort()
    return {"tickvals": [at for at, _ in places], "ticktext": [f"{x:,.6g}" for _, x in places]}


def _last(number: float) -> tuple[int, float]:
    """Which of several numbers that are close to each other stays: zero, 1, 5, 2; the larger."""
    return "0152".find(f"{abs(number):e}"[0]) % 9, -abs(number)


def powers(low: float, high: float) -> list[float]:
    """Zero, and 1, 2 and 5 of each power of ten of both signs, in a range."""
    found = [m * 10.0**k for k in range(-6, 16) for m in ROUND]
    return [x for x in (*(-x for x in reversed(found)), 0.0, *found) if low <= x <= high]


def even(low: float, high: float) -> list[float]:
    """Multiples of one round number in a range."""
    wanted = (high - low) / MOST
    if not 0 < wanted < math.inf:
        return [low]
    power = 10.0 ** math.floor(math.log10(wanted))
    step = next((m * power for m in ROUND if m * power >= wanted), 10 * power)
    return [step * i for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def between(x: float, xs: Sequence[float], ys: Sequence[float]) -> float:
    """What lies at x on the line through points whose xs rise; at its ends beyond these."""
    i = min(max(bisect_left(xs, x), 1), len(xs) - 1)
    share = (x - xs[i - 1]) / (xs[i] - xs[i - 1])
    return ys[i - 1] + min(max(share, 0.0), 1.0) * (ys[i] - ys[i - 1])
