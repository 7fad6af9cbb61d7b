"""Malformed rows: counted by reason, reported, and tolerated up to a limit."""

from dataclasses import dataclass, field
from pathlib import Path

from zoo.data.errors import ZooError

MAX_EXAMPLES = 5
LONGEST_NAME = 80  # of a malformed row, in messages


@dataclass(frozen=True)
class Example:
    """A malformed row.

    Attributes:
        file: The file that holds it.
        line: Its line in the file, counted from 1.
        reason: What is wrong with it.
        name: Its name, where it has one.
    """

    file: Path
    line: int
    reason: str
    name: str = ""

    def __str__(self) -> str:
        place = f"line {self.line} of {self.file}"
        name = self.name if len(self.name) <= LONGEST_NAME else f"{self.name[:LONGEST_NAME]}.."
        return f"{f'{name} ({place})' if name else place}: {self.reason}"


@dataclass
class Rejected:
    """The malformed rows (or ratings, or sessions) of a dataset.

    Attributes:
        unit: What is counted, in the plural.
        option: Option of the datamodule that limits the share of malformed ones.
        total: Number of all that were read, malformed ones included.
        reasons: Number of malformed ones, by reason.
        examples: The first malformed ones.
    """

    unit: str = "rows"
    option: str = "max_bad_rows"
    total: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Number of malformed ones."""
        return sum(self.reasons.values())

    def add(self, example: Example, count: int = 1) -> None:
        """Counts malformed ones of one reason, given the first of them."""
        self.reasons[example.reason] = self.reasons.get(example.reason, 0) + count
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(example)

    def check(self, tolerated: float) -> None:
        """Raises `ZooError` where none is usable, or more than a share `tolerated` is malformed."""
        if not self.count:
            return
        first = f"the first is {self.examples[0]}"
        if self.count == self.total:
            raise ZooError(f"no usable {self.unit.removesuffix('s')}; {first}")
        if self.count > tolerated * self.total:
            raise ZooError(
                f"{self.count} of {self.total} {self.unit} are malformed, more than "
                f"data.{self.option} allows ({tolerated:.3%}); {first}"
            )
