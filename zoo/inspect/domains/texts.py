"""A text whose words are coloured by what they add, and numbered by what they add together.

Shapes: d words.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from zoo.data.errors import ZooError
from zoo.inspect.table import escaped

NUMBERED = 6  # interactions
Sets = Sequence[tuple[Sequence[int], float]]


@dataclass(frozen=True)
class HighlightedText:
    """Words on the colour of their main effect; beneath them the numbers of their interactions.

    The stronger the colour, the more a word adds by itself: the strongest one of the text has the
    full colour, blue where it raises the score and orange where it lowers it.

    Attributes:
        words: [d] the words.
        mains: [d] what each adds by itself to the score.
        interactions: Words and what they add together, the largest first, of which the first few
            are numbered.
        reading: How to read it, one sentence; empty for none.

    Raises:
        ZooError: Where there are not as many numbers as words, or an interaction has other words.
    """

    words: Sequence[str]
    mains: Sequence[float]
    interactions: Sets = ()
    reading: str = ""

    def __post_init__(self) -> None:
        count = len(self.words)
        if len(self.mains) != count:
            raise ZooError(f"{count} words need as many main effects, got {len(self.mains)}")
        if any(not 0 <= i < count for features, _ in self.interactions for i in features):
            raise ZooError(f"interactions are of words 0 to {count - 1}, got {self.interactions}")

    def html(self) -> str:
        """The text, and below it the numbered interactions."""
        largest = max(map(abs, self.mains), default=0.0) or 1.0
        text = " ".join(self._word(i, value / largest) for i, value in enumerate(self.mains))
        reading = f'<p class="reading">{escaped(self.reading)}</p>' if self.reading else ""
        return f'<p class="text">{text}</p>{self._list()}{reading}'

    def _word(self, place: int, strength: float) -> str:
        """A word, with its colour and numbers; strength is between -1 and 1."""
        numbers = [
            f'<b class="{_sign(value)}">{number}</b>'
            for number, (features, value) in enumerate(self._numbered(), 1)
            if place in features
        ]
        beneath = f"<small>{' '.join(numbers)}</small>" if numbers else ""
        return (
            f'<span><span class="{_sign(strength)}" style="--much:{abs(strength):.0%}" '
            f'title="{self.mains[place]:+.3g}">{escaped(self.words[place])}</span>{beneath}</span>'
        )

    def _list(self) -> str:
        """The numbered interactions."""
        lines = [
            f'<li><b class="{_sign(value)}">{number}</b>'
            f"{' · '.join(escaped(self.words[i]) for i in sorted(features))} {value:+.3g}</li>"
            for number, (features, value) in enumerate(self._numbered(), 1)
        ]
        return f'<ul class="together">{"".join(lines)}</ul>' if lines else ""

    def _numbered(self) -> Sets:
        return self.interactions[:NUMBERED]


def _sign(value: float) -> str:
    return "down" if value < 0 else "up"
