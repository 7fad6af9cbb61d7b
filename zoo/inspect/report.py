"""An inspection as one HTML file, which opens offline and asks the network for nothing.

All names come from the file or from the data: they are shown as text, never as markup.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from zoo.experts.lattice import Lattice
from zoo.inspect import explain_sheets, figures, sheets
from zoo.inspect.architecture import INDENT
from zoo.inspect.effects import Effects, Grid
from zoo.inspect.explain import Explanation
from zoo.inspect.facts import Inspection
from zoo.inspect.figures import BLUE, GREY, ORANGE, Figure
from zoo.inspect.figures import names as _names
from zoo.inspect.figures import text as _text
from zoo.inspect.interactions import Interactions
from zoo.inspect.scores import Quality, Scores
from zoo.inspect.sheets import Sheet

STYLE = """
:root { color-scheme: light dark; --text: #1c2026; --page: #ffffff; --line: #d5d9e0; }
@media (prefers-color-scheme: dark) {
  :root { --text: #dde1e8; --page: #15181d; --line: #3a404a; }
}
body { margin: 0 auto; max-width: 60rem; padding: 1rem; color: var(--text);
  background: var(--page); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; border-top: 1px solid var(--line); padding-top: 1rem; }
nav a { margin-right: 1rem; white-space: nowrap; }
a { color: #4c8bf5; }
pre, .wide { overflow-x: auto; }
p.title { font-weight: 600; overflow-wrap: anywhere; }
table { border-collapse: collapse; font-size: 0.9rem; }
th, td { border-bottom: 1px solid var(--line); padding: 0.2rem 0.6rem; text-align: right; }
th.word, td.word { text-align: left; overflow-wrap: break-word; }
.warning { border-left: 4px solid #e8833a; padding-left: 0.6rem; overflow-wrap: anywhere; }
"""


class Section(NamedTuple):
    """A part of the report, in the order of its content: paragraphs of HTML, tables, plots."""

    title: str
    content: list[str | Sheet | Figure]


def write(
    path: Path,
    found: Inspection,
    scores: Scores | None = None,
    interactions: Interactions | None = None,
) -> None:
    """Writes the report."""
    save(path, report(found, scores, interactions))


def save(path: Path, made: str) -> None:
    """Writes a page; the file appears when it is complete."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(made, encoding="utf-8")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def report(
    found: Inspection, scores: Scores | None = None, interactions: Interactions | None = None
) -> str:
    """The report as HTML."""
    title = f"{found.architecture.model if found.architecture else 'model'}: {found.file}"
    warned = (*found.warnings, *(scores.warnings if scores else ()))
    sections = [
        *_sections(found),
        *(_score_sections(scores) if scores else ()),
        *([_interactions(interactions)] if interactions else ()),
    ]
    return page(title, warned, sections)


def page(title: str, warned: Iterable[str], sections: Sequence[Section]) -> str:
    """HTML of some sections, after what there is to be wary of."""
    title = _text(title)
    warnings = [f'<p class="warning">{_text(warning)}</p>' for warning in warned]
    sections = [*([Section("warnings", [*warnings])] if warnings else ()), *sections]
    links = "".join(f'<a href="#s{i}">{_text(s.title)}</a> ' for i, s in enumerate(sections))
    body = "".join(_section(i, section) for i, section in enumerate(sections))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style>"
        f"<script>{get_plotlyjs()}</script></head>\n"
        f"<body><h1>{title}</h1><nav>{links}</nav>{body}</body></html>\n"
    )


def _section(i: int, section: Section) -> str:
    parts = [f'<section><h2 id="s{i}">{_text(section.title)}</h2>']
    for j, item in enumerate(section.content):
        if isinstance(item, Sheet):
            parts.append(_table(item, item.title != section.title))
        elif isinstance(item, Figure):
            parts.append(_plot(item, f"plot-{i}-{j}"))
        else:
            parts.append(item)
    return "\n".join([*parts, "</section>\n"])


def _table(sheet: Sheet, titled: bool) -> str:
    def line(tag: str, cells: Iterable[str]) -> str:
        return "".join(
            f"<{tag}{' class=word' if i < sheet.words else ''}>{_text(cell)}</{tag}>"
            for i, cell in enumerate(cells)
        )

    rows = "".join(f"<tr>{line('td', row)}</tr>" for row in sheet.rows)
    head = f"<thead><tr>{line('th', sheet.columns)}</tr></thead>"
    title = f'<p class="title">{_text(sheet.title)}</p>' if titled else ""
    return f'{title}<div class="wide"><table>{head}{rows}</table></div>'


def _plot(figure: Figure, name: str) -> str:
    figure.plot.update_layout(
        template="none",
        title=None,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font_color=GREY,
        margin={"l": 60, "r": 20, "t": 20, "b": 50},
        legend={"orientation": "h", "y": figure.plot.layout.legend.y or 1.15},
    )
    figure.plot.update_xaxes(automargin=True, gridcolor="rgba(128,136,148,0.3)")
    figure.plot.update_yaxes(automargin=True, gridcolor="rgba(128,136,148,0.3)")
    drawn = figure.plot.to_html(
        full_html=False,
        include_plotlyjs=False,
        div_id=name,
        default_height="340px",
        config={"responsive": True, "displayModeBar": False},
    )
    return f"{drawn}<p>{figure.reading}</p>"


# What a report shows


def _sections(found: Inspection) -> Iterator[Section]:
    if found.architecture:
        model = found.architecture
        paragraphs = [_paragraph(paragraph) for paragraph in model.description.split("\n\n")]
        yield Section("architecture", [*paragraphs, sheets.options_sheet(model.options)])
        if model.experts:
            yield Section("experts", [_lattice(found), sheets.experts_sheet(found)])
    yield Section("parameters", [_parts(found), sheets.parts_sheet(found.parts)])
    if found.fields:
        yield Section("schema", [sheets.schema_sheet(found.fields)])
    training = [sheets.training_sheet(found), *sheets.metrics_sheets(found)]
    yield Section("training", [*training])
    yield from _effect_sections(found.effects)


def _paragraph(text: str) -> str:
    tag = "pre" if text.startswith(INDENT) else "p"
    return f"<{tag}>{_text(text)}</{tag}>"


def _score_sections(found: Scores) -> Iterator[Section]:
    overall, bins, *rest = sheets.score_sheets(found)
    yield Section("quality", [overall])
    yield Section("calibration", [_calibration(found.calibration), bins])
    if found.by:
        yield Section(
            f"by {found.by}", [_slices(found.slices[found.by]), *sheets.slice_sheets(found)]
        )
    elif found.slices:
        yield Section("by value", [_values(found), *sheets.slice_sheets(found)])
    if found.experts:
        yield Section("attribution", [figures.attribution(found.experts), rest[-1]])
    if found.explanation:
        yield from _explanation_sections(found.explanation)


def _explanation_sections(found: Explanation) -> Iterator[Section]:
    shown = explain_sheets
    yield Section(
        "importance", [figures.importance(found.importance), shown.importance_sheet(found)]
    )
    if found.attention:
        yield Section("attention", _grids(found.attention))
    if found.session:
        yield Section("a session", [figures.session(found.session), shown.session_sheet(found)])
    if found.examples:
        yield Section("examples", [figures.examples(found.examples), shown.examples_sheet(found)])


def _effect_sections(found: Effects) -> Iterator[Section]:
    if found.linear:
        yield Section(
            "first-order weights",
            [figures.linear(found.linear), explain_sheets.linear_sheet(found)],
        )
    if found.crosses:
        yield Section("cross weights", _grids(found.crosses))


def _grids(grids: Iterable[Grid]) -> list[str | Sheet | Figure]:
    return [
        shown for grid in grids for shown in (figures.heat(grid), explain_sheets.grid_sheet(grid))
    ]


def _interactions(found: Interactions) -> Section:
    sheet = explain_sheets.interactions_sheet(found)
    return Section("interactions", [figures.interactions(found), sheet])


def _lattice(found: Inspection) -> Figure:
    plot = Lattice(found.schema, found.architecture.options.get("subsets")).figure()
    for trace in plot.data:
        if trace.text is not None:
            trace.update(text=_names(trace.text), customdata=_names(trace.customdata))
    return Figure(
        plot,
        "Each point is an expert; a line leads up to a larger subset, whose expert speaks where "
        "those below it are unsure.",
    )


def _parts(found: Inspection) -> Figure:
    shares = [part.share for part in found.parts.values()]
    plot = go.Figure(go.Bar(x=shares, y=_names(found.parts), orientation="h", marker_color=BLUE))
    plot.update_xaxes(title="share of the parameters", tickformat=".0%")
    plot.update_yaxes(autorange="reversed", type="category")
    return Figure(plot, "The longer a bar, the more of the model's parameters lie in that part.")


def _calibration(bins: Iterable[Quality]) -> Figure:
    bins = list(bins)
    predicted, observed = [b.predicted for b in bins], [b.observed for b in bins]
    plot = _diagonal(bins)
    plot.add_scatter(x=predicted, y=observed, mode="lines+markers", name="model", marker_color=BLUE)
    return Figure(
        plot,
        "Each point is a tenth of the rows: below the dashed line the model predicts more "
        "positives than there are, above it fewer.",
    )


def _slices(slices: Iterable[Quality]) -> Figure:
    slices = list(slices)
    labels = _names(part.name for part in slices)
    plot = go.Figure()
    for name, colour in (("predicted", BLUE), ("observed", ORANGE)):
        values = [getattr(part, name) for part in slices]
        plot.add_bar(x=labels, y=values, name=name, marker_color=colour)
    plot.update_xaxes(type="category")
    plot.update_yaxes(title="share of positives")
    return Figure(plot, "Of each value, the two bars are equally high where the model is right.")


def _values(found: Scores) -> Figure:
    """Every slice of every field."""
    plot = _diagonal(part for parts in found.slices.values() for part in parts)
    for field, parts in found.slices.items():
        plot.add_scatter(
            x=[part.predicted for part in parts],
            y=[part.observed for part in parts],
            text=_names(f"{field} = {part.name}, {part.rows:,} rows" for part in parts),
            mode="markers",
            marker_color=BLUE,
            showlegend=False,
            name="",
        )
    return Figure(
        plot,
        "Each point is a frequent value of a field: below the dashed line the model predicts more "
        "positives than there are, above it fewer.",
    )


def _diagonal(parts: Iterable[Quality]) -> go.Figure:
    """The line on which predicted equals observed."""
    end = max(value for part in parts for value in (part.predicted, part.observed))
    plot = go.Figure()
    line = {"color": GREY, "dash": "dash"}
    plot.add_scatter(x=[0, end], y=[0, end], mode="lines", name="calibrated", line=line)
    plot.update_layout(xaxis_title="predicted probability", yaxis_title="share of positives")
    return plot
