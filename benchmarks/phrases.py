"""Attributions of words and phrases of reviews, beside what people said of each by itself.

    pip install -c constraints.txt -e ".[bench,domains]"
    python benchmarks/phrases.py --labels sst_phrase_labels.jsonl.gz

Pearson's correlation of attributions with the labels of the Stanford Sentiment Treebank, -2 (very
negative) to 2, over all words and all phrases of the test sentences but the sentences themselves,
and over the tenth with the lowest attributions and the tenth with the highest, which is what Tsang
et al., *How does This Interaction Affect Me?* (NeurIPS 2020, table 2) show. The models are those of
`examples/domains/sentiment.py`, one for each seed.

- alone: what a phrase says with all other words left out (`zoo.glider.domains.phrases`).
- Walsh: the same by the coefficients of Walsh regression, 2,000 scores whatever the phrases.
- Walsh, contexts: by the same coefficients, with each other word there in half of all contexts.
- occlusion: what is lost with the phrase left out; Captum's FeatureAblation of on/off features.
- occlusion, sum: the sum of that of its words.
- Integrated Gradients: of Captum, 50 steps, from zero vectors or from those of the unknown word;
  a phrase has the sum of its words.

`--labels` has a JSON a line: {"sentence": "..", "phrases": [["..", 3], ..]} with the phrases of the
tree in preorder and labels 0 to 4, or is a file of trees such as `test.txt` of
https://nlp.stanford.edu/sentiment/trainDevTestTrees_PTB.zip.
"""

import argparse
import gzip
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from common import PROJECT, console, make_table, print_machine

from zoo.data.errors import ZooError
from zoo.glider.domains.phrases import phrase_values, phrases_alone
from zoo.glider.walsh import WalshExplanation

sys.path.insert(0, f"{PROJECT}/examples/domains")
from reviews import UNKNOWN, Reviews, reviews, words_of  # pyright: ignore[reportMissingImports]
from sentiment_found import explained  # pyright: ignore[reportMissingImports]
from sentiment_models import EPOCHS, MODELS, OFF, Trained, trained  # pyright: ignore[reportMissingImports]

STEPS = 50  # of Integrated Gradients
EXTREME = 0.1  # share of attributions at each end


@dataclass(frozen=True)
class Labelled:
    """A sentence whose phrases have labels.

    Attributes:
        words: Its words, as the models take them.
        phrases: The words of each phrase, by their places.
        single: Whether a phrase is a word of the treebank, such as `well-made`.
        labels: Their labels, -2 to 2.
    """

    words: Sequence[str]
    phrases: Sequence[range]
    single: np.ndarray
    labels: np.ndarray


def labelled(path: Path) -> list[Labelled]:
    """The sentences of a file."""
    found = list[Labelled]()
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                found.append(sentence(*(_tree(line) if line[0] == "(" else _json(line))))
            except (ValueError, KeyError, IndexError, TypeError):
                message = f"{path}, line {number}: no sentence with the labels of its phrases"
                raise ZooError(message) from None
    if not found:
        raise ZooError(f"{path} is empty")
    return found


Spans = list[tuple[int, int, int]]  # first token, the one after the last, label 0 to 4


def _json(line: str) -> tuple[list[str], Spans]:
    """Tokens and phrases: in preorder, the next one begins with its parent or after a token."""
    row = json.loads(line)
    tokens, spans = row["sentence"].split(), Spans()
    start, end = 0, len(tokens)
    for phrase, label in row["phrases"]:
        start = start if end - start > 1 else end
        end = start + len(phrase.split())
        if tokens[start:end] != phrase.split():
            raise ValueError(phrase)
        spans.append((start, end, int(label)))
    return tokens, spans


