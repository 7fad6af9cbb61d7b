"""The example of graphs: its network, its papers, what is around one of them, and its page."""

import gzip
import json
import sys

import numpy as np
import pytest
import torch
from support.running import ROOT

from zoo import ZooError
from zoo.glider.perturb import bernoulli_masks, generator

sys.path.insert(0, f"{ROOT}/examples/domains")
import graph as example
from gcn import simple_edges
from papers import cora, generated


@pytest.fixture(scope="module")
def found():
    """A network that has learned generated papers."""
    return example.Trained.of(generated(1), 1)


def logits_of(model, words, edges):
    """The formula of the paper, in NumPy."""
    matrix = np.eye(len(words))
    matrix[edges[0], edges[1]] = matrix[edges[1], edges[0]] = 1
    root = np.diag(matrix.sum(1) ** -0.5)
    h, last = words, len(model.weights) - 1
    for i, (weight, bias) in enumerate(zip(model.weights, model.biases, strict=True)):
        h = root @ matrix @ root @ h @ weight.double().numpy() + bias.double().numpy()
        h = np.maximum(h, 0) if i < last else h
    return h


def log_odds(logits, node, said):
    p = np.exp(logits[node] - logits[node].max())
    return np.log(p[said] / (p.sum() - p[said]))


def test_the_network_is_the_formula(found):
    graph = found.graph
    expected = logits_of(found.model, graph.words.double().numpy(), graph.edges.numpy())
    logits = found.model(graph.words, graph.adjacency)
    assert logits.numpy() == pytest.approx(expected, abs=1e-4)
    assert found.accuracy == np.mean((expected.argmax(1) == graph.label.numpy())[graph.test])
    assert found.accuracy > 0.8


def test_edges_of_any_direction():
    pairs = np.array([[3, 1], [1, 3], [2, 2], [0, 1], [3, 1]])
    assert simple_edges(pairs).tolist() == [[0, 1], [1, 3]]


@pytest.mark.parametrize("off", ["features", "edges"])
def test_what_lies_beyond_has_no_influence(found, off):
    """The neighbourhood alone scores as the whole graph does, whatever is off within it."""
    node = next(found.picked(0))
    instance = example.instance_of(found, node, off)
    nodes, graph = example.parts(found, node, off), found.graph
    assert len(nodes) == len(instance.names)
    assert (node in nodes) == (off == "features")
    masks = bernoulli_masks(20, len(nodes), generator(0))
    scores = instance.scores(instance.switches.apply(instance.x, masks))
    for mask, score in zip(masks, scores.tolist(), strict=True):
        gone = {n for n, on in zip(nodes, mask.tolist(), strict=True) if not on}
        words, edges = graph.words.double().numpy().copy(), graph.edges.numpy()
        if off == "features":
            words[[*gone]] = 0
        else:
            edges = edges[:, [not gone & {*pair} for pair in edges.T.tolist()]]
        whole = log_odds(logits_of(found.model, words, edges), node, int(found.said[node]))
        assert score == pytest.approx(whole, abs=1e-4)


def test_another_graph_beyond_the_neighbourhood(found):
    """Words of farther nodes change nothing, to the last bit."""
    node, graph = next(found.picked(0)), found.graph
    far = [n for n in range(len(graph.label)) if n not in found.around(node)]
    graph.words[far], before = 1 - graph.words[far], graph.words[far].clone()
    try:
        instance = example.instance_of(found, node)
    finally:
        graph.words[far] = before
    assert torch.equal(instance.x, example.instance_of(found, node).x)


def test_black_boxes():
    box, edges = example.black_boxes(quick=True, seed=3)
    assert (box.name, edges.name) == ("GCN", "GCN-edges")
    again, _ = example.black_boxes(quick=True, seed=3)
    assert len(box.instances) == 40
    assert all(10 <= len(instance.names) <= 112 for instance in box.instances)
    assert [i.title for i in box.instances] == [i.title for i in again.instances]
    assert torch.equal(box.instances[0].x, again.instances[0].x)
    assert box.accuracy == again.accuracy > 0.8


def written(folder, compressed=False):
    """Files as those of Cora, of three papers."""
    texts = {
        "cora_features.json": json.dumps({"2": [7], "0": [1, 5, 1432]}),
        "cora_edges.csv": "id_1,id_2\n0,1\n1,0\n2,2\n2,1\n",
        "cora_target.csv": "id,target\n0,3\n1,0\n2,6\n",
    }
    for name, text in texts.items():
        if compressed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
        else:
            (folder / name).write_text(text)


@pytest.mark.parametrize("compressed", [False, True])
def test_cora_in_a_folder(tmp_path, compressed):
    written(tmp_path, compressed)
    graph = cora(tmp_path)
    assert graph.edges.tolist() == [[0, 1], [1, 2]]
    assert graph.label.tolist() == [3, 0, 6]
    assert graph.classes[3] == "Neural Networks"
    expected = torch.zeros(3, 1433)
    expected[0, [1, 5, 1432]], expected[2, 7] = 1 / 3, 1
    assert torch.equal(graph.words, expected)
    np.savez(
        tmp_path / "cora.npz",
        word_node=np.array([2, 0, 0, 0], "i2"),
        word_id=np.array([7, 1, 5, 1432], "i2"),
        label=np.array([3, 0, 6], "i1"),
        edges=np.array([[0, 1], [1, 2]], "i2"),
    )
    same = cora(tmp_path)
    assert torch.equal(graph.words, same.words)
    assert torch.equal(graph.edges, same.edges)
    assert torch.equal(graph.label, same.label)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("cora_edges.csv", "id_1,id_2\n0,one\n", r"cora_edges\.csv must be a header and rows"),
        ("cora_edges.csv", "id_1,id_2\n0,1\n2\n", r"cora_edges\.csv must be a header and rows"),
        ("cora_edges.csv", "id_1,id_2\n0,1\n2,3\n", r"names paper 3, of 0 to 2"),
        (
            "cora_target.csv",
            "id,target\n0,3\n1,7\n2,0\n",
            "names class 7, of 0 to 6",
        ),
        ("cora_features.json", "{", r"cora_features\.json is no JSON"),
        ("cora_features.json", '{"0": [1433]}', r"cora_features\.json .* 0 to 1432"),
        ("cora_features.json", '{"5": [1]}', r"cora_features\.json .* 0 to 2"),
    ],
)
def test_files_that_are_not_those_of_cora(tmp_path, name, text, message):
    written(tmp_path)
    (tmp_path / name).write_text(text)
    with pytest.raises(ZooError, match=message):
        cora(tmp_path)


def test_the_example_as_a_whole(tmp_path, monkeypatch, capsys):
    pages = []
    for off in ("features", "edges"):
        line = ["graph.py", "--quick", "--papers", "2", "--off", off, "--output"]
        monkeypatch.setattr(sys, "argv", [*line, str(tmp_path / "graph.html")])
        example.main()
        pages.append((tmp_path / "graph.html").read_text())
    assert pages[0] != pages[1]
    assert pages[0].count("<svg") == 2
    said = capsys.readouterr().out
    assert "400 papers" in said
    assert said.count("together") >= 2
    assert [*tmp_path.iterdir()] == [tmp_path / "graph.html"]


def test_a_folder_without_the_files(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["graph.py", "--data", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"^error: --data: .* has no cora_features\.json"):
        example.main()
