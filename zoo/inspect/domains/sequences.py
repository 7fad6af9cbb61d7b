"""A sequence logo: letters as large as what they add, and brackets over those that act together.

Shapes: T positions.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from zoo.data.errors import ZooError
from zoo.inspect.table import escaped

BRACKETS = 6  # interactions
CELL, HALF = 20, 60  # width of a position, and height of the largest letter
LANE, FOOT, EDGE = 28, 40, 4  # of a bracket, of the sequence and its numbers, and free space
CAPITAL = 7.2  # height of a capital of ten units
NARROWEST = 9  # pixels of a position, below which the picture is scrolled
Sets = Sequence[tuple[Sequence[int], float]]


@dataclass(frozen=True)
class Logo:
    """Letters scaled by their main effects; those that lower the score hang below the line.

    The largest letter of the logo has the full height. Below it the sequence itself, in which the
    letters of brackets are bold; in a bracket a stroke goes to each letter of its interaction.

    Attributes:
        letters: [T] the letters.
        mains: [T] what each adds by itself to the score.
        interactions: Positions, from 0 on, and what their letters add together, the largest first,
            of which the first few have brackets.
        reading: How to read it, one sentence; empty for none.

    Raises:
        ZooError: Where there are not as many numbers as letters, or an interaction has other
            positions.
    """

    letters: Sequence[str]
    mains: Sequence[float]
    interactions: Sets = ()
    reading: str = ""

    def __post_init__(self) -> None:
        count = len(self.letters)
        if not count or len(self.mains) != count:
            raise ZooError(f"{count} letters need as many main effects, got {len(self.mains)}")
        if any(not s or not 0 <= i < count for s, _ in self.interactions for i in s or [0]):
            message = f"interactions are of letters 0 to {count - 1}, got {self.interactions}"
            raise ZooError(message)

    def html(self) -> str:
        """The logo as SVG."""
        width, lanes = CELL * len(self.letters), self._lanes()
        high = max(lanes, default=-1) + 1
        above, below = (HALF * share for share in self._shares())
        line = LANE * high + EDGE + above
        foot = line + below + EDGE
        parts = "".join((*self._brackets(lanes, line - above), *self._scaled(line)))
        drawn = f'{parts}<path class="line" d="M0 {line:.1f}H{width}"/>{self._sequence(foot)}'
        size = f"min-width:{NARROWEST * len(self.letters)}px;max-width:{1.3 * width:.0f}px"
        reading = f"<figcaption>{escaped(self.reading)}</figcaption>" if self.reading else ""
        return (
            f'<figure class="logo"><div class="wide"><svg viewBox="0 0 {width} {foot + FOOT:.1f}" '
            f'style="{size}" role="img" aria-label="{escaped(self._said())}">{drawn}</svg></div>'
            f"{reading}</figure>"
        )

    def _shares(self) -> tuple[float, float]:
        """The largest letters above and below the line, of the height of the largest."""
        most = max(map(abs, self.mains)) or 1.0
        return max(0.0, *self.mains, 0.0) / most, -min(0.0, *self.mains, 0.0) / most

    def _scaled(self, line: float) -> Iterator[str]:
        """The letters on the line."""
        most = max(map(abs, self.mains)) or 1.0
        for i, (letter, value) in enumerate(zip(self.letters, self.mains, strict=True)):
            height = HALF * abs(value) / most
            bottom = line + (height if value < 0 else 0)
            across, up = (CELL - 2) / 6, height / CAPITAL  # a letter is six units wide
            yield (
                f'<text class="{_sign(value)}" textLength="6" lengthAdjust="spacingAndGlyphs" '
                f'transform="translate({CELL * i + 1} {bottom:.1f}) scale({across:.2f} {up:.3f})">'
                f"<title>{escaped(letter)}{i + 1} {value:+.3g}</title>{escaped(letter)}</text>"
            )

    def _lanes(self) -> list[int]:
        """The lane of each bracket, 0 next to the letters, so that none lies over another."""
        taken: list[list[tuple[int, int]]] = []
        lanes = []
        for features, _ in self._drawn():
            low, high = min(features) - 1, max(features) + 1
            free = (
                i
                for i, lane in enumerate(taken)
                if all(high <= start or end <= low for start, end in lane)
            )
            lane = next(free, len(taken))
            if lane == len(taken):
                taken.append([])
            taken[lane].append((low, high))
            lanes.append(lane)
        return lanes

    def _brackets(self, lanes: Sequence[int], bottom: float) -> Iterator[str]:
        """A line over the letters of each interaction, with a stroke to each and their value."""
        for (features, value), lane in zip(self._drawn(), lanes, strict=True):
            y = bottom - EDGE - LANE * lane - 8
            places = [CELL * i + CELL / 2 for i in sorted(features)]
            strokes = "".join(f"M{x:g} {y:.1f}v6" for x in places)
            low, high = places[0], places[-1]
            middle = min(max((low + high) / 2, 26), CELL * len(self.letters) - 26)
            yield (
                f'<g class="{_sign(value)}"><path d="M{low:g} {y:.1f}H{high:g}{strokes}"/>'
                f'<text x="{middle:g}" y="{y - 4:.1f}">{value:+.3g}</text></g>'
            )

    def _sequence(self, top: float) -> str:
        """The letters themselves, and the numbers of some positions."""
        inside = {i for features, _ in self._drawn() for i in features}
        letters = "".join(
            f'<text{_BOLD if i in inside else ""} x="{CELL * i + CELL / 2:g}" y="{top + 16:.1f}">'
            f"{escaped(letter)}</text>"
            for i, letter in enumerate(self.letters)
        )
        numbers = "".join(
            f'<text x="{CELL * i - CELL / 2:g}" y="{top + 34:.1f}">{i}</text>'
            for i in range(1, len(self.letters) + 1)
            if i == 1 or i % 5 == 0
        )
        return f'<g class="sequence">{letters}</g><g class="places">{numbers}</g>'

    def _said(self) -> str:
        """The picture in words."""
        sets = (
            f"{', '.join(f'{self.letters[i]}{i + 1}' for i in sorted(features))} {value:+.3g}"
            for features, value in self._drawn()
        )
        return "; together: ".join((f"the sequence {''.join(self.letters)}", *sets))

    def _drawn(self) -> Sets:
        return self.interactions[:BRACKETS]


_BOLD = ' class="inside"'


def _sign(value: float) -> str:
    return "down" if value < 0 else "up"
