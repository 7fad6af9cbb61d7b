"""How fast the interpretable Transformer trains, beside its control and a loop over experts.

    python benchmarks/sessions_speed.py

One training step (loss, gradients, Adam) over random sessions of 20 tracks, in turns: the
interpretable Transformer of configs/sessions, the control of one subset and equal width, and the
same mixture as a loop, each expert a small Transformer of plain `torch.nn` modules that reads the
features of the experts inside it.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import yaml
from common import PROJECT, console, make_table, print_machine, spread
from pytorch_lightning.utilities import move_data_to_device
from torch import Tensor, nn
from torch.nn import functional

from zoo import Field, InterpretableTransformer, Schema, SessionBatch
from zoo.experts.attention import TransformerBlock
from zoo.experts.lattice import Lattice
from zoo.experts.mixture import gem_loss, log_selection
from zoo.experts.stacked import StackedLinear, StackedRestriction
from zoo.nn.memory import keep_freed_memory

CONFIG = PROJECT / "configs/sessions/interpretable_transformer.yaml"
GROUPS = {"position": 2, "context": 14, "interaction": 29, "track_general": 3, "track_music": 26}
PAST_ONLY = ("context", "interaction")
TRACKS = 10  # of each part
NAMES = ("interpretable", "control", "loop")


def make_schema() -> Schema:
    """Fields as those of MSSD, one-hot columns counted."""
    fields = (
        Field(f"{group}_{i}", "numerical", group=group, past_only=group in PAST_ONLY)
        for group, size in GROUPS.items()
        for i in range(size)
    )
    return Schema(tuple(fields))


def make_batch(schema: Schema, sessions: int) -> SessionBatch:
    """Random sessions of 10 to 20 tracks."""
    tracks = torch.arange(TRACKS)
    past_mask, future_mask = (
        tracks < torch.randint(TRACKS // 2, TRACKS + 1, (sessions, 1)) for _ in range(2)
    )
    return SessionBatch(
        past=torch.randn(sessions, TRACKS, len(schema.numerical)),
        past_mask=past_mask,
        future=torch.randn(sessions, TRACKS, len(schema.future)),
        future_mask=future_mask,
        label=torch.randint(2, (sessions, TRACKS)).float() * future_mask,
    )


class LoopLinear(nn.Module):
    """`StackedLinear` as a loop; weights of its own, a list of tensors in and out."""

    def __init__(self, lattice: Lattice, stacked: StackedLinear) -> None:
        super().__init__()
        self.below = lattice.below
        _, parts, outputs, inputs = stacked.blocks.shape
        self.experts = nn.ModuleList()
        for i, inside in enumerate(lattice.below):
            linear = nn.Linear(inputs * (1 + len(inside)), parts * outputs)
            blocks = stacked.blocks.detach()[stacked.rows == i].flatten(1, 2)
            linear.weight.data.copy_(torch.cat(list(blocks), 1))
            linear.bias.data.copy_(stacked.bias.detach()[:, i].flatten())
            self.experts.append(linear)

    def forward(self, x: list[Tensor]) -> list[Tensor]:
        """H tensors [..., in] -> H tensors [..., P * out]."""
        return [
            expert(torch.cat([x[i], *(x[j].detach() for j in inside)], -1))
            for i, (expert, inside) in enumerate(zip(self.experts, self.below, strict=True))
        ]


class LoopBlock(nn.Module):
    """`TransformerBlock` as a loop."""

    def __init__(self, lattice: Lattice, block: TransformerBlock) -> None:
        super().__init__()
        attention = block.attention
        self.heads = attention.heads // len(lattice)
        stacked = (
            attention.query,
            attention.memory,
            attention.output,
            block.expand,
            block.contract,
        )
        layers = [LoopLinear(lattice, layer) for layer in stacked]
        self.query, self.memory, self.output, self.expand, self.contract = layers
        width = block.norms[0].weight.shape[1]
        self.norms = nn.ModuleList(
            nn.ModuleList(nn.LayerNorm(width) for _ in lattice.names) for _ in range(2)
        )

    def attend(self, q: Tensor, kv: Tensor, mask: Tensor) -> Tensor:
        """One expert's heads."""
        k, v = kv.chunk(2, 2)
        q, k, v = (x.unflatten(2, (self.heads, -1)).transpose(1, 2) for x in (q, k, v))
        mixed = functional.scaled_dot_product_attention(q, k, v, mask[:, None, None])
        return mixed.transpose(1, 2).flatten(2)

    def forward(self, x: list[Tensor], memory: list[Tensor], mask: Tensor) -> list[Tensor]:
        """H tensors [B, T', w]."""
        pairs = zip(self.query(x), self.memory(memory), strict=True)
        found = self.output([self.attend(q, kv, mask) for q, kv in pairs])
        x = [n(a + b) for n, a, b in zip(self.norms[0], x, found, strict=True)]
        found = self.contract([h.relu() for h in self.expand(x)])
        return [n(a + b) for n, a, b in zip(self.norms[1], x, found, strict=True)]


