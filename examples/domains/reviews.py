"""Sentences of film reviews with their sentiment (SST-2), as numbers of words.

Socher et al., *Recursive Deep Models for Semantic Compositionality Over a Sentiment Treebank*,
EMNLP 2013: 6,920 sentences to train on, 872 to validate and 1,821 to test, without neutral ones.

Shapes: N sentences, T words of the longest.
"""

import gzip
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from downloaded import Remote, files
from torch import Tensor

from zoo.data.errors import ZooError

PADDING, UNKNOWN = 0, 1  # ids; words follow
LEAST = 2  # sentences of the training data that know a word have it
LONGEST = 100  # words of a sentence
SOURCE = (
    "https://raw.githubusercontent.com/clairett/pytorch-sentiment-classification/"
    "457ffd83de90a9d6d472d8ffc31bbffe40a8b236/data/SST2/{}.tsv"
)
SHA256 = {
    "train": "ec192f833a64da08f475488a77b0d0b47db47acd0f458bd18433fc793b569920",
    "dev": "eddea6b39e601dd4e7a672b53cc40fdf6019fa80522f351206c24340ca5d9359",
    "test": "831169c7e2e429d6026e1bdbb542f33b636e3e596caad9602ebc953c205928b7",
}
SPLITS = [Remote(f"sst2_{name}.tsv", SOURCE.format(name), sha) for name, sha in SHA256.items()]
Words = Sequence[str]
TOKEN = re.compile(r"[a-z0-9]+?(?=n't\b)|n't\b|'(?:s|ve|re|d|ll|m)\b|[a-z0-9]+|``|''|[,!?'`]")


@dataclass(frozen=True)
class Reviews:
    """Sentences.

    Attributes:
        words: [N] the words of each, and its punctuation.
        labels: [N] 1 where it is positive, 0 where negative.
    """

    words: Sequence[Words]
    labels: Tensor


def reviews(data: Path | None) -> tuple[Reviews, Reviews, Reviews]:
    """Sentences to train on, to validate and to test; see `files`."""
    train, dev, test = (read(path) for path in files(SPLITS, data))
    return train, dev, test


def read(path: Path) -> Reviews:
    """The sentences of a file, one a line: words between spaces, a tab, and 0 or 1.

    Raises:
        ZooError: Where a line is no such sentence.
    """
    words, labels = list[Words](), list[float]()
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                text, _, label = line.rstrip("\n").partition("\t")
                words.append(text.split()[:LONGEST])
                if label not in ("0", "1") or not words[-1]:
                    raise ZooError(f"{path}, line {number}: words, a tab, and 0 or 1 are expected")
                labels.append(float(label))
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError) as error:
        raise ZooError(f"{path} is damaged, or no text: {error}") from None
    if not words:
        raise ZooError(f"{path} is empty")
    return Reviews(words, torch.tensor(labels))


def words_of(text: str) -> list[str]:
    """The words of a text as the files have them: `It doesn't.` is it, does, n't."""
    return TOKEN.findall(text.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))


class Vocabulary:
    """Ids of words: those of two sentences at least, the most frequent first.

    Args:
        sentences: The sentences.
    """

    def __init__(self, sentences: Iterable[Words]) -> None:
        counts = Counter(word for words in sentences for word in dict.fromkeys(words))
        found = [word for word, count in counts.most_common() if count >= LEAST]
        self.ids = {word: UNKNOWN + 1 + i for i, word in enumerate(found)}

    def __len__(self) -> int:
        return UNKNOWN + 1 + len(self.ids)

    def encoded(self, words: Words) -> Tensor:
        """int [T] the ids of words."""
        return torch.tensor([self.ids.get(word, UNKNOWN) for word in words], dtype=torch.long)

    def padded(self, sentences: Sequence[Words]) -> Tensor:
        """int [N, T] the ids of the words of sentences."""
        rows = [self.encoded(words) for words in sentences]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PADDING)
