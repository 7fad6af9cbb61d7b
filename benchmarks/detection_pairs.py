"""Pairwise AUC where the truth is known: of networks' weights, and of mixed differences."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from common import console, make_table, mean_and_deviation
from detection_functions import (
    FEATURES,
    FUNCTIONS,
    PRODUCTS,
    SWITCHES,
    Function,
    archipelago,
    draw,
    truth_of,
)
from sklearn.metrics import roc_auc_score
from torch import Tensor

from zoo.glider.between import Between
from zoo.glider.mixed import mixed_differences, total_interactions
from zoo.glider.perturb import bernoulli_masks, generator
from zoo.glider.surrogates.networks import GRADIENT_NID, NID, SurrogateConfig, SurrogateNetworks
from zoo.glider.surrogates.nid import gradient_nid, nid_pairs
from zoo.glider.surrogates.training import Samples, fit, standardise
from zoo.glider.walsh import SharedMasks
from zoo.glider.walsh.search import WalshConfig

POINTS = 18  # pairs of points: 2,000 calls
OF_PAPER = SurrogateConfig((140, 100, 60, 20), l1=2e-4, learning_rate=1e-3, patience=10)


class Counted:
    """A black box that counts its calls."""

    def __init__(self, function: Function) -> None:
        self.function = function
        self.calls = 0

    def __call__(self, x: Tensor) -> Tensor:
        """[N] its values."""
        self.calls += len(x)
        return self.function(x)


def auc(truth: list[bool], strengths: np.ndarray | Tensor) -> float:
    """Pairwise AUC of strengths [d, d]."""
    rows, columns = np.triu_indices(len(strengths), 1)
    return float(roc_auc_score(truth, np.asarray(strengths)[rows, columns]))


def trained(
    x: Tensor, y: Tensor, count: int, config: SurrogateConfig, seed: int
) -> tuple[SurrogateNetworks, Tensor]:
    """A network that has learned a function from the first samples, and [1, N, d] these.

    The samples that follow decide when it stops.
    """
    train, val = standardise(
        Samples(x[None, :count], y[None, :count].float()),
        Samples(x[None, count:], y[None, count:].float()),
    )
    networks, _ = fit(train, val, config, [generator(7, seed)])
    return networks, train.x


def run_nid(seeds: int) -> None:
    """F1..F10: NID with networks of that paper's size, and mixed differences between two points."""
    columns = ("NID", "mixed differences", "their calls")
    table = make_table(f"pairwise AUC, {seeds} seeds", "", *columns)
    aucs = np.zeros((len(FUNCTIONS), 2, seeds))
    for i, (function, interactions) in enumerate(FUNCTIONS):
        random = generator(0, i)
        x = torch.stack([draw(function, 20_000, random) for _ in range(seeds)])
        y = torch.stack([function(part) for part in x])
        truth, counted = truth_of(interactions, FEATURES), Counted(function)
        standard = (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True)
        train, val = standardise(*Samples(standard, y).split((10_000, 10_000)))
        networks, _ = fit(train, val, OF_PAPER, [generator(i, seed) for seed in range(seeds)])
        aucs[i, 0] = [auc(truth, strengths) for strengths in nid_pairs(networks)]
        for seed, points in enumerate(x.double()):
            counted.calls = 0
            aucs[i, 1, seed] = auc(truth, total_interactions(counted, points, POINTS, seed))
        table.add_row(f"F{i + 1}", *map(mean_and_deviation, aucs[i]), f"{counted.calls:,}")
    table.add_row("average", *(mean_and_deviation(values) for values in aucs.mean(0)))
    console.print(table)


