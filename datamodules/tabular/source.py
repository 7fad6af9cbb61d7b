"""How a field is read from the columns of a table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from datamodules.prepared.engine import sql_identifier
from zoo.data.schema import Kind

Part = Literal["text", "number", "time", "given", "nested", "list"]
Use = Literal["text", "number", "time", "list", "split"]


@dataclass(frozen=True)
class RawField:
    """How a field is read from a column.

    Attributes:
        name: Name of the field.
        kind: Kind of the field; see `zoo.data.schema.Field`.
        sql: Its value, an SQL expression over parts of columns (see `part`): a number, a text, or a
            list of texts without NULLs.
        group: What it describes.
        column: Column that it is read from.
        use: What is read of the column; `split` is of a text or a list.
        malformed: SQL condition under which the row cannot be used.
        problem: What is then wrong, in words.
        standardised: Whether its mean over the training rows is taken from a number, and the
            difference divided by their deviation.
        min_count: Smallest count of a value in the training rows; None is that of the dataset.
        max_size: Largest number of values that have an id, the most frequent ones; None is any.
        bins: Largest number of quantile bins of a categorical field that is read as a FLOAT; None
            where it is read as text.
        vocabulary: Name of the field whose ids these are too; empty where they are its own.
        served: How its value is read of a row that is served, where there is no SQL; see
            `datamodules.tabular.serving`. None of a field that cannot be.
    """

    name: str
    kind: Kind
    sql: str
    group: str = ""
    column: str = ""
    use: Use = "text"
    malformed: str = "false"
    problem: str = ""
    standardised: bool = False
    min_count: int | None = None
    max_size: int | None = None
    bins: int | None = None
    vocabulary: str = ""
    served: Mapping[str, Any] | None = None

    @property
    def is_text(self) -> bool:
        """Whether it holds texts, one or a list of them, which get ids."""
        return self.kind != "numerical" and not self.bins

    @property
    def is_as_it_is(self) -> bool:
        """Whether its value is the text of its column, whatever that is."""
        fits = self.malformed in ("false", part(self.column, "nested"))
        return fits and self.sql == part(self.column, "text")


def part(column: str, wanted: Part) -> str:
    """The SQL of a part of a column, which files of all formats offer: its text, its number, its
    time, whether it is given and whether it is nested; the text has the column's own name."""
    return sql_identifier(column if wanted == "text" else f"{column}\n{wanted}")
