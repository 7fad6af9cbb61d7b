"""Sequences with and without sites of MYC: 36 letters around CACGTG, and decoys that nearly are.

All have random letters far from the site and, beside it, letters drawn from the counts of the motif
of JASPAR, on either strand. What tells the bound from the others is CACGTG alone, all six letters:
decoys have other letters in its place, and nowhere is it by chance. (Its other strand reads the
same.)

Shapes: N sequences, T = 36 positions.
"""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np

from zoo.data.errors import ZooError

LETTERS, LENGTH, SITE = "ACGT", 36, "CACGTG"
RELEASE, MATRIX = "JASPAR2026", "MA0147.3"  # MYC of Homo sapiens, from ChIP-seq
BOUND = "site"
SHARES = {  # of what is in the place of the site
    BOUND: 0.5,
    "weak": 0.15,  # by the counts of the motif: mostly a letter that MYC tolerates
    "1 letter": 0.1,
    "2 letters": 0.05,
    "3 to 6 letters": 0.05,
    "shuffled": 0.05,
    "E-box": 0.05,  # CANNTG
    "random": 0.05,
}


@dataclass(frozen=True)
class Sequences:
    """Sequences, and what they hold.

    Attributes:
        letters: int [N, T] numbers of the letters.
        starts: [N] where the site begins, or what is in its place.
        kinds: [N] what that is, of `SHARES`.
    """

    letters: np.ndarray
    starts: np.ndarray
    kinds: np.ndarray

    def __len__(self) -> int:
        return len(self.letters)

    @property
    def bound(self) -> np.ndarray:
        """[N] 1 where a sequence holds the site."""
        return (self.kinds == BOUND).astype(np.float32)

    @property
    def distances(self) -> np.ndarray:
        """[N] number of letters that are not those of the site, in its place."""
        return (_windows(self.letters, self.starts) != numbers(SITE)).sum(1)

    def at(self, rows: np.ndarray) -> "Sequences":
        """Some of the sequences."""
        return Sequences(self.letters[rows], self.starts[rows], self.kinds[rows])


def numbers(text: str) -> np.ndarray:
    """The numbers of letters."""
    return np.array([LETTERS.index(letter) for letter in text])


def text_of(letters: Sequence[int] | np.ndarray) -> str:
    """Numbers as letters."""
    return "".join(LETTERS[int(i)] for i in letters)


def motif() -> np.ndarray:
    """[4, 12] shares of the letters at the positions of MYC's motif; CACGTG is in the middle.

    It is read from the file in the package `pyjaspar`, without the network.
    """
    try:
        from pyjaspar import jaspardb
    except ImportError as error:
        raise ZooError(
            'the motif is that of JASPAR: pip install "interpretable-zoo[domains]"'
        ) from error
    jaspar = jaspardb(release=RELEASE)
    with closing(jaspar.conn):
        found: Any = jaspar.fetch_motif_by_id(MATRIX)
    shares = np.array([found.counts[letter] for letter in LETTERS])
    return shares / shares.sum(0)


def draw(count: int, random: np.random.Generator) -> Sequences:
    """Sequences of all kinds, in random order.

    Args:
        count: Number of sequences, N.
        random: What they are drawn with.
    """
    return drawn(random.choice([*SHARES], count, p=[*SHARES.values()]), random)


def drawn(kinds: np.ndarray, random: np.random.Generator) -> Sequences:
    """A sequence of each of some kinds.

    Those that hold CACGTG by chance are drawn again.

    Args:
        kinds: [N] what is in the place of the site.
        random: What they are drawn with.
    """
    shares = motif()
    letters = np.empty((len(kinds), LENGTH), np.int64)
    starts = np.empty(len(kinds), np.int64)
    left = np.arange(len(kinds))
    while len(left):
        letters[left], starts[left] = _drawn(kinds[left], shares, random)
        left = left[occurrences(letters[left]) != (kinds[left] == BOUND)]
    return Sequences(letters, starts, kinds)


def occurrences(letters: np.ndarray) -> np.ndarray:
    """[N] how often sequences [N, T] hold CACGTG."""
    windows = np.lib.stride_tricks.sliding_window_view(letters, len(SITE), 1)
    return (windows == numbers(SITE)).all(2).sum(1)


def other_strand(letters: np.ndarray) -> np.ndarray:
    """[N, T] the sequences as they are read on the other strand."""
    return len(LETTERS) - 1 - letters[:, ::-1]


def _drawn(
    kinds: np.ndarray, shares: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Letters and starts; a site of a kind may be there by chance."""
    count, width = len(kinds), shares.shape[1]
    letters = random.integers(len(LETTERS), size=(count, LENGTH))
    below = random.random((count, 1, width))
    around = (shares.cumsum(0)[None, :-1] < below).sum(1)  # by the counts of the motif
    first = (width - len(SITE)) // 2
    inside = slice(first, first + len(SITE))
    for i, kind in enumerate(kinds):
        around[i, inside] = _place(str(kind), around[i, inside], random)
    starts = random.integers(LENGTH - width + 1, size=count)
    np.put_along_axis(letters, starts[:, None] + np.arange(width), around, 1)
    starts += first
    turned = random.random(count) < 0.5
    letters[turned] = other_strand(letters[turned])
    starts[turned] = LENGTH - len(SITE) - starts[turned]
    return letters, starts


def _place(kind: str, own: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Six letters of a kind; `own` are those of the motif's counts."""
    site = numbers(SITE)
    if kind == BOUND:
        return site
    if kind == "weak":
        return own
    if kind == "random":
        return random.integers(len(LETTERS), size=len(site))
    if kind == "shuffled":
        return random.permutation(site)
    if kind == "E-box":
        site[2:4] = random.integers(len(LETTERS), size=2)
        return site
    least = int(kind[0])
    changed = least if least < 3 else int(random.integers(least, len(site) + 1))
    where = random.choice(len(site), changed, replace=False)
    site[where] = (site[where] + random.integers(1, len(LETTERS), size=changed)) % len(LETTERS)
    return site


def _windows(letters: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """[N, 6] the letters from some starts on."""
    return np.take_along_axis(letters, starts[:, None] + np.arange(len(SITE)), 1)