def run_archipelago(seeds: int) -> None:
    """ANDs of up to twenty features, which random masks never see."""
    contestants: dict[str, Callable[[Counted, Tensor, int], np.ndarray | Tensor]] = {
        "NID": nid_of_masks,
        "walsh": walsh_of_masks,
        "all on": lambda f, x, _: np.square(mixed_differences(f, x, Between(-x))[0]),
        "all off": lambda f, x, _: np.square(mixed_differences(f, x, Between(-x))[1]),
        "both contexts": lambda f, x, _: np.square(mixed_differences(f, x, Between(-x))).mean(0),
    }
    table = make_table(f"pairwise AUC, {seeds} seeds", "", "F1", "F2", "F3", "F4", "calls")
    for name, contestant in contestants.items():
        aucs, calls = np.zeros((4, seeds)), 0
        for seed in range(seeds):
            instance = 2.0 * torch.randint(2, (SWITCHES,), generator=generator(1, seed)) - 1
            for i, (function, interactions) in enumerate(archipelago(instance)):
                counted = Counted(function)
                strengths = contestant(counted, instance, seed)
                aucs[i, seed] = auc(truth_of(interactions, SWITCHES), strengths)
                calls = counted.calls
        if name.startswith("all"):
            calls //= 2  # both contexts have been scored, one is looked at
        table.add_row(name, *map(mean_and_deviation, aucs), f"{calls:,}")
    console.print(table)


def nid_of_masks(function: Counted, instance: Tensor, seed: int) -> Tensor:
    """[d, d] strengths by NID, of 5,500 on/off neighbours."""
    masks = bernoulli_masks(5500, len(instance), generator(2, seed))
    y = function(Between(-instance).apply(instance, masks))
    return nid_pairs(trained(masks, y, 5000, NID, seed)[0])[0]


def walsh_of_masks(function: Counted, instance: Tensor, seed: int) -> np.ndarray:
    """[d, d] squared coefficients of all pairs, by least squares on random masks."""
    masks = SharedMasks(len(instance), WalshConfig(), seed)
    y = masks.scores(function, instance, Between(-instance))
    found = np.zeros((len(instance), len(instance)))
    for features, value, _ in masks.fits(y[None])[0].fit.rows():
        if len(features) == 2:
            found[features] = value**2
    return found


def run_products(seeds: int) -> None:
    """x1^2 x2 x3^2 x4 + x5^2 x6 x7^2 x8, whose second derivatives at the origin are zero."""
    function, interactions = PRODUCTS
    truth = truth_of(interactions, 8)
    of_paper = replace(GRADIENT_NID, patience=5, max_epochs=100)
    contestants = {
        "NID": lambda f, x, seed: nid_pairs(trained(x, f(x), 5000, NID, seed)[0])[0],
        "NID, network of 2018": lambda f, x, s: nid_pairs(trained(x, f(x), 5000, OF_PAPER, s)[0])[
            0
        ],
        "GradientNID, the origin, patience 5": lambda f, x, s: curved(f, x, s, of_paper, 0),
        "GradientNID, 100 points, patience 50": lambda f, x, s: curved(f, x, s, GRADIENT_NID, 100),
        "mixed differences, one context": lambda f, x, _: np.square(
            mixed_differences(f, x[0], Between(x[1]), torch.ones(1, 8))[0]
        ),
        "mixed differences, both contexts": lambda f, x, _: np.square(
            mixed_differences(f, x[0], Between(x[1]))
        ).mean(0),
    }
    table = make_table(f"pairwise AUC, {seeds} seeds", "", "AUC", "calls")
    for name, contestant in contestants.items():
        aucs, counted = [], Counted(function)
        for seed in range(seeds):
            x = 2 * torch.rand(5500, 8, generator=generator(3, seed)) - 1
            counted.calls = 0
            aucs.append(auc(truth, contestant(counted, x, seed)))
        table.add_row(name, mean_and_deviation(aucs), f"{counted.calls:,}")
    console.print(table)


def curved(function: Counted, x: Tensor, seed: int, config: SurrogateConfig, points: int) -> Tensor:
    """[d, d] strengths by GradientNID at so many samples; 0 takes the origin alone."""
    networks, samples = trained(x, function(x), 5000, config, seed)
    return gradient_nid(networks, samples[:, :points] if points else samples[:, :1] * 0)[0]
