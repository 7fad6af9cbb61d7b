"""Avazu Click-Through Rate Prediction (Kaggle, 2014): ten days of mobile advertisements."""

import re
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

GROUPS = {
    "site": ("site_id", "site_domain", "site_category"),
    "app": ("app_id", "app_domain", "app_category"),
    "device": ("device_id", "device_ip", "device_model", "device_type", "device_conn_type"),
    "ad": ("C1", "banner_pos", "C14", "C15", "C16", "C17", "C18", "C19", "C20", "C21"),
}
NEEDED = ("hour", *(column for columns in GROUPS.values() for column in columns))
COLUMNS = ("id", "click", "hour", "C1", "banner_pos", *GROUPS["site"], *GROUPS["app"])
COLUMNS += (*GROUPS["device"], *GROUPS["ad"][2:])  # of the challenge's train.csv
HOUR = "[0-9]{8}"
FORM = "%y%m%d%H"
TIME = f"try_strptime(\"hour\", '{FORM}')"
HOURS = {
    "parts": {
        "hour": f"strftime({TIME}, '%H')",
        "weekday": f"strftime({TIME}, '%a')",
        "is_weekend": f"CASE isodow({TIME}) > 5 WHEN true THEN 'yes' WHEN false THEN 'no' END",
    },
    "timestamp": {"hour": '"hour"'},
}


class Avazu(CTRDataModule):
    """The raw `train.csv`, with its header or without: id, click, hour (YYMMDDHH, UTC), 21
    categories.

    Rules of AutoInt (Song et al. 2019, and its public code): every field is categorical and
    values rarer than 5 become unknown. The `id` is dropped: it is distinct on every row, so
    AutoInt's 23rd field never held more than its unknown value.

    Args:
        path: A file of text (plain, .gz or .zst), of Parquet or of JSON lines, a folder of files,
            a pattern such as `days/*.parquet`, or a list of these.
        hour: What becomes of the hour: `parts` makes three fields of it, hour of day, weekday and
            is_weekend; `timestamp` keeps the text as one field, as AutoInt does.
        min_count: Smallest count of a categorical value in the training split; rarer ones become
            unknown.
        header: Whether the first line of a text file names its columns, in any order; if not, they
            are the 24 of the challenge's `train.csv`, or the 23 of its `test.csv`, which has no
            click.
        shared: Options of `CTRDataModule`.
    """

    label = Digit("click")

    def __init__(
        self,
        path: str | list[str],
        hour: Literal["parts", "timestamp"] = "parts",
        min_count: int = 5,
        header: bool = True,
        **shared: Any,
    ) -> None:
        if hour not in HOURS:
            raise ZooError(f"data.hour must be one of {', '.join(HOURS)}, got {hour!r}")
        self.hour = hour
        self.header = header
        super().__init__(path, min_count=min_count, **shared)

    def table_file(self, path: Path) -> TableFile:
        """By its name; text has columns in any order, or in that of the challenge's files."""
        if not is_text(path):
            return self.reading.file(path)
        columns = _named(path) if self.header else _in_order(path)
        return PlainFile(path, ",", columns, self.header)

    def raw_fields(self) -> list[RawField]:
        """The fields of `hour`, then site, app, device and ad."""
        fields = [
            RawField(
                field,
                "categorical",
                sql,
                "time",
                "hour",
                # strptime also takes blanks, seven digits, `epoch` and `infinity`
                malformed=f"NOT regexp_full_match(\"hour\", '{HOUR}') OR {TIME} IS NULL",
                problem="hour is not of the form YYMMDDHH",
                served={
                    "read": "time",
                    "part": field if self.hour == "parts" else "text",
                    "form": FORM,
                    "digits": 8,
                },
            )
            for field, sql in HOURS[self.hour].items()
        ]
        for group, columns in GROUPS.items():
            fields += [RawField(c, "categorical", part(c, "text"), group, c) for c in columns]
        return fields

    def time(self) -> str:
        """The text of `hour` sorts as time does."""
        return '"hour"'

    def encoder_options(self) -> dict[str, Any]:
        """The options of all such data, and `hour`."""
        return {**super().encoder_options(), "hour": self.hour}

    def options(self) -> dict[str, Any]:
        """The options of all such data, and that there is no header."""
        return super().options() | ({} if self.header else {"header": False})


def _named(path: Path) -> tuple[str, ...]:
    """The columns that the first line of a file names."""
    line = first_line(path)
    require_form(path, line, ",", lambda cells: set(NEEDED) <= set(cells))
    columns = tuple(line.split(","))
    if any(re.fullmatch(HOUR, cell) for cell in columns):
        raise ZooError(
            f"{path}: its first line is a row, not a header: with data.header=false the columns "
            "are those of the challenge's files, in their order"
        )
    missing = [column for column in NEEDED if column not in columns]
    if missing:
        raise ZooError(f"{path}: its header has no column {', '.join(missing)}")
    named = [column for column in columns if column]
    if len(set(named)) < len(named):
        raise ZooError(f"{path}: its header names a column twice")
    return columns


def _in_order(path: Path) -> tuple[str, ...]:
    """The columns of a file that does not name them, by their number."""
    line = first_line(path)
    orders = {len(order): order for order in (COLUMNS, (COLUMNS[0], *COLUMNS[2:]))}
    require_form(path, line, ",", lambda cells: len(cells) in orders)
    columns = line.split(",")
    if "hour" in columns:
        raise ZooError(f"{path}: its first line is a header: leave out data.header=false")
    if len(columns) not in orders:
        raise ZooError(
            f"{path}: its first line has {len(columns)} columns, not 24 (or 23 without click): "
            "write a header that names them, and leave out data.header=false"
        )
    return orders[len(columns)]
