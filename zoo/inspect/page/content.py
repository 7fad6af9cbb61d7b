"""What a page is made of: a head, and sections of paragraphs, tables, figures and other parts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from zoo.inspect.table import TextTable

GREY = "#808894"  # legible on white and on black


@dataclass(frozen=True)
class Figure:
    """A plot.

    Attributes:
        draw: Draws it, as a plotly figure; called where the plot is shown, so that plotly is not
            imported for a terminal.
        reading: How to read it, one sentence.
    """

    draw: Callable[[], Any]
    reading: str


@runtime_checkable
class Part(Protocol):
    """What only a page shows, such as `Bars` of `zoo.inspect.page.parts`."""

    def html(self) -> str:
        """It as HTML, in which all names and values are `escaped`."""
        ...


Content = str | TextTable | Figure | Part


@dataclass(frozen=True)
class Section:
    """A part of what is shown: the terminal shows its tables, the page everything.

    Attributes:
        title: What it is about.
        content: Paragraphs, tables, figures and other parts in their order.
        chapter: Chapter of the page that it stands in; without one it stands for itself.
        folded: Whether the page shows its title alone until it is opened.
        page: What the page shows in place of the content; None shows the content.
    """

    title: str
    content: Sequence[Content]
    chapter: str = ""
    folded: bool = False
    page: Sequence[Content] | None = None

    @property
    def on_page(self) -> Sequence[Content]:
        """What the page shows."""
        return self.content if self.page is None else self.page


@dataclass(frozen=True)
class Card:
    """A question that the first screen of a page answers.

    Attributes:
        title: The question.
        parts: The answer.
        wide: Whether it takes the whole width.
    """

    title: str
    parts: Sequence[Content]
    wide: bool = False


@dataclass(frozen=True)
class Head:
    """The first screen of a page.

    Attributes:
        heading: Name of what the page is about.
        lead: What it is, one sentence.
        facts: Further short facts, such as a path.
        cards: Questions and their answers. Those who give them give the warnings in one of them.
    """

    heading: str
    lead: str = ""
    facts: Sequence[str] = ()
    cards: Sequence[Card] = ()
