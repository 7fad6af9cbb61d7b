"""Sentiment: which words a model of film reviews needs together, such as never and fails.

    python examples/domains/sentiment.py --output sentiment.html

An LSTM and a Transformer learn from SST-2, which is downloaded once, whether a sentence is
positive. Sentences are explained by leaving out words.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from black_box import BlackBox, Instance
from reviews import Reviews, Words, reviews, words_of
from sentiment_found import READING, TITLE, counted, explained, instance, interactions
from sentiment_models import EPOCHS, MODELS, OFF, Trained, trained

from zoo.data.errors import ZooError
from zoo.data.files import write_text
from zoo.inspect.domains.page import ExplainedInstance, page
from zoo.inspect.page.parts import cut

COUNT, FEWEST = 40, 6  # instances of the black boxes, and words of each at least
SHOWN, PAIRS = 4, 12  # sentences of the test data on the page, and pairs that are printed
QUICK = {"epochs": 1, "sentences": 10}
TEXTS = (  # figure 4b of Tsang et al. 2020
    "It never fails to engage us.",
    "The movie makes absolutely no sense.",
    "The central story lacks punch.",
)


def black_boxes(quick: bool = False, seed: int = 0, data: Path | None = None) -> list[BlackBox]:
    """Sentiment-LSTM and Sentiment-Transformer, with sentences of the test data.

    Args:
        quick: Train for one epoch.
        seed: Seed of the models, and of which sentences.
        data: A folder with the files, which are downloaded without it.
    """
    train, _, test = reviews(data)
    boxes = []
    for name in MODELS:
        model = trained(name, train, QUICK["epochs"] if quick else EPOCHS, seed)
        instances = [instance_of(model, words) for words in drawn(test, COUNT, seed)]
        boxes.append(BlackBox(name, instances, model.accuracy(test)))
    return boxes


def drawn(test: Reviews, count: int, seed: int) -> list[Words]:
    """Sentences of some words at least, in random order."""
    long = [words for words in test.words if len(words) >= FEWEST]
    return [long[i] for i in np.random.default_rng(seed).permutation(len(long))[:count]]


def instance_of(model: Trained, words: Words) -> Instance:
    """A sentence.

    Args:
        model: What scores it.
        words: Its words.
    """
    title = cut(" ".join(words), TITLE)
    return Instance(model.vocabulary.encoded(words), OFF, words, title, model.scores)


def report(
    model: Trained, test: Reviews, texts: Sequence[Words], sentences: int, seed: int
) -> Iterator[ExplainedInstance]:
    """Prints what was found, and gives what the page shows.

    Args:
        model: What is explained.
        test: Sentences it has not been trained on.
        texts: Sentences that are explained first.
        sentences: Number of sentences of the test data in which pairs are counted.
        seed: Seed of which.
    """
    print(f"\n{model.name}, accuracy {model.accuracy(test):.1%}")
    counts = drawn(test, sentences, seed)
    found = [(words, explained(model, words, seed)) for words in [*texts, *counts]]
    for words, of in found[: len(texts) + SHOWN]:
        print(f"  {' '.join(words)}  ({of.score:+.2f})")
        for features, value in interactions(of, words)[:3]:
            print(f"    {value:+.3f}  {', '.join(words[i] for i in features)}")
        yield instance(model, words, of, READING if of is found[0][1] else "")
    print(f"  pairs that interact in most of {len(counts):,} sentences of the test data:")
    for pair in counted(found[len(texts) :], counts)[:PAIRS]:
        words = ", ".join(pair.words)
        print(f"    {pair.found} of {pair.there} that have both  {pair.value:+.3f}  {words}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, explains, prints, and writes the page."""
    parser = argparse.ArgumentParser(description="Explains two models of sentiment.")
    parser.add_argument("--output", type=Path, default=Path("sentiment.html"), help="the page")
    parser.add_argument("--data", type=Path, help="folder that has sst2_train.tsv and so on")
    parser.add_argument("--seed", type=int, default=0, help="seed of models and sentences")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="times each sentence is seen")
    parser.add_argument("--sentences", type=int, default=100, help="in which pairs are counted")
    parser.add_argument("--text", action="append", help="sentence to explain; may be repeated")
    parser.add_argument("--quick", action="store_true", help="one epoch, few sentences: a trial")
    given = parser.parse_args(arguments)
    if given.quick:
        vars(given).update(QUICK)
    texts = [words_of(text) for text in given.text or TEXTS]
    for words, text in zip(texts, given.text or TEXTS, strict=True):
        if len(words) < 2:
            raise ZooError(f"--text: {text!r} has fewer than two words")
    if given.epochs < 1 or given.sentences < 1:
        raise ZooError("--epochs and --sentences must be at least 1")
    start, (train, _, test) = time.process_time(), reviews(given.data)
    models = [trained(name, train, given.epochs, given.seed) for name in MODELS]
    found = [
        one for model in models for one in report(model, test, texts, given.sentences, given.seed)
    ]
    facts = [f"{model.name}: accuracy {model.accuracy(test):.1%}" for model in models]
    lead = "Words of film reviews that two models need together, found by leaving out words."
    write_text(given.output, page("Sentiment", lead, found, facts))
    print(f"\n{given.output}: {(time.process_time() - start) / 60:.1f} minutes of CPU")


if __name__ == "__main__":
    try:
        main()
    except (ZooError, OSError) as error:
        sys.exit(str(error))
