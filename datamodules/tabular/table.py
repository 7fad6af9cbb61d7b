"""A table of one's own, by a declaration: which columns are fields, which is the label."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from datamodules.prepared.folder import source_identity
from datamodules.tabular.declared import TableField, check_fields, time_fields, with_owners
from datamodules.tabular.files import TableFiles
from datamodules.tabular.label import Label
from datamodules.tabular.module import CTRDataModule
from datamodules.tabular.paths import Reading, files_of, paths_of
from datamodules.tabular.row_columns import row_columns
from datamodules.tabular.source import RawField, part
from datamodules.tabular.table_file import TableFile
from zoo.data.errors import ZooError

Declared = TypeVar("Declared", Label, TableField)


class Table(CTRDataModule):
    """Rows of one's own: Parquet, CSV, TSV or JSON lines, in one file or many.

    The name of a file says its format: .parquet (.pq), .csv, .tsv (.tab), .jsonl (.ndjson, .json);
    all but Parquet may be compressed (.gz, .zst). CSV and TSV have a header. Columns that are not
    declared are ignored. `python train.py describe FILE` writes a first declaration.

    Args:
        path: A file, a folder of files, a pattern such as `clicks/*.parquet`, or a list of these.
            Files of a folder or a pattern are read in the order of their names; folders such as
            `day=2024-01-05` are a column.
        label: Column of 0 and 1, or of false and true; or `column` and `positive`, such as
            `{column: rating, positive: ">= 4"}`.
        fields: The fields, in the order of the schema.
        time: Column of the time, for `time_fields` and a split by time; every row must have one.
        time_fields: Fields to be made of the time, `hour` and `weekday`.
        time_format: How a time is written: a format such as `%d/%m/%Y %H:%M`, or, of numbers since
            1970, `s`, `ms` or `us`; null is ISO 8601, UTC where it names no zone, and times of
            Parquet.
        group: Column whose values are groups of rows, such as a user: the metric `gauc` is measured
            within them, and a split by group keeps them together; a row without one is a group of
            its own.
        split: How rows are dealt to the splits: by a `hash` of their number, by `time` (training
            first, test last), or by a hash of their `group`; null takes the one that `time` or
            `group` allows, else `hash`.
        weight: Column of how much each row counts in the loss and the metrics, numbers of at least
            0; null weighs all alike.
        missing_values: Texts that mean that a value is missing.
        format: Format of files whose names do not say it.
        delimiter: Character between the columns of text; null is a comma, and a tab of TSV.
        shared: Options of `CTRDataModule`.
    """

    def __init__(
        self,
        path: str | list[str],
        label: str | Label,
        fields: list[TableField],
        time: str | None = None,
        time_fields: Sequence[Literal["hour", "weekday"]] = (),
        time_format: str | None = None,
        group: str | None = None,
        split: Literal["hash", "time", "group"] | None = None,
        weight: str | None = None,
        missing_values: Sequence[str] = ("",),
        format: Literal["parquet", "csv", "tsv", "jsonl"] | None = None,
        delimiter: str | None = None,
        **shared: Any,
    ) -> None:
        for option, given in (("time_fields", time_fields), ("missing_values", missing_values)):
            if isinstance(given, str):  # which is a sequence of its letters too
                raise ZooError(f"data.{option} must be a list of texts, got {given!r}: [{given!r}]")
        self.label = Label(label) if isinstance(label, str) else _made(Label, label, "data.label")
        self.fields = [_made(TableField, field, "data.fields") for field in fields]
        self.time_column = time
        self.time_fields = [*time_fields]
        self.group = group
        self.weight = weight
        self.reading = Reading(format, delimiter, tuple(missing_values), time_format)
        self._check()
        super().__init__(path, **shared)
        by = split or self._default_split()
        if by == "group" and not group:
            raise ZooError("data.split=group needs the column of the groups: give data.group")
        column = part(group, "text") if group else None
        self.splitting = replace(self.splitting, by=by, time=self.time(), group=column)

    def _check(self) -> None:
        self.label.check()
        for field in self.fields:
            field.check()
        if self.time_fields and not self.time_column:
            raise ZooError("data.time_fields needs the column of the time: give data.time")
        check_fields(self.raw_fields())
        for field in self.fields:
            if field.source == self.label.column:
                raise ZooError(
                    f"data.fields: the field {field.name!r} is read from the label's column "
                    f"{field.source!r}: it would tell the answer"
                )

    def _default_split(self) -> Literal["hash", "time", "group"]:
        if self.time_column and self.group:
            raise ZooError(
                "data.time and data.group both say how rows may be split: choose by data.split "
                "(time, group or hash)"
            )
        return "time" if self.time_column else "group" if self.group else "hash"

    # What a dataset defines

    counts_copies = True

    def table_file(self, path: Path) -> TableFile:
        """A file of any format."""
        return self.reading.file(path)

    def training_file(self) -> TableFiles:
        """All files, with label, time, group and weight."""
        files = files_of(self.path, self.table_file)
        return self.rows_of(files, self.label, self.time_column, self.group, self.weight)

    def raw_fields(self) -> list[RawField]:
        """The declared fields, each followed by its indicator, then those of the time."""
        declared = [raw for field in with_owners(self.fields) for raw in field.raw_fields()]
        return [*declared, *time_fields(self.time_column or "", self.time_fields)]

    def time(self) -> str | None:
        """The time, where it is declared."""
        return part(self.time_column, "time") if self.time_column else None

    def row_columns(self) -> dict[str, str]:
        """The weight and the group, where they are declared."""
        return row_columns(self.weight, self.group)

    def encoder_options(self) -> dict[str, Any]:
        """The declaration of the fields."""
        options = {
            **super().encoder_options(),
            "fields": [field.plain() for field in self.fields],
            "missing_values": [*self.reading.missing_values],
        }
        if self.time_fields:
            options |= {"time": self.time_column, "time_fields": self.time_fields}
        return options

    def options(self) -> dict[str, Any]:
        """The declaration, and how files are read."""
        return {
            **super().options(),
            "label": asdict(self.label),
            "time": self.time_column,
            "time_format": self.reading.time_format,
            "group": self.group,
            "weight": self.weight,
            "format": self.reading.format,
            "delimiter": self.reading.delimiter,
        }

    def source(self) -> dict[str, Any]:
        """All files."""
        return {"files": [source_identity(path) for path in paths_of(self.path)]}

    def notes(self, file: TableFiles) -> dict[str, int]:
        """The columns that are not declared."""
        unread = file.unread
        if not unread:
            return {}
        are, were = ("column is", "was") if len(unread) == 1 else ("columns are", "were")
        return {f"{are} not declared and {were} ignored: {', '.join(unread)}": len(unread)}


def _made(declared: type[Declared], given: Any, option: str) -> Declared:
    """What a mapping declares, or an object that declares it."""
    if isinstance(given, declared):
        return given
    if not isinstance(given, Mapping):
        name = type(given).__name__
        raise ZooError(f"{option}: {given!r} is an {name}, not a mapping or a {declared.__name__}")
    try:
        return declared(**given)
    except TypeError as error:
        raise ZooError(f"{option}: {error}") from error
