"""The HTML of explained rows: a list to choose from, and the explanation of each.

Each explanation is there from the start: `rows.js` shows the one that is chosen, and without a
script the link in the list does.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from zoo.inspect.explained_row import (
    COLUMNS,
    EXACT_COLUMNS,
    Contribution,
    ExplainedRow,
    value_text,
)
from zoo.inspect.page.parts import Bar, Bars, Tile, Tiles, cut
from zoo.inspect.page.tables import table_html
from zoo.inspect.table import escaped, text_table
from zoo.inspect.with_data.session import Session

BARS = 20  # of a row
LINES = 40  # of the table of a row
Z_95 = 1.96  # standard errors of a 95 % interval
ORDERS = {
    "order": "as chosen",
    "-p": "probability, highest first",
    "p": "probability, lowest first",
    "-error": "error, largest first",
    "error": "error, smallest first",
    "row": "number",
}


@dataclass(frozen=True)
class PickedRow:
    """An explained row.

    Attributes:
        row: The row, or a track of a session, with its explanation.
        why: Why it was chosen.
        session: The session of a track; None of a row.
    """

    row: ExplainedRow
    why: str
    session: Session | None = None

    @property
    def place(self) -> str:
        """Its number, in words."""
        if self.row.position is None:
            return f"row {self.row.row:,}"
        return f"session {self.row.row:,}, track {self.row.position}"

    @property
    def id(self) -> str:
        """Its id in the page."""
        track = "" if self.row.position is None else f"-{self.row.position}"
        return f"row-{self.row.row}{track}"

    @property
    def error(self) -> float | None:
        """How far the probability is from the label; None where that is not known."""
        return None if self.row.label is None else abs(self.row.probability - self.row.label)


@dataclass(frozen=True)
class RowPicker:
    """Rows to choose from."""

    rows: Sequence[PickedRow]

    def html(self) -> str:
        """The list with what orders and narrows it, and the rows."""
        links = "".join(map(_link, enumerate(self.rows)))
        shown = "".join(_article(picked, self.rows) for picked in self.rows)
        return (
            f'<div class="rows"><div class="picker">{_form(len(self.rows))}'
            f'<ol aria-label="explained rows">{links}</ol></div>'
            f'<div class="shown" data-kind="all">{shown}</div></div>'
        )


def _form(count: int) -> str:
    orders = "".join(f'<option value="{key}">{name}</option>' for key, name in ORDERS.items())
    return (
        '<form class="filters" id="row-form"><label>find <input type="search" id="row-search" '
        'placeholder="number, field or value"></label>'
        f'<label>order <select id="row-order">{orders}</select></label>'
        '<label>show <select id="row-kind"><option value="all">fields and interactions</option>'
        '<option value="field">fields</option><option value="interaction">interactions</option>'
        f'</select></label><output id="row-count" aria-live="polite">{count} rows</output></form>'
    )


def _link(numbered: tuple[int, PickedRow]) -> str:
    order, picked = numbered
    p, error = picked.row.probability, picked.error
    label = "" if picked.row.label is None else f"label {picked.row.label:g}, "
    wrong = ' class="wrong"' if error is not None and error > 0.5 else ""
    far = "" if error is None else f' data-error="{error:.6f}"'
    return (
        f'<li data-order="{order}" data-row="{picked.row.row}" data-p="{p:.6f}"{far}>'
        f'<a href="#{picked.id}"><span>{escaped(picked.place)}</span>'
        f'<span class="track"><b class="up" style="left:0;width:{p:.1%}"></b></span>'
        f'<span class="num">{p:.3f}</span><small{wrong}>{label}{escaped(picked.why)}</small></a>'
        "</li>"
    )


def _article(picked: PickedRow, rows: Sequence[PickedRow]) -> str:
    row, name = picked.row, f"{picked.id}-name"
    parts = [
        f'<article id="{picked.id}" aria-labelledby="{name}">'
        f'<h4 id="{name}">{escaped(picked.place)} of {escaped(row.source)}</h4>',
        Tiles([*_tiles(picked)]).html(),
    ]
    if picked.session:
        parts.append(_track(picked, picked.session, rows))
    if row.attribution:
        shares = sorted(row.attribution.items(), key=lambda share: -share[1])[:BARS]
        bars = [Bar(name, share, f"{share:.1%}") for name, share in shares]
        parts += ["<h5>attribution to the experts</h5>", Bars(bars).html()]
    parts += ["<h5>contributions to the logit</h5>", Bars(_bars(row), _reading(row)).html()]
    for gate in row.gates:
        bars = [Bar(name, weight, f"{weight:.3f}") for name, weight in gate.weights.items()]
        title = f"<summary>{escaped(gate.title)} in this row</summary>"
        parts.append(f"<details>{title}{Bars(bars).html()}</details>")
    parts.append(_numbers(row))
    return "".join([*parts, "</article>"])


def _tiles(picked: PickedRow) -> Iterator[Tile]:
    row = picked.row
    beside = f"logit {row.logit:+.3f}"
    yield Tile("probability", f"{row.probability:.4f}", beside, [picked.why])
    if row.label is not None and picked.error is not None:
        p = row.probability if row.label > 0.5 else 1 - row.probability
        loss = [f"loss {-math.log(p):.3f}"] if p > 0 else []
        yield Tile("label", f"{row.label:g}", "", loss)
    if row.exact:
        yield Tile("explained", "exactly", "the sum of its terms")
        return
    notes = [f"{row.r2.fields:.1%} by the fields alone"]
    yield Tile("explained", f"{row.r2.with_interactions:.1%}", "around it", notes)


def _reading(row: ExplainedRow) -> str:
    if row.exact:
        constant = f"{row.intercept.contribution:+.3f}, the constant of the model"
        return f"With {constant}, these add up to {row.logit:+.3f}."
    return (
        f"From {row.intercept.contribution:+.3f}, the mean logit of copies of the row in which "
        f"fields are on or off at random, these add up to {row.logit:+.3f}; the thin lines are "
        "95 % intervals."
    )


def _bars(row: ExplainedRow) -> list[Bar]:
    found = row.contributions
    bars = [_bar(row, c) for c in found[:BARS]]
    others = row.logit - row.intercept.contribution - sum(c.contribution for c in found[:BARS])
    if row.exact and len(found) <= BARS:
        return bars
    if row.exact:
        smaller = f"({len(found) - BARS} smaller ones)"
        return [*bars, Bar(smaller, others, f"{others:+.3f}", kind="rest")]
    more = f"{len(found) - BARS} smaller ones, and the rest" if len(found) > BARS else "the rest"
    return [*bars, Bar(f"({more})", others, f"{others:+.3f}", kind="rest")]


def _bar(row: ExplainedRow, c: Contribution) -> Bar:
    kind = "field" if len(c.fields) == 1 else "interaction"
    values = [value_text(row.on[name]) for name in c.fields if name in row.on]
    error = 0.0 if math.isnan(c.error) else Z_95 * c.error
    text = f"{c.contribution:+.3f}"
    return Bar(c.name, c.contribution, text, error, cut(" x ".join(values), 60), kind)


def _numbers(row: ExplainedRow) -> str:
    """All numbers of a row, folded."""
    lines = row.all_lines()
    cells = [row.cells(line) for line in lines[:LINES]]
    left = len(lines) - len(cells)
    title = "all contributions" if left < 1 else f"the first {LINES} of {len(lines)} contributions"
    columns = EXACT_COLUMNS if row.exact else COLUMNS
    table = text_table(title, columns, cells, len(columns) // 2)
    return f"<details><summary>all numbers</summary>{table_html(table, title)}</details>"


def _track(picked: PickedRow, session: Session, rows: Sequence[PickedRow]) -> str:
    """The session of a track: what was skipped before, and what is predicted of each track."""
    there = {other.row.position: other.id for other in rows if other.row.row == picked.row.row}
    past = "".join(
        f'<li class="{"skipped" if skipped else "kept"}"><small>before {i}</small>'
        f"{'skipped' if skipped else 'played'}</li>"
        for i, skipped in enumerate(session.past, 1)
    )
    tracks = []
    for i, track in enumerate(session.tracks, 1):
        here = ' class="this" aria-current="true"' if i == picked.row.position else ""
        name = f"track {i}"
        if i in there and not here:
            name = f'<a href="#{there[i]}">{name}</a>'
        label = "" if track.label is None else f"<small>label {track.label:g}</small>"
        tracks.append(f"<li{here}><small>{name}</small>{track.probability:.2f}{label}</li>")
    return (
        "<h5>the session</h5>"
        f'<ol class="track-of-session" aria-label="the session">{past}{"".join(tracks)}</ol>'
    )
