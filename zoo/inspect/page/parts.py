"""Small pieces of a page: bars, large figures on a scale, and checks, as plain HTML.

They need no script, print well, and take the colours of the page.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from zoo.inspect.table import escaped

LONGEST_NAME = 80  # characters
FIRST = 8  # checks, behind which the others are folded


@dataclass(frozen=True)
class Bar:
    """A named number.

    Attributes:
        name: Its name.
        value: The number.
        text: How it is written.
        error: Half the width of its interval; 0 shows none.
        value_of: What its name stands for, such as the value of a field.
        kind: A class of CSS, by which a page may show some bars alone.
    """

    name: str
    value: float
    text: str
    error: float = 0.0
    value_of: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Bars:
    """Horizontal bars on one scale; those below zero go to the left of it.

    Attributes:
        bars: The bars, the first on top.
        reading: How to read them, one sentence; empty for none.
        title: What they are; empty for none.
    """

    bars: Sequence[Bar]
    reading: str = ""
    title: str = ""

    def html(self) -> str:
        """A list of names, bars and numbers."""
        ends = [value for bar in self.bars for value in (bar.value - bar.error, bar.value)]
        low = min(0.0, *ends, 0.0) if any(bar.value < 0 for bar in self.bars) else 0.0
        high = max(0.0, *(bar.value + bar.error for bar in self.bars), 0.0)
        scale = (high - low) or 1.0
        lines = "".join(_line(bar, low, scale) for bar in self.bars)
        title = f"<h3>{escaped(self.title)}</h3>" if self.title else ""
        reading = f'<p class="reading">{escaped(self.reading)}</p>' if self.reading else ""
        return f'{title}<ul class="bars">{lines}</ul>{reading}'


def _line(bar: Bar, low: float, scale: float) -> str:
    """A bar whose ends are shares of the scale, which begins at `low`."""
    zero, end = -low / scale, min(max((bar.value - low) / scale, 0.0), 1.0)
    left, right = sorted((zero, end))
    sign = "down" if bar.value < 0 else "up"
    drawn = f'<b class="{sign}" style="left:{left:.2%};width:{right - left:.2%}"></b>'
    if bar.error > 0:
        start = min(max(end - bar.error / scale, 0.0), 1.0)
        width = min(end + bar.error / scale, 1.0) - start
        drawn += f'<s style="left:{start:.2%};width:{width:.2%}"></s>'
    if low < 0:
        drawn += f'<i style="left:{zero:.2%}"></i>'
    value = f" <small>{escaped(cut(bar.value_of))}</small>" if bar.value_of else ""
    kind = f' class="{escaped(bar.kind)}"' if bar.kind else ""
    return (
        f'<li{kind}><span class="name">{escaped(cut(bar.name))}{value}</span>'
        f'<span class="track">{drawn}</span><span class="num">{escaped(bar.text)}</span></li>'
    )


def cut(text: str, most: int = LONGEST_NAME) -> str:
    """A text of so many characters at most."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


@dataclass(frozen=True)
class Scale:
    """A line from what anybody reaches to what nobody can pass.

    Attributes:
        start: Where it begins, such as the AUC of chance.
        end: Where it ends; it may be the smaller number.
        value: The number on it.
        error: Half the width of the number's interval.
        names: What start and end are.
    """

    start: float
    end: float
    value: float
    error: float
    names: tuple[str, str]

    def html(self) -> str:
        """The line with the number on it, and the names of its ends."""
        width = (self.end - self.start) or 1.0
        place = min(max((self.value - self.start) / width, 0.0), 1.0)
        half = abs(self.error / width)
        low, high = max(place - half, 0.0), min(place + half, 1.0)
        start, end = map(escaped, self.names)
        return (
            f'<span class="scale"><b style="width:{place:.2%}"></b>'
            f'<s style="left:{low:.2%};width:{high - low:.2%}"></s></span>'
            f'<span class="ends"><span>{start}</span><span>{end}</span></span>'
        )


@dataclass(frozen=True)
class Tile:
    """A large figure.

    Attributes:
        name: What it is.
        value: The figure.
        beside: What stands beside it, such as its interval.
        notes: Further lines.
        scale: Where it stands between two others.
    """

    name: str
    value: str
    beside: str = ""
    notes: Sequence[str] = ()
    scale: Scale | None = None


@dataclass(frozen=True)
class Tiles:
    """A few large figures, side by side."""

    tiles: Sequence[Tile]

    def html(self) -> str:
        """A list of names and figures."""
        return f'<dl class="tiles">{"".join(map(_tile, self.tiles))}</dl>'


def _tile(tile: Tile) -> str:
    beside = f" <small>{escaped(tile.beside)}</small>" if tile.beside else ""
    scale = f"<dd>{tile.scale.html()}</dd>" if tile.scale else ""
    notes = "".join(f'<dd class="note">{escaped(note)}</dd>' for note in tile.notes)
    return (
        f'<div><dt>{escaped(tile.name)}</dt><dd class="figure">{escaped(tile.value)}{beside}</dd>'
        f"{scale}{notes}</div>"
    )


@dataclass(frozen=True)
class Check:
    """Something to know before one trusts a model.

    Attributes:
        text: What was found, one sentence.
        good: Whether it is as it should be; None where there is nothing to judge.
        about: Title of the section that says more; empty for none.
    """

    text: str
    good: bool | None = None
    about: str = ""


@dataclass(frozen=True)
class Checks:
    """Checks in their order; of many, the others are folded."""

    checks: Sequence[Check]

    def html(self) -> str:
        """A list, in which a sign and a word say how each has ended."""
        lines = [*map(_check, self.checks)]
        more = lines[FIRST:]
        folded = f'<details><summary>{len(more)} more</summary><ul class="checks">'
        folded = f"{folded}{''.join(more)}</ul></details>" if more else ""
        return f'<ul class="checks">{"".join(lines[:FIRST])}</ul>{folded}'


def _check(check: Check) -> str:
    kind, sign, word = {
        True: ("good", "✓", "good"),
        False: ("warning", "!", "warning"),
        None: ("plain", "·", ""),
    }[check.good]
    shown = f'<span class="sign" aria-hidden="true">{sign}</span>'
    said = f'<span class="unseen">{word}: </span>' if word else ""
    link = f' <a href="#{anchor(check.about)}">more</a>' if check.about else ""
    return f'<li class="{kind}">{shown}{said}{escaped(check.text)}{link}</li>'


def anchor(title: str) -> str:
    """The id of a section by its title."""
    words = "".join(c if c.isascii() and c.isalnum() else " " for c in title.lower()).split()
    return "-".join(["s", *words])[:60]


@dataclass(frozen=True)
class Diagonal:
    """A small picture of predicted against observed shares, with the line on which they are equal.

    Attributes:
        points: Predicted and observed.
        text: What it shows, for those who do not see it.
    """

    points: Sequence[tuple[float, float]]
    text: str

    def html(self) -> str:
        """A square of SVG, 100 units wide, whose corner is (0, 0)."""
        most = max((value for point in self.points for value in point), default=1.0) or 1.0
        places = [(100 * x / most, 100 - 100 * y / most) for x, y in self.points]
        dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>' for x, y in places)
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        return (
            f'<figure class="diagonal"><svg viewBox="-4 -4 108 108" role="img" '
            f'aria-label="{escaped(self.text)}"><path d="M0 0V100H100"/>'
            f'<path class="equal" d="M0 100L100 0"/><polyline points="{line}"/>{dots}</svg>'
            "<figcaption>observed against predicted</figcaption></figure>"
        )
