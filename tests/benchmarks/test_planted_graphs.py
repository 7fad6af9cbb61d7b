"""A label that two neighbours decide is found in a graph network that has learned it."""

import importlib

import pytest
import torch
from support.running import ROOT


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("planted_graphs")


@pytest.mark.parametrize("rule", ["and", "xor"])
def test_the_two_neighbours_are_found(bench, rule):
    found = bench.measured(rule, seed=7, explained=40, nodes=1000, epochs=250)
    assert found.accuracy >= 0.97, "the rule has not been learned, so it cannot be found"
    assert found.explained == 40
    assert found.precision >= 0.95
    assert found.recall >= 0.95
    assert found.real == found.found
    assert found.joined > 0.98 > found.linear


def test_the_planted_pairs_decide_the_label(bench):
    """Without its word, either of the two turns the label."""
    for rule, label in (("and", 1), ("xor", 0)):
        graph, pairs = bench.planted(rule, 3, 400)
        links = torch.zeros(400, 400, dtype=torch.bool)
        links[graph.edges[0], graph.edges[1]] = links[graph.edges[1], graph.edges[0]] = True
        assert len(pairs) >= 5
        for node, a, b in pairs:
            assert links[node, a]
            assert links[node, b]
            assert graph.label[node] == label
            assert not {node} & {*graph.train.tolist()}
            around = graph.words[[node, *links[node].nonzero().flatten().tolist()]]
            assert around[:, bench.A].sum() == around[:, bench.B].sum() == 1
            assert graph.words[a, bench.A] == graph.words[b, bench.B] == 1
