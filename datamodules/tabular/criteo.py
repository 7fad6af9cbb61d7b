"""Criteo Display Advertising Challenge (Kaggle, 2014): one line a shown advertisement."""

from pathlib import Path
from typing import Any, Literal

from datamodules.prepared.form import first_line, require_form
from datamodules.tabular.formats import is_text
from datamodules.tabular.label import Digit
from datamodules.tabular.module import CTRDataModule
from datamodules.tabular.plain_file import PlainFile
from datamodules.tabular.source import RawField, part
from datamodules.tabular.table_file import TableFile
from zoo.data.errors import ZooError

NUMERICAL = tuple(f"I{i}" for i in range(1, 14))
CATEGORICAL = tuple(f"C{i}" for i in range(1, 27))
# AutoInt's code leaves all negative numbers as they are, for Criteo has none below -3
LARGE = "CASE WHEN {{x}} > 2 THEN {0} WHEN {{x}} < -10 THEN -10 - {1} ELSE {{x}} END"
SCALINGS = {
    "floor_log_squared": LARGE.format("floor(ln({x}) ^ 2)", "floor(ln(-9 - {x}) ^ 2)"),
    "log_squared": LARGE.format("ln({x}) ^ 2", "ln(-9 - {x}) ^ 2"),
    "log": "ln(1 + greatest({x}, 0))",
    "none": "{x}",
}


class Criteo(CTRDataModule):
    """The raw `train.txt`: label, I1..I13, C1..C26, tab-separated, empty = missing, no header.

    Rules of AutoInt (Song et al. 2019, section 5.1.1, and its public code): values rarer than
    10 become unknown, numbers above 2 become floor(ln(x)^2), missing numbers 0. Numbers below -10,
    of which Criteo has none, are drawn in likewise: -10 - floor(ln(-9 - x)^2).

    Args:
        path: A file of text (plain, .gz or .zst), of Parquet or of JSON lines, a folder of files,
            a pattern such as `days/*.parquet`, or a list of these; Parquet and JSON lines have
            columns of these names, and `label`.
        scaling: How numbers x are scaled: `floor_log_squared`, floor(ln(x)^2) where x > 2, as in
            AutoInt's code; `log_squared`, ln(x)^2 where x > 2, as in its paper (both likewise where
            x < -10); `log`,
            ln(1 + max(x, 0)), as in DLRM (Naumov et al. 2019), which keeps all numbers small;
            `none`.
        min_count: Smallest count of a categorical value in the training split; rarer ones become
            unknown.
        shared: Options of `CTRDataModule`.
    """

    label = Digit("label")

    def __init__(
        self,
        path: str | list[str],
        scaling: Literal["floor_log_squared", "log_squared", "log", "none"] = "floor_log_squared",
        min_count: int = 10,
        **shared: Any,
    ) -> None:
        if scaling not in SCALINGS:
            raise ZooError(f"data.scaling must be one of {', '.join(SCALINGS)}, got {scaling!r}")
        self.scaling = scaling
        super().__init__(path, min_count=min_count, **shared)

    def table_file(self, path: Path) -> TableFile:
        """By its name; text is a line a row."""
        if is_text(path):
            return PlainFile(path, "\t", _columns(path))
        return self.reading.file(path)

    def raw_fields(self) -> list[RawField]:
        """I1..I13, then C1..C26."""
        return [_number(c, self.scaling) for c in NUMERICAL] + [
            RawField(c, "categorical", part(c, "text"), "categorical", c) for c in CATEGORICAL
        ]

    def encoder_options(self) -> dict[str, Any]:
        """The options of all such data, and `scaling`."""
        return {**super().encoder_options(), "scaling": self.scaling}


def _columns(path: Path) -> tuple[str, ...]:
    """40 columns; 39 (as in the challenge's `test.txt`) are rows without label."""
    columns = NUMERICAL + CATEGORICAL
    widths = (len(columns), len(columns) + 1)
    line = first_line(path)
    require_form(path, line, "\t", lambda cells: len(cells) in widths)
    return columns if line.count("\t") == len(columns) - 1 else ("label", *columns)


def _number(column: str, scaling: str) -> RawField:
    number = f"try_cast({part(column, 'number')} AS FLOAT)"
    malformed = f"{part(column, 'given')} AND NOT coalesce(isfinite({number}), false)"
    sql, problem = SCALINGS[scaling].format(x=number), f"{column} is not a number"
    transform = "log_of_positive" if scaling == "log" else scaling
    return RawField(
        column,
        "numerical",
        sql,
        "numerical",
        column,
        "number",
        malformed,
        problem,
        served={"read": "number", "blanks": False, "transform": transform, "type": "f4"},
    )