def _tree(line: str) -> tuple[list[str], Spans]:
    """Tokens and phrases of a tree, such as (3 (2 It) (4 works)), without the whole of it."""
    tokens, spans, opened = list[str](), Spans(), list[tuple[int, int]]()
    for part in line.replace("(", " ( ").replace(")", " ) ").split():
        if part == "(":
            opened.append((len(tokens), -1))
        elif part == ")":
            start, label = opened.pop()
            spans.append((start, len(tokens), label))
        elif opened[-1][1] < 0:
            opened[-1] = (opened[-1][0], int(part))
        else:
            tokens.append(part)
    if opened or not spans:
        raise ValueError(line)
    return tokens, spans[:-1]


def sentence(tokens: Sequence[str], spans: Spans) -> Labelled:
    """A sentence as the models take it; phrases without a word of theirs, such as `.`, are not."""
    parts = [words_of(token.replace("\\/", " ")) for token in tokens]
    ends = [0, *accumulate(map(len, parts))]
    kept = [(range(ends[a], ends[b]), b - a == 1, y - 2) for a, b, y in spans if ends[a] < ends[b]]
    phrases, single, labels = zip(*kept, strict=True)
    words = [word for part in parts for word in part]
    return Labelled(words, phrases, np.array(single), np.array(labels, float))


Method = Callable[[Trained, Labelled], np.ndarray]


def _alone(model: Trained, one: Labelled) -> np.ndarray:
    ids = model.vocabulary.encoded(one.words)
    return phrases_alone(model.scores, ids, OFF, one.phrases)


_last: dict[int, WalshExplanation] = {}  # those of the model that is measured, by sentence


def _walsh(model: Trained, one: Labelled) -> np.ndarray:
    found = _last[id(one)] = explained(model, one.words)
    return phrase_values(found, one.phrases)


def _walsh_contexts(_: Trained, one: Labelled) -> np.ndarray:
    return phrase_values(_last[id(one)], one.phrases, context=0.5)


def _ablated(model: Trained, one: Labelled, phrases: Sequence[range]) -> np.ndarray:
    from captum.attr import FeatureAblation

    ids = model.vocabulary.encoded(one.words)
    ablation = FeatureAblation(lambda masks: model.scores(OFF.apply(ids, masks)))
    on, found = torch.ones(1, len(ids)), list[float]()
    for phrase in phrases:
        groups = torch.zeros(1, len(ids), dtype=torch.long)
        groups[0, phrase.start : phrase.stop] = 1
        lost = ablation.attribute(on, feature_mask=groups, perturbations_per_eval=2)
        found.append(float(lost[0, phrase.start]))
    return np.array(found)


def _occlusion(model: Trained, one: Labelled) -> np.ndarray:
    return _ablated(model, one, one.phrases)


def _sums(words: np.ndarray, phrases: Sequence[range]) -> np.ndarray:
    return np.array([words[phrase.start : phrase.stop].sum() for phrase in phrases])


def _occlusion_sum(model: Trained, one: Labelled) -> np.ndarray:
    words = _ablated(model, one, [range(i, i + 1) for i in range(len(one.words))])
    return _sums(words, one.phrases)


def _gradients(model: Trained, one: Labelled, unknown: bool) -> np.ndarray:
    from captum.attr import IntegratedGradients

    ids = model.vocabulary.encoded(one.words)
    network = model.model
    table = network.get_submodule("words").get_parameter("weight").detach()
    vectors = table[ids].unsqueeze(0)
    base = table[UNKNOWN].expand_as(vectors) if unknown else torch.zeros_like(vectors)
    read: Callable[..., torch.Tensor] = getattr(network, "read")  # noqa: B009
    integrated = IntegratedGradients(
        lambda x: read(x, torch.full((len(x),), len(ids))), multiply_by_inputs=True
    )
    found = integrated.attribute(vectors, base, n_steps=STEPS)
    return _sums(found[0].sum(1).detach().double().numpy(), one.phrases)