class LoopRestriction(nn.Module):
    """`StackedRestriction` as a loop."""

    def __init__(self, columns: list[list[int]], stacked: StackedRestriction) -> None:
        super().__init__()
        self.experts = nn.ModuleList()
        for i, mine in enumerate(columns):  # where the model is, not copied in each step
            self.register_buffer(f"columns_{i}", torch.tensor(mine))
        for mine, expert in zip(columns, stacked.restriction.experts, strict=True):
            linear = nn.Linear(len(mine), expert.out_features)
            linear.load_state_dict(expert.state_dict())
            self.experts.append(linear)

    def forward(self, x: Tensor) -> list[Tensor]:
        """H tensors [B, T, w]."""
        columns = (getattr(self, f"columns_{i}") for i in range(len(self.experts)))
        return [e(x[..., c]) for e, c in zip(self.experts, columns, strict=True)]


class Loop(nn.Module):
    """An `InterpretableTransformer` as a loop over its experts, with equal weights."""

    def __init__(self, model: InterpretableTransformer) -> None:
        super().__init__()
        lattice = model.lattice
        self.register_buffer("inclusion", model.inclusion)
        self.past = LoopRestriction(model._columns(model.schema.numerical), model.past)
        self.future = LoopRestriction(model._columns(model.schema.future), model.future)
        self.encoder, self.decoder = (
            nn.ModuleList(LoopBlock(lattice, block) for block in blocks)
            for blocks in (model.encoder, model.decoder)
        )
        self.head = LoopLinear(lattice, model.head)

    def training_step(self, batch: SessionBatch) -> Tensor:
        """The loss."""
        memory, features = self.past(batch.past), self.future(batch.future)
        for block in self.encoder:
            memory = block(memory, memory, batch.past_mask)
        for block in self.decoder:
            features = block(features, memory, batch.past_mask)
        z = torch.cat(self.head(features), 2)[batch.future_mask]
        log_alpha = log_selection(z.detach(), self.inclusion, "abs")
        return gem_loss(z, batch.label[batch.future_mask], log_alpha)


def make_step(model: nn.Module, batch: SessionBatch) -> Callable[[], None]:
    """A training step of a model."""
    optimizer = torch.optim.Adam(model.parameters(), 1e-4, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        model.training_step(batch).backward()
        optimizer.step()

    return step


def measure(step: Callable[[], None], device: torch.device, steps: int) -> float:
    """Seconds of a step, mean over some."""
    synchronize = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    synchronize()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    synchronize()
    return (time.perf_counter() - start) / steps


def parse_arguments() -> argparse.Namespace:
    """Command line options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch_size", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--steps", type=int, default=2, help="of each repeat")
    return parser.parse_args()


def main() -> None:
    """Prints sessions per second, and the ratios of steps taken in turns."""
    options = parse_arguments()
    torch.manual_seed(0)
    keep_freed_memory()
    print_machine("torch")
    arguments = yaml.safe_load(options.config.read_text())["model"]["init_args"]
    subsets = arguments.pop("subsets")
    schema, device = make_schema(), torch.device(options.device)
    mixture = InterpretableTransformer(schema, subsets=subsets, **arguments)
    models = (mixture, InterpretableTransformer(schema, **arguments), Loop(mixture))
    table = make_table(
        f"training on {device}, {torch.get_num_threads()} threads, median of {options.repeats}; "
        "ratio: interpretable over this",
        "model",
        *("batch", "sessions/s", "min .. max", "ratio", "min .. max"),
    )
    for size in options.batch_size:
        batch = move_data_to_device(make_batch(schema, size), device)
        steps = [make_step(model.to(device), batch) for model in models]
        for step in steps:  # to warm up
            measure(step, device, 3)
        seconds = [
            [measure(step, device, options.steps) for step in steps] for _ in range(options.repeats)
        ]
        for i, name in enumerate(NAMES):
            ratios = [times[i] / times[0] for times in seconds]
            low_high = f"{min(ratios):.2f} .. {max(ratios):.2f}"
            rates = spread([size / times[i] for times in seconds])
            table.add_row(name, str(size), *rates, f"{statistics.median(ratios):.2f}", low_high)
    console.print(table)


if __name__ == "__main__":
    main()
