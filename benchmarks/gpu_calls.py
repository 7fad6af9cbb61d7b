"""ATen calls of a training step of every model, on the way of CPUs and on that of GPUs.

    python benchmarks/gpu_calls.py
    python benchmarks/gpu_calls.py --models DeepFM InterpretableGRU --names 10
    python benchmarks/gpu_calls.py --instances 32

With `--instances` instead those of `detect`, for each of so many rows of DeepFM: by the detectors
`walsh` (of `explain` too) and `nid`, without permutations. The answer of each call of the model is
waited for as well.

On a GPU each call that is no view starts a kernel at least, and small steps take as long as their
kernels take to start. Counted is the third step, when the optimizer has its state:

- loss: calls of forward, loss and backward.
- update: those of the optimizer.
- kernels: those of both that are no views.
- asks: those that give values, or shapes that depend on them (`item`, `nonzero`, a boolean index),
  or copy from the host: a CUDA graph cannot hold them.

No GPU is needed: CPUs take the way of GPUs, with those steps of the optimizers that are recorded
there (see `zoo.nn.captured`). Metrics are outside of the graph, and left out.

The click models and their rows are those of `train_throughput.py`; the mixtures those of
`configs/movielens` and `configs/sessions`, on random rows and sessions.
"""

import argparse
import tempfile
from collections import Counter
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import yaml
from common import CLICK_RATE, PROJECT, console, make_schema, make_table
from experts_cost import movielens_schema
from sessions_speed import make_batch as make_sessions
from sessions_speed import make_schema as sessions_schema
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from train_throughput import MODELS as CLICK_MODELS
from train_throughput import make_model

import zoo
from zoo.data.batch import Batch
from zoo.data.schema import Schema
from zoo.glider.perturb import OnOff
from zoo.glider.surrogates.detector import MadexDetector
from zoo.glider.surrogates.madex import MadexConfig
from zoo.glider.walsh.detector import WalshDetector
from zoo.glider.walsh.search import WalshConfig
from zoo.models.base import ZooModule
from zoo.nn.captured import DeviceRates
from zoo.nn.device import as_on_gpu

MIXTURES = {
    "InterpretableMLP": "movielens",
    "InterpretableGRU": "sessions",
    "InterpretableTransformer": "sessions",
}
# that give values, or shapes that depend on them; `lift_fresh` is `torch.tensor`, from the host
ASKING = {"_local_scalar_dense", "equal", "lift_fresh", "masked_select", "nonzero"}
ASKING |= {"_unique2", "unique_consecutive", "unique_dim", "repeat_interleave"}
IDS = 100_000
BEFORE = 2  # steps


class Calls(TorchDispatchMode):
    """Counts the ATen calls while it is open.

    Attributes:
        names: How often each was called.
        views: Calls that start no kernel.
        asks: Calls that need values, or copy from the host.
    """

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()
        self.views = self.asks = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        self.names[name] += 1
        self.views += func.is_view
        self.asks += name in ASKING or ("index" in name and _by_mask(args))
        return func(*args, **kwargs or {})


def _by_mask(args: Any) -> bool:
    indices = args[1] if len(args) > 1 and isinstance(args[1], list | tuple) else ()
    return any(isinstance(i, Tensor) and i.dtype == torch.bool for i in indices)


def rows(schema: Schema, count: int) -> Batch:
    """Random rows."""
    ids = [torch.randint(field.cardinality, (count,)) for field in schema.categorical]
    numbers = torch.randn(count, len(schema.numerical))
    return Batch(numbers, torch.stack(ids, 1).int(), (torch.rand(count) < CLICK_RATE).float())


def make(name: str, batch_size: int, sessions: int) -> tuple[ZooModule, Any]:
    """A model and a batch."""
    if name in CLICK_MODELS:
        schema = make_schema(IDS)
        model = make_model(name, schema)
        model.embedding.sparse = True  # as a fit with Adagrad sets it
        return model, rows(schema, batch_size)
    room = MIXTURES[name]
    config = PROJECT / f"configs/{room}" / f"{_snake(name)}.yaml"
    options = yaml.safe_load(config.read_text())["model"]["init_args"]
    schema = movielens_schema() if room == "movielens" else sessions_schema()
    batch = rows(schema, batch_size) if room == "movielens" else make_sessions(schema, sessions)
    return getattr(zoo, name)(schema, **options), batch


