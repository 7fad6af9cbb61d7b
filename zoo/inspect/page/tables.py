"""Tables of a page: sorted by a click on a heading, and filtered by field and value."""

from collections.abc import Iterable
from dataclasses import dataclass

from zoo.inspect.table import TextTable, escaped

FEW = 24  # rows, from which on a page shows a part of them until more are asked for


@dataclass(frozen=True)
class Filtered:
    """A table with what narrows it.

    Attributes:
        table: The table.
        of: What a row is, in the plural, such as `slices`.
        choose: Column one of whose values can be chosen.
        search: Column whose text can be searched.
        least: Column of numbers of rows of which a least one can be asked for; None has none.
        far: Column of numbers of which those of `limit` and more, whatever their sign, can be asked
            for; None has none.
        limit: See `far`.
        far_name: What these are.
    """

    table: TextTable
    of: str
    choose: int = 0
    search: int = 1
    least: int | None = None
    far: int | None = None
    limit: float = 0.0
    far_name: str = ""

    def html(self) -> str:
        """A form, which works with a script alone, and the table."""
        columns = [escaped(name) for name in self.table.columns]
        chosen = dict.fromkeys(row[self.choose] for row in self.table.rows)
        options = "".join(f"<option>{escaped(name)}</option>" for name in chosen)
        form = [
            f'<label>{columns[self.choose]} <select data-filter="equal" '
            f'data-column="{self.choose}"><option value="">all</option>{options}</select></label>',
            f'<label>{columns[self.search]} <input type="search" data-filter="text" '
            f'data-column="{self.search}" placeholder="contains"></label>',
        ]
        if self.least is not None:
            form.append(
                f'<label>at least <input type="number" min="0" data-filter="least" '
                f'data-column="{self.least}"> rows</label>'
            )
        if self.far is not None:
            form.append(
                f'<label class="tick"><input type="checkbox" data-filter="far" '
                f'data-column="{self.far}" data-limit="{self.limit:g}"> '
                f"{escaped(self.far_name)}</label>"
            )
        rows = len(self.table.rows)
        said = f'<output aria-live="polite">{rows:,} {escaped(self.of)}</output>'
        return (
            f'<form class="filters" data-of="{escaped(self.of)}">{"".join(form)}{said}</form>'
            f"{table_html(self.table, '')}"
        )


@dataclass(frozen=True)
class Folded:
    """A table whose title alone is shown until it is opened.

    Attributes:
        table: The table.
    """

    table: TextTable

    def html(self) -> str:
        """The title and, once it is opened, the table."""
        title = self.table.title
        return (
            f"<details><summary>{escaped(title)}</summary>{table_html(self.table, title)}</details>"
        )


def table_html(table: TextTable, section: str) -> str:
    """A table under its title, which is left out where it is that of the section."""
    body, sums = table.rows, []
    if table.sums:
        body, sums = table.rows[: -table.sums], table.rows[-table.sums :]
    head = f"<thead><tr>{_line('th', table.columns, table.words)}</tr></thead>"
    rows = "".join(f"<tr>{_line('td', row, table.words)}</tr>" for row in body)
    foot = "".join(f"<tr>{_line('td', row, table.words)}</tr>" for row in sums)
    foot = f"<tfoot>{foot}</tfoot>" if sums else ""
    kind = ' class="long"' if len(body) > FEW else ""
    title = escaped(table.title)
    caption = f"<figcaption>{title}</figcaption>" if table.title != section else ""
    return (
        f'<figure class="table">{caption}<div class="wide" tabindex="0" role="group" '
        f'aria-label="{title}"><table{kind}>{head}<tbody>{rows}</tbody>{foot}</table></div></figure>'
    )


def _line(tag: str, cells: Iterable[str], words: int) -> str:
    scope = ' scope="col"' if tag == "th" else ""
    return "".join(
        f"<{tag}{scope}{' class=word' if i < words else ''}>{escaped(cell)}</{tag}>"
        for i, cell in enumerate(cells)
    )