METHODS: dict[str, Method] = {
    "alone": _alone,
    "Walsh": _walsh,
    "Walsh, contexts": _walsh_contexts,
    "occlusion (Captum)": _occlusion,
    "occlusion, sum (Captum)": _occlusion_sum,
    "Integrated Gradients, zero (Captum)": lambda m, s: _gradients(m, s, False),
    "Integrated Gradients, unknown (Captum)": lambda m, s: _gradients(m, s, True),
}


def correlations(values: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Pearson's correlation of all, and of the lowest and the highest attributions."""
    order = np.argsort(values, kind="stable")
    count = int(EXTREME * len(order)) + 1
    ends = np.concatenate((order[:count], order[-count:]))
    every, extremes = (float(np.corrcoef(values[of], labels[of])[0, 1]) for of in (order, ends))
    return every, extremes


@dataclass
class Row:
    """Figures of a method and a model, one for each seed: words, phrases; all, extremes."""

    values: list[tuple[float, ...]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    calls: float = 0.0


def measured(model: Trained, sentences: Sequence[Labelled], rows: dict[str, Row]) -> None:
    """Adds the figures of a model."""
    labels = np.concatenate([one.labels for one in sentences])
    single = np.concatenate([one.single for one in sentences])
    for name, method in METHODS.items():
        counted, start = Counted(model.model), time.process_time()
        with counted:
            values = np.concatenate([method(model, one) for one in sentences])
        row = rows.setdefault(name, Row())
        row.seconds.append((time.process_time() - start) / len(sentences))
        row.calls = counted.rows / len(sentences)
        parts = (correlations(values[of], labels[of]) for of in (single, ~single))
        row.values.append(tuple(value for part in parts for value in part))


class Counted:
    """Counts the sentences that a model reads."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.rows, self._model = 0, model.get_submodule("logit")

    def __enter__(self) -> "Counted":
        def add(_: torch.nn.Module, __: object, logits: torch.Tensor) -> None:
            self.rows += len(logits)

        self._handle = self._model.register_forward_hook(add)
        return self

    def __exit__(self, *_: object) -> None:
        self._handle.remove()


def show(title: str, rows: dict[str, Row]) -> None:
    """Prints the figures of a model."""
    columns = ("word", "extremes", "phrase", "extremes", "calls", "CPU ms")
    table = make_table(title, "attribution", *columns)
    for name, row in rows.items():
        cells = []
        for values in zip(*row.values, strict=True):
            spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.3f}{spread}")
        took = statistics.mean(row.seconds)
        table.add_row(name, *cells, f"{row.calls:,.0f}", f"{1e3 * took:,.0f}")
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains the models, and measures all attributions."""
    parser = argparse.ArgumentParser(description="Correlations of attributions with SST's labels.")
    parser.add_argument("--labels", type=Path, required=True, help="labels of phrases")
    parser.add_argument("--data", type=Path, help="folder that has sst2_train.tsv and so on")
    parser.add_argument("--sentences", type=int, default=100, help="number of labelled sentences")
    parser.add_argument("--seeds", type=int, default=3, help="number of models of each kind")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=[*MODELS], help="which")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="times each sentence is seen")
    given = parser.parse_args(arguments)
    print_machine("torch", "captum")
    train, _, test = reviews(given.data)
    every = [one for one in labelled(given.labels) if len(one.words) > 1]
    order = np.random.default_rng(0).permutation(len(every))[: given.sentences]
    sentences = [every[i] for i in order]
    for name, models in _models(train, given):
        rows, accuracy = dict[str, Row](), list[float]()
        for model in models:
            accuracy.append(model.accuracy(test))
            measured(model, sentences, rows)
        mean = statistics.mean(accuracy)
        show(f"{name}, accuracy {mean:.1%}, {len(sentences):,} sentences", rows)


def _models(train: Reviews, given: argparse.Namespace) -> Iterator[tuple[str, Iterator[Trained]]]:
    for name in given.models:
        yield name, (trained(name, train, given.epochs, seed) for seed in range(given.seeds))


if __name__ == "__main__":
    try:
        main()
    except (ZooError, OSError) as error:
        sys.exit(str(error))
