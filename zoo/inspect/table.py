"""A table of text, as the terminal and the page show it.

All names come from a file or from data: they are shown as text, neither as markup nor as control
characters.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class TextTable:
    """A table of text.

    Attributes:
        title: What it shows.
        columns: Names of the columns.
        rows: Cells of each row.
        words: Number of columns, from the left, that hold words; the others hold numbers.
    """

    title: str
    columns: Sequence[str]
    rows: list[list[str]]
    words: int = 1

    def __rich__(self) -> Group:
        """The table under its title."""
        table = Table()
        for i, column in enumerate(self.columns):
            words = i < self.words  # only these may be folded: a broken number is another one
            side = "left" if words else "right"
            table.add_column(Text(clean(column)), justify=side, overflow="fold", no_wrap=not words)
        for row in self.rows:
            table.add_row(*map(Text, row))
        return Group(Text(clean(self.title), "italic"), table)


def text_table(
    title: str, columns: Sequence[str], rows: Iterable[Iterable[Any]], words: int = 1
) -> TextTable:
    """Makes a table of values; see `TextTable`."""
    cells = [[clean(number(cell)) for cell in row] for row in rows]
    return TextTable(title, columns, cells, words)


def clean(value: Any) -> str:
    """A value as text, in which a control character is written out."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in str(value))


def escaped(value: Any) -> str:
    """A value as HTML, and plotly, show it as text."""
    return escape(clean(value))


def number(value: Any) -> Any:
    """A number for a person: whole ones with separators, others with five digits."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "-" if value is None else value
    return f"{value:,}" if isinstance(value, int) else f"{value:,.5g}"


def titled(title: str, count: int, shown: int) -> str:
    """The title of a table that shows so many of its rows at most."""
    return title if count <= shown else f"{title}: the largest {shown} of {count:,}"
