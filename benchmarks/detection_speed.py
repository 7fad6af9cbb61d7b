"""Instances explained per second, against one network at a time.

    python benchmarks/detection_speed.py --instances 64 --fields 39

Each instance has a black box of its own: main effects and 30 unanimity games of two or three of
the fields, each half as large as the one before. It costs nothing and has a strongest interaction;
among nearly equal ones, rounding would decide which comes first. It has 5,000 neighbours to train
and 500 to validate a network of 256-128-64 (Adam 1e-2, batches of 100, L1 1e-4, early stopping).
Both contestants get the same samples, settings, threads, initial weights and order of samples.
`seconds` are those of training and ranking, neighbours and scores left out; they take turns, and
the figure is the median over the repeats.

- zoo: `zoo.glider.surrogate_training.fit`, many networks at once.
- loop: one `nn.Sequential` at a time, with `torch.optim.Adam`, and the same rule for stopping.

`same top` is the share of instances whose strongest interaction is the same for both.
"""

import argparse
import copy
import statistics
import time
from itertools import islice

import torch
from common import console, make_table, print_machine
from rich.progress import track
from torch import Tensor, nn

from zoo.glider.nid import Candidate, nid
from zoo.glider.perturb import bernoulli_masks, generator
from zoo.glider.surrogate import NID, SurrogateNetworks
from zoo.glider.surrogate_training import Samples, fit, standardise

TRAIN, VAL = 5000, 500
GAMES = 30
TOP = 50  # interactions that MADEX asks for


def make_samples(instances: int, fields: int) -> tuple[Samples, Samples]:
    """Training and validation samples of all instances."""
    xs, ys = [], []
    for i in range(instances):
        random = generator(0, i)
        x = bernoulli_masks(TRAIN + VAL, fields, random)
        y = x @ torch.randn(fields, generator=random)
        for game in range(GAMES):
            order = torch.randperm(fields, generator=random)[: 2 + game % 2]
            y += 3 * 0.5**game * x[:, order].prod(1)
        xs.append(x)
        ys.append(y)
    x, y = torch.stack(xs), torch.stack(ys)
    train, val = standardise(
        Samples(x[:, :TRAIN], y[:, :TRAIN]), Samples(x[:, TRAIN:], y[:, TRAIN:])
    )
    return train, val


def explain_together(train: Samples, val: Samples, chunk: int) -> list[list[Candidate]]:
    """Rankings by batched networks, some instances at a time."""
    rankings = []
    for first in range(0, len(train.x), chunk):
        part = torch.arange(first, min(first + chunk, len(train.x)))
        generators = [generator(1, i) for i in part.tolist()]
        networks, _ = fit(train.of(part), val.of(part), NID, generators)
        rankings += [list(islice(ranking, TOP)) for ranking in nid(networks)]
    return rankings


def explain_one_by_one(train: Samples, val: Samples) -> list[list[Candidate]]:
    """Rankings by one network at a time."""
    rankings = []
    for i in range(len(train.x)):
        network = fit_sequential(train.x[i], train.y[i], val.x[i], val.y[i], generator(1, i))
        linears = [layer for layer in network if isinstance(layer, nn.Linear)]
        layers = [(x.weight.detach().T[None], x.bias.detach()[None, None]) for x in linears]
        rankings += [list(islice(r, TOP)) for r in nid(SurrogateNetworks(NID, layers, None))]
    return rankings


def start(features: int, random: torch.Generator) -> nn.Sequential:
    """A network with the initial weights of ours."""
    layers: list[nn.Module] = []
    for weight, bias in SurrogateNetworks.random(features, NID, [random]).layers:
        linear = nn.Linear(*weight.shape[1:])
        linear.weight.data, linear.bias.data = weight[0].T.contiguous(), bias[0, 0].clone()
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def fit_sequential(
    x: Tensor, y: Tensor, val_x: Tensor, val_y: Tensor, random: torch.Generator
) -> nn.Sequential:
    """The plain way."""
    network = start(x.shape[1], random)
    weights = [p for name, p in network.named_parameters() if name.endswith("weight")]
    optimizer = torch.optim.Adam(network.parameters(), lr=NID.learning_rate)
    best, lowest, stale = copy.deepcopy(network.state_dict()), float("inf"), 0
    for _ in range(NID.max_epochs):
        for rows in torch.randperm(len(x), generator=random).split(NID.batch_size):
            loss = (network(x[rows]).squeeze(1) - y[rows]).square().mean()
            loss = loss + NID.l1 * sum(weight.abs().sum() for weight in weights)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            error = (network(val_x).squeeze(1) - val_y).square().mean().item()
        if error < lowest:
            best, lowest, stale = copy.deepcopy(network.state_dict()), error, 0
        else:
            stale += 1
            if stale == NID.patience:
                break
    network.load_state_dict(best)
    return network


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--instances", type=int, default=64)
    parser.add_argument("--fields", type=int, default=39)
    parser.add_argument("--chunk", type=int, default=32, help="networks trained at once")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print_machine("torch")
    train, val = make_samples(options.instances, options.fields)
    contestants = {
        "zoo": lambda: explain_together(train, val, options.chunk),
        "loop": lambda: explain_one_by_one(train, val),
    }
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    tops: dict[str, list[tuple[int, ...]]] = {}
    for _ in track(range(options.repeats), "repeats", console=console):
        for name, contestant in contestants.items():
            start = time.perf_counter()
            rankings = contestant()
            seconds[name].append(time.perf_counter() - start)
            tops[name] = [ranking[0].features for ranking in rankings]
    title = f"{options.instances} instances of {options.fields} fields"
    table = make_table(title, "", "seconds", "instances/s", "1000 instances, s")
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, median in medians.items():
        rate = options.instances / median
        table.add_row(name, f"{median:.1f}", f"{rate:.2f}", f"{1000 / rate:,.0f}")
    console.print(table)
    same = statistics.mean(a == b for a, b in zip(*tops.values(), strict=True))
    console.print(f"ratio {medians['loop'] / medians['zoo']:.2f}, same top {same:.0%}")


if __name__ == "__main__":
    main()
