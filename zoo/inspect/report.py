"""What was found, as one HTML file; see `zoo.inspect.page`."""

from dataclasses import replace
from pathlib import Path

from zoo.data.files import write_text
from zoo.inspect.chapters import CHAPTERS
from zoo.inspect.inspection import Inspection
from zoo.inspect.overview import overview
from zoo.inspect.page import Section, page
from zoo.inspect.picked_rows import PickedRows
from zoo.inspect.shown import Shown


def write(path: Path, *found: Shown | None) -> None:
    """Writes a report, which appears when it is complete; see `report`."""
    write_text(path, report(*found))


def report(*found: Shown | None) -> str:
    """A report as HTML.

    Args:
        found: An inspection or a comparison, and what else was found, such as the scores; None is
            passed over.
    """
    shown = [part for part in found if part is not None]
    labelled = [warning for part in shown for warning in part.labelled_warnings()]
    warnings = tuple(f"{name}: {text}" if name else text for name, text in labelled)
    sections = [section for part in shown for section in part.sections()]
    first = shown[0]
    if not isinstance(first, Inspection):
        return page(first.title, warnings, [replace(s, chapter="") for s in sections])
    head = overview(first, shown[1:], warnings)
    # what data say comes before what weights say by themselves
    others = sorted(shown[1:], key=lambda part: not isinstance(part, PickedRows))
    sections = [section for part in (*others, first) for section in part.sections()]
    return page(first.title, warnings, sorted(sections, key=_place), head)


def _place(section: Section) -> int:
    """Where a section stands: by its chapter, and last without one."""
    known = section.chapter in CHAPTERS
    return CHAPTERS.index(section.chapter) if known else len(CHAPTERS)
