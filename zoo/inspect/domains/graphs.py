"""The picture of a node's neighbourhood, with what its nodes do alone and together.

Shapes: V nodes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from zoo.data.errors import ZooError
from zoo.inspect.domains.layout import concentric
from zoo.inspect.domains.page import BARS, Sets
from zoo.inspect.table import escaped

FEW = 30  # nodes up to which each has a label
LABELLED = 12  # of many, the nodes with the largest main effects
READING = (
    "A node's colour is its main effect: blue raises the score, orange lowers it, the stronger the "
    "fuller. Coloured links are interactions, thick where they are strong, with their places in "
    "the list; grey lines are edges, and the explained node has a double ring."
)


@dataclass(frozen=True)
class Neighbourhood:
    """A node in the middle of the nodes that what a model says of it depends on.

    Attributes:
        names: [V] names of the nodes, which are shown where one is pointed at.
        labels: [V] short names, which are written beside nodes.
        edges: The ends of each edge, numbers of nodes; it leads both ways.
        centre: The node that is explained.
        mains: [V] what each node adds by itself to the score.
        interactions: Nodes and what they add together, the largest first.

    Raises:
        ZooError: Where there is not one name, label and main effect for each node, or a node that
            is named does not exist.
    """

    names: Sequence[str]
    labels: Sequence[str]
    edges: Sequence[tuple[int, int]]
    centre: int
    mains: Sequence[float]
    interactions: Sets = ()

    def __post_init__(self) -> None:
        counts = [len(self.names), len(self.labels), len(self.mains)]
        if min(counts) != max(counts):
            raise ZooError(f"names, labels and mains must be as many, got {counts}")
        named = [self.centre, *(n for edge in self.edges for n in edge)]
        named += [n for features, _ in self.interactions for n in features]
        if wrong := [n for n in named if not 0 <= n < counts[0]]:
            raise ZooError(f"there is no node {wrong[0]} among {counts[0]}")

    def html(self) -> str:
        """A drawing as SVG, which takes the colours of the page."""
        size = self._size
        said = f"{len(self.names)} nodes around {self.labels[self.centre]}"
        drawn = (self._edges(), *self._interactions(), *self._nodes(), *self._labels())
        return (
            '<figure class="neighbourhood">'
            f'<svg viewBox="{-size} {-size} {2 * size} {2 * size}" role="img" '
            f'aria-label="{escaped(said)}">{"".join(drawn)}'
            f"</svg><figcaption>{READING}</figcaption></figure>"
        )

    @property
    def _many(self) -> bool:
        return len(self.names) > FEW

    @property
    def _size(self) -> int:
        """Half of the width."""
        return 300 if self._many else 220

    @cached_property
    def _places(self) -> np.ndarray:
        """[V, 2] where the nodes stand; labels have room outside."""
        return (self._size - 48) * concentric(len(self.names), self.edges, self.centre)

    def _edges(self) -> str:
        lines = (f"M{self._at(a)}L{self._at(b)}" for a, b in self.edges)
        return f'<path class="edge" d="{"".join(lines)}"/>'

    def _at(self, node: int) -> str:
        x, y = self._places[node]
        return f"{x:.1f} {y:.1f}"

    def _interactions(self) -> Iterator[str]:
        """Links of a pair, or from the middle of a larger set to each of its nodes."""
        most = max((abs(value) for _, value in self.interactions), default=0.0) or 1.0
        for number, (features, value) in enumerate(self.interactions[:BARS], 1):
            sign = "down" if value < 0 else "up"
            middle = self._middle(features)
            x, y = middle
            lines = "".join(f"M{x:.1f} {y:.1f}L{self._at(n)}" for n in features)
            title = f"{' · '.join(self.names[n] for n in features)}: {value:+.3g}"
            yield (
                f'<g class="{sign}"><title>{escaped(title)}</title>'
                f'<path d="{lines}" stroke-width="{1.5 + 4.5 * abs(value) / most:.1f}"/>'
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="8"/>'
                f'<text x="{x:.1f}" y="{y:.1f}">{number}</text></g>'
            )

    def _middle(self, features: Sequence[int]) -> np.ndarray:
        """Where the links of a set meet; those of a pair make a bend, which no edge hides."""
        places = self._places[[*features]]
        middle = places.mean(0)
        if len(places) == 2:
            along = places[1] - places[0]
            aside = 0.12 * np.array([-along[1], along[0]])
            middle = middle + (aside if aside @ middle > 0 else -aside)  # away from the centre
        return middle

    def _nodes(self) -> Iterator[str]:
        most = max(map(abs, self.mains), default=0.0) or 1.0
        radius = 6 if self._many else 9
        for node, (main, (x, y)) in enumerate(zip(self.mains, self._places, strict=True)):
            colour, part = "down" if main < 0 else "up", abs(main) / most
            ring = f'<circle class="ring" cx="{x:.1f}" cy="{y:.1f}" r="{radius + 4}"/>'
            yield (
                f'<g class="node"><title>{escaped(self.names[node])}: {main:+.3g}</title>'
                f"{ring if node == self.centre else ''}"
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius}" '
                f'style="fill:color-mix(in srgb,var(--{colour}) {part:.0%},var(--card))"/></g>'
            )

    def _labels(self) -> Iterator[str]:
        """Names beside the nodes, where there are many on the rays from the middle."""
        strong = sorted(range(len(self.mains)), key=lambda n: -abs(self.mains[n]))[:LABELLED]
        named = {self.centre, *strong, *(n for s, _ in self.interactions[:BARS] for n in s)}
        for node in sorted(named) if self._many else range(len(self.names)):
            x, y = self._places[node]
            turn = np.degrees(np.arctan2(y, x)) if self._many and node != self.centre else 0.0
            side, shift = ("left", -13) if x < -1 else ("right", 13)
            turn = turn + 180 if side == "left" and turn else turn
            yield (
                f'<text class="{side}" transform="translate({x:.1f} {y:.1f}) rotate({turn:.1f})" '
                f'x="{shift}">{escaped(self.labels[node])}</text>'
            )
