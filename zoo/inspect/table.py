"""A table of text, as the terminal and the page show it.

All names come from a file or from data: they are shown as text, neither as markup nor as control
characters.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import islice
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

MOST_OPTIONS = 1000  # rows of a table of options, and values of one
LONGEST_CELL = 1000  # characters


@dataclass(frozen=True)
class TextTable:
    """A table of text.

    Attributes:
        title: What it shows.
        columns: Names of the columns.
        rows: Cells of each row.
        words: Number of columns, from the left, that hold words; the others hold numbers.
        sums: Number of rows at the end that sum up the others: where rows are sorted they stay.
    """

    title: str
    columns: Sequence[str]
    rows: list[list[str]]
    words: int = 1
    sums: int = 0

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
    title: str, columns: Sequence[str], rows: Iterable[Iterable[Any]], words: int = 1, sums: int = 0
) -> TextTable:
    """Makes a table of values; see `TextTable`."""
    cells = [[clean(number(cell)) for cell in row] for row in rows]
    return TextTable(title, columns, cells, words, sums)


def options_table(title: str, options: Mapping[str, Any]) -> TextTable:
    """A table of nested options, a row for each value; of a great many, the first."""
    rows = [(name, short(value)) for name, value in islice(flat_options(options), MOST_OPTIONS)]
    if len(rows) == MOST_OPTIONS:
        rows.append(("..", "there are more"))
    return text_table(title, ("option", "value"), rows, 2)


def flat_options(options: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Names and values of nested options, as the command line names them."""
    if isinstance(options, Mapping) and options:
        for key, value in options.items():
            inner = name if name and key == "init_args" else f"{name}.{key}".lstrip(".")
            yield from flat_options(value, inner)
    elif isinstance(options, list | tuple) and any(isinstance(v, Mapping) for v in options):
        for i, value in enumerate(options):
            yield from flat_options(value, f"{name}[{i}]")
    else:
        yield name, options


def short(value: Any) -> str:
    """An option in a cell: null as configs have it, lists without quotes, long ones cut."""
    if isinstance(value, list | tuple):
        shown = ", ".join(short(item) for item in value[:MOST_OPTIONS])
        value = f"[{shown}{', ..' if len(value) > MOST_OPTIONS else ''}]"
    text = "null" if value is None else str(value)
    return text if len(text) <= LONGEST_CELL else f"{text[:LONGEST_CELL]} .."


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
