"""A page: sections of paragraphs, tables and figures as one HTML file.

It opens offline and asks the network for nothing. All names come from a file or from data: they are
shown as text, never as markup.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from zoo.inspect.table import TextTable, escaped
from zoo.models.description import FORMULA

GREY = "#808894"  # legible on white and on black
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


@dataclass(frozen=True)
class Section:
    """A part of what is shown: the terminal shows its tables, the page everything.

    Attributes:
        title: What it is about.
        content: Paragraphs, tables and figures in their order; a paragraph that begins with four
            spaces is a formula.
    """

    title: str
    content: Sequence[str | TextTable | Figure]


def page(title: str, warnings: Iterable[str], sections: Iterable[Section]) -> str:
    """HTML of some sections, after the warnings."""
    from plotly.offline import get_plotlyjs  # which a terminal need not wait for

    title = escaped(title)
    parts = [(section.title, _content(i, section)) for i, section in enumerate(sections, 1)]
    warned = "\n".join(f'<p class="warning">{escaped(warning)}</p>' for warning in warnings)
    parts = [*([("warnings", warned)] if warned else ()), *parts]
    links = "".join(f'<a href="#s{i}">{escaped(name)}</a> ' for i, (name, _) in enumerate(parts))
    body = "".join(
        f'<section><h2 id="s{i}">{escaped(name)}</h2>\n{content}\n</section>\n'
        for i, (name, content) in enumerate(parts)
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style>"
        f"<script>{get_plotlyjs()}</script></head>\n"
        f"<body><h1>{title}</h1><nav>{links}</nav>{body}</body></html>\n"
    )


def _content(i: int, section: Section) -> str:
    parts = []
    for j, item in enumerate(section.content):
        if isinstance(item, TextTable):
            parts.append(_table(item, item.title != section.title))
        elif isinstance(item, Figure):
            parts.append(_plot(item, f"plot-{i}-{j}"))
        else:
            tag = "pre" if item.startswith(FORMULA) else "p"
            parts.append(f"<{tag}>{escaped(item)}</{tag}>")
    return "\n".join(parts)


def _table(table: TextTable, titled: bool) -> str:
    def line(tag: str, cells: Iterable[str]) -> str:
        return "".join(
            f"<{tag}{' class=word' if i < table.words else ''}>{escaped(cell)}</{tag}>"
            for i, cell in enumerate(cells)
        )

    rows = "".join(f"<tr>{line('td', row)}</tr>" for row in table.rows)
    head = f"<thead><tr>{line('th', table.columns)}</tr></thead>"
    title = f'<p class="title">{escaped(table.title)}</p>' if titled else ""
    return f'{title}<div class="wide"><table>{head}{rows}</table></div>'


def _plot(figure: Figure, name: str) -> str:
    plot = figure.draw()
    plot.update_layout(
        template="none",
        title=None,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font_color=GREY,
        margin={"l": 60, "r": 20, "t": 20, "b": 50},
        legend={"orientation": "h", "y": plot.layout.legend.y or 1.15},
    )
    plot.update_xaxes(automargin=True, gridcolor="rgba(128,136,148,0.3)")
    plot.update_yaxes(automargin=True, gridcolor="rgba(128,136,148,0.3)")
    drawn = plot.to_html(
        full_html=False,
        include_plotlyjs=False,
        div_id=name,
        default_height="340px",
        config={"responsive": True, "displayModeBar": False},
    )
    return f"{drawn}<p>{escaped(figure.reading)}</p>"
