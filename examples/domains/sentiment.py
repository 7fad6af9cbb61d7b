"""Sentiment: which words a model of film reviews needs together, such as never and fails.

python examples/domains/sentiment.py --output sentiment.html
"""

from pathlib import Path

import numpy as np
from black_box import BlackBox, Instance
from reviews import Reviews, Words, reviews
from sentiment_models import MODELS, OFF, Trained, trained

COUNT, FEWEST = 40, 6  # instances of the black boxes, and words of each at least
TITLE = 60  # characters


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
        model = trained(name, train, 1 if quick else 8, seed)
        boxes.append(BlackBox(name, instances(model, test, seed), model.accuracy(test)))
    return boxes


def instances(model: Trained, test: Reviews, seed: int) -> list[Instance]:
    """Sentences of the test data, in random order."""
    long = [words for words in test.words if len(words) >= FEWEST]
    order = np.random.default_rng(seed).permutation(len(long))[:COUNT]
    return [instance_of(model, long[i]) for i in order]


def instance_of(model: Trained, words: Words) -> Instance:
    """A sentence.

    Args:
        model: What scores it.
        words: Its words.
    """
    text = " ".join(words)
    title = text if len(text) <= TITLE else f"{text[: TITLE - 1]}…"
    return Instance(model.vocabulary.encoded(words), OFF, words, title, model.scores)
