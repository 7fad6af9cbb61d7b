"""What is common to all that shows: as tables in a terminal and a notebook, or as a page."""

from collections.abc import Iterator
from typing import Any

from rich.console import Group
from rich.jupyter import JupyterMixin
from rich.text import Text

from zoo.inspect.page import Section
from zoo.inspect.table import TextTable, clean


class Shown(JupyterMixin):
    """What an inspection found; in a notebook and in `rich.print` it shows as tables.

    A subclass implements `sections`, and `to_dict`.
    """

    @property
    def title(self) -> str:
        """The title of a page that begins with it."""
        return ""

    def heading(self) -> Iterator[Text]:
        """What the terminal shows above the tables."""
        yield from ()

    def sections(self) -> Iterator[Section]:
        """Its sections, in their order."""
        raise NotImplementedError(f"{type(self).__name__} has no sections")

    def labelled_warnings(self) -> Iterator[tuple[str, str]]:
        """Warnings, each one sentence, after the name of the checkpoint that it is about.

        The name is empty where there is only one checkpoint.
        """
        yield from ()

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        raise NotImplementedError(f"{type(self).__name__} has no plain data")

    def __rich__(self) -> Group:
        content = [item for section in self.sections() for item in section.content]
        tables = [item for item in content if isinstance(item, TextTable)]
        return Group(*self.heading(), *tables, *self._warnings())

    def _warnings(self) -> Iterator[Text]:
        for name, warning in self.labelled_warnings():
            label = f"warning of {name}" if name else "warning"
            yield Text(clean(f"{label}: {warning}"), "yellow")
