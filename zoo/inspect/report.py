"""What was found, as one HTML file; see `zoo.inspect.page`."""

from pathlib import Path

from zoo.data.files import write_text
from zoo.inspect.page import page
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
    warnings = [f"{name}: {text}" if name else text for name, text in labelled]
    return page(shown[0].title, warnings, (s for part in shown for s in part.sections()))