def _snake(name: str) -> str:
    return name.replace("Interpretable", "interpretable_").lower()


def count(name: str, gpu: bool, options: argparse.Namespace) -> tuple[Calls, Calls]:
    """The calls of a model's gradients, and those of its optimizer."""
    torch.manual_seed(0)
    with as_on_gpu() if gpu else nullcontext():
        model, batch = make(name, options.batch_size, options.sessions)
        configured: Any = model.configure_optimizers()
        optimizer = configured["optimizer"]
        for _ in range(BEFORE):
            model.losses(batch)[0].backward()
            optimizer.step()
            optimizer.zero_grad()
        # on a GPU as a step that is recorded
        with DeviceRates(optimizer, model.device).read() if gpu else nullcontext():
            with Calls() as loss:
                model.losses(batch)[0].backward()
            with Calls() as update:
                optimizer.step()
    return loss, update


def explained(detector: str, gpu: bool, instances: int) -> tuple[Calls, int]:
    """The calls of the explanation of rows, and how often the model is called."""
    torch.manual_seed(0)
    schema = make_schema(IDS)
    model = make_model("DeepFM", schema).eval()
    switches = OnOff.of(schema, torch.zeros(len(schema.numerical)))
    config = WalshConfig() if detector == "walsh" else MadexConfig()
    kind = WalshDetector if detector == "walsh" else MadexDetector
    called: list[int] = []

    def scores(batch: Batch) -> Tensor:
        called.append(len(batch.label))
        return model(batch)

    with tempfile.TemporaryDirectory() as folder:
        found = kind(scores, rows(schema, instances), switches, config, Path(folder), 0)
        with as_on_gpu() if gpu else nullcontext(), torch.no_grad(), Calls() as calls:
            found.write(Path(folder) / f"found{found.suffix}", range(instances))
    return calls, len(called)


def print_explanations(instances: int) -> None:
    """Prints a table."""
    table = make_table(
        f"of each of {instances} rows", "detector", "way", "ATen calls", "kernels", "asks", "model"
    )
    for detector in ("walsh", "nid"):
        for way in ("CPU", "GPU"):
            calls, called = explained(detector, way == "GPU", instances)
            total = calls.names.total()
            each = (total, total - calls.views, calls.asks, called)
            table.add_row(detector, way, *(f"{n / instances:,.1f}" for n in each))
    console.print(table)


def parse_arguments() -> argparse.Namespace:
    """Command line options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    every = [*CLICK_MODELS, *MIXTURES]
    parser.add_argument("--models", nargs="+", choices=every, default=every)
    parser.add_argument("--batch_size", type=int, default=4096)
    parser.add_argument("--sessions", type=int, default=256, help="of a batch")
    parser.add_argument("--instances", type=int, default=0, help="rows that are explained")
    parser.add_argument("--names", type=int, default=0, help="most frequent calls to print")
    return parser.parse_args()


def main() -> None:
    """Prints a table."""
    options = parse_arguments()
    if options.instances:
        print_explanations(options.instances)
        return
    columns = ("way", "all", "loss", "update", "kernels", "asks")
    table = make_table("ATen calls of a training step", "model", *columns)
    frequent = []
    for name in options.models:
        for way in ("CPU", "GPU"):
            first, second = count(name, way == "GPU", options)
            calls, steps = first.names.total(), second.names.total()
            kernels = calls + steps - first.views - second.views
            cells = (calls + steps, calls, steps, kernels, first.asks + second.asks)
            table.add_row(name, way, *(f"{n:,}" for n in cells))
            most = (first.names + second.names).most_common(options.names)
            frequent.append(f"{name}, {way}: " + ", ".join(f"{n} {k}" for k, n in most))
    console.print(table)
    for line in frequent if options.names else ():
        console.print(line, highlight=False)


if __name__ == "__main__":
    main()
