"""Papers that cite each other: Cora, and generated ones.

Shapes: V papers, F words, C classes.
"""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from downloaded import Remote, files
from gcn import Graph, simple_edges
from torch import Tensor

from zoo.data.errors import ZooError

# Cora as plain text, its papers in the order of Planetoid (Yang et al., ICML 2016)
FOLDER = (
    "https://raw.githubusercontent.com/benedekrozemberczki/APPNP/"
    "338d98980ee8748e652630dd422341ef8b2a354a/input"
)
SHA256 = {
    "cora_features.json": "01ed032fa148d302183ff2225a6f687b6d51998fc7a39b49669ed181f0c8d8a5",
    "cora_edges.csv": "a04e55f3bc812b9d2e57ce89da06446991a77183c423861817076ccbdc59ea88",
    "cora_target.csv": "5462297aefd41881e576a1f60a457dd116c57a80159d6e119d0cfd53633e7904",
}
CORA = [Remote(name, f"{FOLDER}/{name}", sha256) for name, sha256 in SHA256.items()]
SUBJECTS = [
    *("Theory", "Reinforcement Learning", "Genetic Algorithms", "Neural Networks"),
    *("Probabilistic Methods", "Case Based", "Rule Learning"),
]
WORDS, TRAIN, TEST = 1433, 140, 1000  # Planetoid's split: the first and the last papers


def cora(data: Path | None = None) -> Graph:
    """2,708 papers on machine learning, each with the words it has of 1,433.

    Args:
        data: Folder with the files, or with them in `cora.npz`, or a folder of such folders; None
            downloads them.

    Raises:
        ZooError: Where a file is missing or is not what it should be.
    """
    places = (data.glob(name) for name in ("cora.npz", "*/cora.npz")) if data else ()
    arrays = [path for found in places for path in sorted(found)]
    if arrays:
        with np.load(arrays[0], allow_pickle=False) as content:
            of = np.stack((content["word_node"], content["word_id"]), 1)
            label, pairs = content["label"], content["edges"]
    else:
        features, edges, target = files(CORA, data)
        label = _table(target)[:, 1]
        of, pairs = _words(features), _table(edges)
        _within(target, label, len(SUBJECTS), "class")
        _within(edges, pairs, len(label), "paper")
        _within(features, of[:, 0], len(label), "paper")
        _within(features, of[:, 1], WORDS, "word")
    every = torch.arange(len(label))
    return Graph(
        _shares(of, (len(label), WORDS)),
        torch.from_numpy(label.astype(np.int64)),
        simple_edges(pairs),
        SUBJECTS,
        [str(i) for i in range(len(label))],
        every[:TRAIN],
        every[-TEST:],
    )


def _text(path: Path) -> str:
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as stream:
        return stream.read()


def _table(path: Path) -> np.ndarray:
    """int [rows, 2] of a file with a header."""
    try:
        rows = [[*map(int, line.split(","))] for line in _text(path).split()[1:]]
        return np.array(rows, np.int64).reshape(len(rows), 2)
    except ValueError:
        raise ZooError(f"{path} must be a header and rows of two whole numbers") from None


def _words(path: Path) -> np.ndarray:
    """int [.., 2] a paper and one of its words, of a JSON file of the words of each paper."""
    try:
        found = json.loads(_text(path))
        return np.array([(int(n), int(word)) for n, words in found.items() for word in words])
    except (AttributeError, TypeError, ValueError):
        raise ZooError(f"{path} is no JSON of papers and their words") from None


def _within(path: Path, numbers: np.ndarray, count: int, what: str) -> None:
    """Numbers of a file must be below a count."""
    if (wrong := numbers[(numbers < 0) | (numbers >= count)]).size:
        raise ZooError(f"{path} names {what} {wrong[0]}, of 0 to {count - 1}")


def _shares(of: np.ndarray, shape: tuple[int, int]) -> Tensor:
    """[V, F] of pairs [.., 2] of a paper and one of its words, each word with the same share."""
    found = torch.zeros(shape)
    found[tuple(torch.from_numpy(of.T.astype(np.int64)))] = 1
    return found / found.sum(1, keepdim=True).clamp(min=1)


def generated(
    seed: int, papers: int = 400, classes: Sequence[str] = ("red", "green", "blue", "black")
) -> Graph:
    """A stochastic block model: papers cite those of their class more often, and share words.

    Args:
        seed: Seed of what is drawn.
        papers: Number of papers.
        classes: Names of the classes.
    """
    random = np.random.default_rng(seed)
    label = random.integers(len(classes), size=papers)
    own = np.repeat(np.arange(len(classes)), 20) == label[:, None]  # 20 words of each class
    words = random.random(own.shape) < np.where(own, 0.25, 0.05)
    same = label[:, None] == label
    cited = random.random(same.shape) < np.where(same, 9.0, 1.0) / papers
    pairs = np.argwhere(np.triu(cited, 1))
    order = torch.from_numpy(random.permutation(papers))
    return Graph(
        _shares(np.argwhere(words), own.shape),
        torch.from_numpy(label),
        simple_edges(pairs),
        [*classes],
        [str(i) for i in range(papers)],
        order[: papers // 4],
        order[papers // 2 :],
    )
