"""The HTML of a page: its head, its sections under chapters, and the list of both.

All names come from a file or from data: they are shown as text, never as markup. A policy in the
page lets the browser run the scripts of this package alone, and ask the network for nothing.
"""

import base64
import gzip
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files

from zoo.inspect.page.content import GREY, Card, Content, Figure, Head, Section
from zoo.inspect.page.parts import anchor
from zoo.inspect.page.prose import marked
from zoo.inspect.page.tables import table_html
from zoo.inspect.table import TextTable, escaped

SCRIPTS = ("page.js", "plots.js", "tables.js", "rows.js")
PLOT = 'type="application/json" class="plot-data"'  # what the script of a plot begins with
GRID = "rgba(128,136,148,0.3)"


def page(
    title: str, warnings: Iterable[str], sections: Iterable[Section], head: Head | None = None
) -> str:
    """HTML of some sections.

    Args:
        title: Title of the page.
        warnings: Warnings, each one sentence, which stand before the sections where there is no
            head with cards.
        sections: What is shown.
        head: The first screen; None shows the title alone.
    """
    shown = head or Head(title)
    warned = [] if shown.cards else list(warnings)
    body = "".join(map(_card, shown.cards))
    body = f'<div class="cards">{body}</div>' if body else ""
    if warned:
        lines = "".join(f'<p class="warning">{escaped(warning)}</p>' for warning in warned)
        body += f'<section class="warnings" aria-label="warnings">{lines}</section>'
    chapters = _chapters(sections)
    body += "".join(map(_chapter, chapters))
    plotly = _plotly() if PLOT in body else ""
    return "".join(_document(title, shown, chapters, body, plotly))


def _plotly() -> str:
    from plotly.offline import get_plotlyjs  # which a terminal need not wait for

    return get_plotlyjs().replace("\r\n", "\n")


def _document(
    title: str, head: Head, chapters: Sequence["_Chapter"], body: str, plotly: str
) -> Iterator[str]:
    scripts = [_file(name) for name in SCRIPTS]
    allowed = " ".join(
        f"'sha256-{_digest(script)}'" for script in [*scripts, *[plotly] * bool(plotly)]
    )
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src {allowed}"
    yield (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f"<title>{escaped(title)}</title><style>{_file('style.css')}</style></head>\n"
        f'<body><a class="skip" href="#content">skip to the content</a>'
        f'<header><div><h1 id="top">{escaped(head.heading)}</h1>'
        '<button type="button" id="theme" hidden>dark</button></div>'
    )
    if head.lead:
        yield f'<p class="lead">{marked(head.lead)}</p>'
    if head.facts:
        facts = "".join(f"<li>{escaped(fact)}</li>" for fact in head.facts)
        yield f'<ul class="facts">{facts}</ul>'
    yield f'</header>{_navigation(chapters)}<main id="content">{body}</main>'
    if plotly:  # packed it takes two fifths of its size; `plots.js` unpacks it
        packed = base64.b64encode(gzip.compress(plotly.encode(), mtime=0)).decode()
        yield f'<script type="application/gzip" id="plotly">{packed}</script>'
    yield from (f"<script>{script}</script>" for script in scripts)
    yield "</body></html>\n"


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _file(name: str) -> str:
    return files("zoo.inspect.page").joinpath(name).read_text(encoding="utf-8")


# Chapters


class _Chapter:
    """Sections that stand together.

    Attributes:
        title: Title of the chapter, or of its only section.
        id: Its id in the page.
        sections: The sections with their ids; one without an id has that of the chapter.
    """

    def __init__(self, title: str, id_: str) -> None:
        self.title, self.id = title, id_
        self.sections: list[tuple[str, Section]] = []


def _chapters(sections: Iterable[Section]) -> list[_Chapter]:
    found: dict[object, _Chapter] = {}
    used: set[str] = set()

    def new(title: str) -> str:
        name = anchor(title)
        while name in used:
            name += "-"
        used.add(name)
        return name

    for i, section in enumerate(sections):
        key = section.chapter or i
        if key not in found:
            title = section.chapter or section.title
            found[key] = _Chapter(title, new(title))
        alone = section.title.lower() == found[key].title.lower()
        found[key].sections.append(("" if alone else new(section.title), section))
    return list(found.values())


def _navigation(chapters: Sequence[_Chapter]) -> str:
    lines = []
    for chapter in chapters:
        inner = "".join(
            f'<li><a href="#{name}">{escaped(section.title)}</a></li>'
            for name, section in chapter.sections
            if name
        )
        inner = f"<ul>{inner}</ul>" if inner else ""
        lines.append(f'<li><a href="#{chapter.id}">{escaped(chapter.title)}</a>{inner}</li>')
    if not lines:
        return ""
    return (
        '<nav aria-label="contents"><details open><summary>contents</summary>'
        f'<ul><li><a href="#top">overview</a></li>{"".join(lines)}</ul></details></nav>'
    )


def _chapter(chapter: _Chapter) -> str:
    parts = [f'<section class="chapter" id="{chapter.id}"><h2>{escaped(chapter.title)}</h2>']
    for name, section in chapter.sections:
        content = _content(name or chapter.id, section)
        if not name:
            parts.append(content)
            continue
        title = f"<h3>{escaped(section.title)}</h3>"
        if section.folded:
            parts.append(
                f'<details class="part" id="{name}"><summary>{title}</summary>{content}</details>'
            )
        else:
            parts.append(f'<section class="part" id="{name}">{title}{content}</section>')
    return "".join([*parts, "</section>\n"])


def _card(card: Card) -> str:
    content = "".join(_item(item, "", "") for item in card.parts)
    kind = ' class="card whole"' if card.wide else ' class="card"'
    return f"<section{kind}><h2>{escaped(card.title)}</h2>{content}</section>"


# Content


def _content(name: str, section: Section) -> str:
    return "\n".join(
        _item(item, section.title, f"plot-{name}-{j}") for j, item in enumerate(section.on_page)
    )


def _item(item: Content, section: str, name: str) -> str:
    if isinstance(item, str):
        return f"<p>{escaped(item)}</p>"
    if isinstance(item, TextTable):
        return table_html(item, section)
    if isinstance(item, Figure):
        return _plot(item, name)
    return item.html()


def _plot(figure: Figure, name: str) -> str:
    """A plot as data, which `plots.js` draws; the style sheet gives text and grid their colours."""
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
    plot.update_xaxes(automargin=True, gridcolor=GRID)
    plot.update_yaxes(automargin=True, gridcolor=GRID)
    height = plot.layout.height or 340
    data = plot.to_json().replace("<", "\\u003c")  # so that no text ends the script
    reading = escaped(figure.reading)
    return (
        f'<figure class="plot"><div id="{name}" style="height:{height:g}px"></div>'
        f'<script {PLOT} data-for="{name}">{data}</script>'
        f"<figcaption>{reading}</figcaption></figure>"
    )
