"""Interactions read off the weights of networks: NID and GradientNID.

Shapes: K networks, d features, H units of the first layer, P points.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from zoo.data.errors import ZooError
from zoo.glider.surrogates.networks import SurrogateNetworks


class Candidate(NamedTuple):
    """A set of features that may interact.

    Attributes:
        features: Numbers of the features, ascending.
        strength: How strongly they interact in a network, as NID or GradientNID measures it.
    """

    features: tuple[int, ...]
    strength: float


def influence(networks: SurrogateNetworks) -> Tensor:
    """[K, H] z = |w_y|^T |W_L| .. |W_2|: a bound on what a unit of the first layer can do.

    Tsang et al., *Detecting Statistical Interactions from Neural Network Weights*, ICLR 2018,
    equation 3.
    """
    z = networks.layers[-1][0].abs()
    for weight, _ in networks.layers[-2:0:-1]:
        z = weight.abs() @ z
    return z.squeeze(2)


def nid_pairs(networks: SurrogateNetworks) -> Tensor:
    """[K, d, d] pairwise strengths: sum_i z_i min(|w_ia|, |w_ib|)."""
    first = networks.layers[0][0].abs()
    z = influence(networks)
    return torch.stack(
        [
            torch.einsum("kdh,kh->kd", torch.minimum(first, row[:, None]), z)
            for row in first.unbind(1)
        ],
        1,
    )


def nid(networks: SurrogateNetworks, max_order: int | None = None) -> list[Iterator[Candidate]]:
    """Interactions of any order by greedy ranking, strongest first, for each network.

    There are thousands, so they are made one by one.

    At a unit with its features by descending |w|, the candidates are the first two, the first
    three, and so on; a candidate's strength is the sum, over the units at which it is one, of z_i
    times the smallest |w_i| in it (Tsang et al. 2018, algorithm 1, equation 4 with the minimum).
    The set of all features is a candidate as any other.

    Args:
        networks: The networks, K of them.
        max_order: Largest number of features of a candidate; None is any number.
    """
    first = networks.layers[0][0].abs().transpose(1, 2)  # [K, H, d]
    smallest, order = first.sort(2, descending=True)
    strength = smallest * influence(networks).unsqueeze(2)
    top = min(max_order or first.shape[2], first.shape[2])
    # a random code for each feature makes the sum over a set its key, whatever the order
    codes = torch.randint(
        -(2**62), 2**62, (first.shape[2],), generator=torch.Generator().manual_seed(0)
    )
    keys = codes.to(first.device)[order].cumsum(2)[:, :, 1:top].flatten(1)
    place, where = _distinct(keys)
    # sums of floats in one order, which a GPU does not keep
    place, strength = place.cpu(), strength[:, :, 1:top].flatten(1).cpu()
    total = torch.zeros(place.shape).flatten()
    rows = torch.arange(len(place)).unsqueeze(1) * place.shape[1]
    total = total.index_add_(0, (place + rows).flatten(), strength.flatten()).view_as(place)
    ranking = total.argsort(dim=1, descending=True, stable=True)
    return [_ranked(*k) for k in zip(ranking, total, where.cpu(), order.cpu(), strict=True)]


def _distinct(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Of keys [K, C] the number of each among the distinct ones of its row, and their places.

    Both are [K, C]; the places, the last ones where a key occurs, are filled up by anything.
    """
    ascending, order = keys.sort(dim=1, stable=True)
    begins = torch.ones_like(ascending)
    begins[:, 1:] = ascending[:, 1:] != ascending[:, :-1]
    number = begins.cumsum(1) - 1
    place = torch.empty_like(number).scatter_(1, order, number)
    ends = torch.cat((begins[:, 1:], torch.ones_like(begins[:, :1])), 1).bool()
    where = torch.zeros_like(number)
    rows, columns = ends.nonzero(as_tuple=True)
    where[rows, number[rows, columns]] = order[rows, columns]
    return place, where


def _ranked(ranking: Tensor, total: Tensor, where: Tensor, order: Tensor) -> Iterator[Candidate]:
    """The candidates of a network, strongest first, merged over its units.

    Args:
        ranking: [C] numbers of the distinct candidates, strongest first; numbers of none behind.
        total: [C] strength of each distinct candidate.
        where: [C] one of the places where it is found, unit by unit.
        order: [H, d] features of each unit by descending |w|.
    """
    orders = len(where) // len(order)
    for number in ranking.tolist():
        found = float(total[number])
        if found <= 0:
            return
        unit, end = divmod(int(where[number]), orders)
        yield Candidate(tuple(sorted(order[unit, : end + 2].tolist())), found)


def gradient_nid(networks: SurrogateNetworks, points: Tensor) -> Tensor:
    """[K, d, d] pairwise strengths: (d^2 g / dx_a dx_b)^2, averaged over points [K, P, d].

    Tsang et al. 2020, section 3.2.2; at one point, the instance, as there. The mean over points
    drawn from the sampling region estimates the expectation of Friedman & Popescu 2008.

    The derivatives are exact. With J_l = da_l/dx of the values a_l that enter the softplus of
    layer l, and delta_l = dg/dh_l of what leaves it,

        d^2 g / dx^2 = sum_l J_l^T diag(delta_l * softplus''(a_l)) J_l
    """
    if networks.config.activation != "softplus":
        raise ZooError("GradientNID needs softplus: the curvature of a ReLU network is zero")
    with torch.no_grad():
        return torch.stack([_curvature(networks[k : k + 1], x) for k, x in enumerate(points)])


def _curvature(network: SurrogateNetworks, x: Tensor) -> Tensor:
    """[d, d] the mean over points [P, d] of one network's squared second derivatives."""
    layers = [(weight[0], bias[0]) for weight, bias in network.layers]
    h, jacobian = x, torch.eye(x.shape[1], device=x.device)
    slopes, jacobians = [], []
    for weight, bias in layers[:-1]:
        a, jacobian = h @ weight + bias, jacobian @ weight
        slope = a.sigmoid()
        slopes.append(slope)
        jacobians.append(jacobian.expand(len(x), -1, -1))
        h, jacobian = functional.softplus(a), jacobian * slope.unsqueeze(1)
    delta = layers[-1][0].T
    total = torch.zeros(len(x), x.shape[1], x.shape[1], device=x.device)
    for slope, jacobian, (weight, _) in zip(
        slopes[::-1], jacobians[::-1], layers[-2::-1], strict=True
    ):
        curvature = (delta * slope * (1 - slope)).unsqueeze(1)
        total += (jacobian * curvature) @ jacobian.transpose(1, 2)
        delta = (delta * slope) @ weight.T
    return total.square().mean(0)


def ranked_pairs(strengths: Tensor) -> list[list[Candidate]]:
    """[K, d, d] -> pairs, strongest first, for each network."""
    rows, columns = torch.triu_indices(*strengths.shape[1:], offset=1)
    found = []
    for values in strengths[:, rows.to(strengths.device), columns.to(strengths.device)].cpu():
        order = values.argsort(descending=True, stable=True)
        pairs = zip(
            rows[order].tolist(), columns[order].tolist(), values[order].tolist(), strict=True
        )
        found.append([Candidate((a, b), strength) for a, b, strength in pairs])
    return found


def outermost(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates that lie inside no other."""
    sets = [frozenset(candidate.features) for candidate in candidates]
    pairs = zip(candidates, sets, strict=True)
    return [candidate for candidate, s in pairs if not any(s < other for other in sets)]
