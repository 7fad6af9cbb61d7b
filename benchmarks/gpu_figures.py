"""The figures of `gpu.py`, in the order of their importance."""

import argparse
import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from common import make_schema
from gpu_contestants import CONTESTANTS, detection_seconds, fit_seconds, host_seconds
from gpu_limit import Rates, limit, measure_rates
from gpu_mixtures import NAMES, mixture_seconds
from gpu_rows import ResidentRows, bytes_of, draw_rows, first_rows

from zoo import DeepFM

Line = dict[str, Any]
MODELS = ("DeepFM", "WideDeep", "DCN", "AutoInt", "xDeepFM")
FIRST = ("zoo", "plain loop", "plain loop, sparse")
THEN = ("zoo, steps not recorded", "deepctr-torch", "FuxiCTR")
STEPS = {"xDeepFM": 60, "AutoInt": 150}  # of an epoch of ours; others take a third
FEW = ("deepctr-torch", "FuxiCTR")  # which take longer, and fewer steps
EPOCHS = {"Criteo, training rows": 36_672_493, "Criteo, all rows": 45_840_617}


class Figures:
    """All figures of one device.

    Args:
        options: The command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.device = options, torch.device(options.device)
        quick = options.quick
        self.sizes = (128, 256) if quick else (4096, 16384)
        self.steps = dict.fromkeys(MODELS, 6) if quick else {m: STEPS.get(m, 300) for m in MODELS}
        self.few = 2 if quick else 10
        self.repeats = 1 if quick else options.repeats
        self.epochs = {k: n // 2000 if quick else n for k, n in EPOCHS.items()}
        self.schema = make_schema(20_000 if quick else 1_000_000)
        self.rows = draw_rows(self.schema, max(self.epochs.values()), self.device)
        self.rates: dict[bool, Rates] = {}

    def jobs(self) -> Iterator[tuple[Line, Callable[[], Line]]]:
        """What each figure is called, and what takes it; in the order in which they are taken."""
        yield {"figure": "rates"}, self.measure
        for names in (FIRST, THEN):
            for model in MODELS:
                for size in self.sizes:
                    yield from self.trained(model, size, "tf32", names)
                    if names is FIRST:
                        called = self.called("training", model, "limit", size, "tf32")
                        yield called, lambda m=model, n=size: self.limited(m, n, "tf32")
            if names is FIRST:
                yield from self.whole_epochs()
                yield from self.mixtures()
                yield from self.detections()
                yield from self.hosts()
        for precision in ("bf16", "fp32"):
            for model in MODELS:
                for size in self.sizes:
                    yield from self.trained(model, size, precision, FIRST[:2])

    def called(self, figure: str, model: str, who: str, size: int, precision: str) -> Line:
        """Names of a figure."""
        keys = ("figure", "model", "contestant", "batch_size", "precision")
        return dict(zip(keys, (figure, model, who, size, precision), strict=True))

    def measure(self) -> Line:
        """Rates of the device."""
        size = 256 if self.options.quick else 8192
        found = {}
        for precision in ("tf32", "bf16"):
            set_products(precision)
            self.rates[precision == "bf16"] = rates = measure_rates(
                self.device, precision == "bf16", size
            )
            found[f"{precision}_tflops"] = round(rates.products / 1e12, 3)
            found["copy_gb_per_second"] = round(rates.bytes / 1e9, 1)
        return found

    def limited(self, model: str, size: int, precision: str) -> Line:
        """What the device allows."""
        half = precision == "bf16"
        return limit(model, self.schema, size, self.rates[half], half)

    def trained(
        self, model: str, size: int, precision: str, names: tuple[str, ...]
    ) -> Iterator[tuple[Line, Callable[[], Line]]]:
        """Contestants that train a model."""
        for who in names:
            if (model, who) != ("AutoInt", "FuxiCTR"):  # which has none
                called = self.called("training", model, who, size, precision)
                yield called, lambda who=who: self.contest(who, model, size, precision)

    def contest(self, who: str, model: str, size: int, precision: str) -> Line:
        """Samples a second of a contestant."""
        set_products(precision)
        call, options = CONTESTANTS[who]
        steps = self.few if who in FEW else self.steps[model] // (1 if who == "zoo" else 3)
        steps = min(steps, len(self.rows.label) // size)
        repeats = 1 if who in FEW else self.repeats
        rows = first_rows(self.rows, steps * size)
        seconds = call(model, self.schema, rows, size, precision, repeats, **options)
        return per_second(steps * size, seconds)

    def whole_epochs(self) -> Iterator[tuple[Line, Callable[[], Line]]]:
        """Epochs of DeepFM over as many rows as Criteo has."""
        size = 256 if self.options.quick else 10_000
        for what in self.epochs:
            called = {"rows": what} | self.called("epoch", "DeepFM", "zoo", size, "tf32")
            yield called, lambda what=what: self.epoch(what, size)

    def epoch(self, what: str, size: int) -> Line:
        """Seconds of an epoch, with what it takes to record a step; a fit before it warms up."""
        set_products("tf32")
        rows = first_rows(self.rows, self.epochs[what])
        model = DeepFM(self.schema)
        for part in (first_rows(rows, 10 * size), rows):
            loader = ResidentRows(part, size)
            if loader.ahead:  # the first order is drawn while rows are copied, as these have been
                loader.ahead._ahead.result()
            (seconds,) = fit_seconds(model, loader, self.device, "tf32", 1)
        more = {"seconds": round(seconds, 3), "resident_bytes": bytes_of(rows)}
        if self.device.type == "cuda":
            more["most_bytes_of_device"] = torch.cuda.max_memory_allocated(self.device)
        return per_second(len(rows.label), [seconds]) | more

    def mixtures(self) -> Iterator[tuple[Line, Callable[[], Line]]]:
        """Mixtures of experts, of rows and of sessions."""
        quick = self.options.quick
        for model in NAMES:
            size = (4096 if model == NAMES[0] else 256) // (32 if quick else 1)
            contestants = ("zoo", "plain loop", "zoo, steps not recorded")
            for who in contestants if model != "InterpretableGRU" else contestants[::2]:
                called = self.called("mixture", model, who, size, "tf32")
                yield called, lambda m=model, w=who, n=size: self.mixture(m, w, n)

    def mixture(self, model: str, who: str, size: int) -> Line:
        """Rows or sessions a second."""
        set_products("tf32")
        steps = 3 if self.options.quick else 50
        seconds = mixture_seconds(model, who, size, self.device, steps, self.repeats)
        return per_second(size, seconds)

    def detections(self) -> Iterator[tuple[Line, Callable[[], Line]]]:
        """Detection by each detector."""
        for kind in ("walsh", "nid"):
            count = 512 if not self.options.quick else 16 if kind == "walsh" else 1
            called = {"figure": "detection", "model": "DeepFM", "contestant": kind, "rows": count}
            yield called, lambda kind=kind, count=count: self.detect(kind, count)

    def detect(self, kind: str, count: int) -> Line:
        """Seconds of a detection."""
        set_products("tf32")
        with tempfile.TemporaryDirectory() as folder:
            seconds = detection_seconds(kind, self.schema, self.rows, count, Path(folder))
        return {"seconds": round(seconds, 2)}

    def hosts(self) -> Iterator[tuple[Line, Callable[[], Line]]]:
        """What the loop of the trainer lets through."""
        called = {"figure": "host", "model": "DeepFM", "contestant": "zoo"}
        yield called, self.host

    def host(self) -> Line:
        """Seconds of a step on the host, and samples a second that it would let through."""
        schema = make_schema(20_000)
        rows = draw_rows(schema, 8 * 1000, torch.device("cpu"))
        # one thread, as of work for a device
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            steps = 200 if self.options.quick else 1000
            seconds = host_seconds("DeepFM", schema, rows, steps, max(self.repeats, 3))
        finally:
            torch.set_num_threads(before)
        found: Line = {"microseconds_per_step": round(1e6 * statistics.median(seconds))}
        for size in (4096, 16384):
            found[f"samples_per_second_at_{size}"] = round(size / statistics.median(seconds))
        return found


def per_second(count: int, seconds: list[float]) -> Line:
    """Samples a second, by the median of the repeats."""
    return {
        "samples_per_second": round(count / statistics.median(seconds)),
        "least": round(count / max(seconds)),
        "most": round(count / min(seconds)),
        "repeats": len(seconds),
    }


def set_products(precision: str) -> None:
    """How products of float32 are computed."""
    torch.set_float32_matmul_precision("highest" if precision == "fp32" else "high")
