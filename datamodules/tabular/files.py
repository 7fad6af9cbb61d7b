"""Many files as one table: what they must hold, and their rows in order."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from pathlib import Path

import duckdb
import pyarrow as pa

from datamodules.prepared.engine import Engine, sql_identifier, sql_literal
from datamodules.tabular.declared import LARGEST
from datamodules.tabular.file_checks import NUMBERS, check_files, kinds_of
from datamodules.tabular.label import Label
from datamodules.tabular.paths import UNITS, Reading, partition_of
from datamodules.tabular.source import RawField, part
from datamodules.tabular.table_file import Kind, TableFile, nested
from zoo.data.errors import ZooError
from zoo.data.schema import LISTS

LATEST = 250_000_000_000_000_000  # microseconds: a year that a time can have


class TableFiles:
    """The files of a table, as a source of rows.

    Args:
        files: The files, in order.
        uses: The columns that are needed: of each `number`, `text`, `label`, `time`, `list` or
            `split` (of text or a list), which is what is read of it, and in whose name, for
            messages.
        reading: How they are read.
        label: The label, if the files need have one.
        time: Column of a time that every row needs, if there is one.
        weight: Column of a weight that every row needs, if there is one.

    Attributes:
        carried: Columns that predictions carry along.
        problems: What is wrong with the rows that could not be read, by number, once they are read.
        is_part: Whether there are other files beside these.
    """

    is_part = False

    def __init__(
        self,
        files: Sequence[TableFile],
        uses: Mapping[str, Mapping[str, str]],
        reading: Reading,
        label: Label | None = None,
        time: str | None = None,
        weight: str | None = None,
    ) -> None:
        self.files = files
        self.uses = uses
        self.reading = reading
        self.declared = label
        self.time = time
        self.weight = weight
        self.carried: Sequence[str] = ()
        self.starts: list[int] = []
        self.problems: dict[int, str] = {}

    def singly(self) -> "list[TableFiles]":
        """Each file as a table by itself."""
        found = []
        for file in self.files:
            part = copy(self)
            part.files, part.starts, part.problems = [file], [], {}
            part.is_part = True
            found.append(part)
        return found

    @property
    def path(self) -> Path:
        """The first file."""
        return self.files[0].path

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of the first file, and of its partition."""
        return tuple(self.kinds(self.files[0]))

    @property
    def label(self) -> str | None:
        """Column of the label."""
        return self.declared.column if self.declared else None

    @property
    def unread(self) -> list[str]:
        """The columns of the first file that nothing reads."""
        return [column for column in self.columns if column not in self.uses]

    def place(self, row: int) -> tuple[Path, int]:
        """The file and the line of a row; as if no value held a line break."""
        number = bisect_right(self.starts, row) - 1
        file = self.files[number]
        return file.path, row - self.starts[number] + 1 + file.header

    def batches(
        self, engine: Engine, fields: list[RawField], extra: dict[str, str]
    ) -> Iterator[pa.Table]:
        """The rows of all files: label, fields, `extra` columns, problem.

        The label is NaN where the files have none or one that cannot be used; only where they
        have a label column is such a row malformed.
        """
        self.check()
        engine.run("SET TimeZone = 'UTC'")
        total, single = 0, len(self.files) == 1
        names = ["label", *(field.name for field in fields), *extra, "problem"]
        named = f"read {self.path.name}"
        files = self.files if single else engine.progress.track(self.files, description=named)
        for file in files:
            self.starts.append(total)
            statement = self._statement(engine, file, fields, extra)
            aside = {field.name: field.column for field in fields if field.column in file.aside}
            count = 0
            with reading(file.path):
                for batch in engine.batches(statement, named if single else None, file.share):
                    count += len(batch)
                    rows = {name: batch[name] for name in batch.schema.names}
                    if aside:
                        texts = file.passed_by(len(batch))
                        rows |= {name: texts[column] for name, column in aside.items()}
                    yield pa.table({name: rows[name] for name in names})
            if not count + len(file.problems):
                advice = ": leave it out" if self.is_part or not single else ""
                raise ZooError(f"{file.path} is empty: it holds no rows{advice}")
            self.problems |= {total + row: problem for row, problem in file.problems.items()}
            total += count + len(file.problems)

    def check(self) -> None:
        """Raises `ZooError` where a file lacks a column, or has one of another type."""
        check_files(self.files, self.uses, is_unit=self.reading.time_format in UNITS)

    def kinds(self, file: TableFile) -> dict[str, Kind]:
        """The columns of a file, and what they hold."""
        return kinds_of(file)

    # How they are read

    def _statement(
        self, engine: Engine, file: TableFile, fields: list[RawField], extra: dict[str, str]
    ) -> str:
        file.aside = self._aside(file, fields)
        fields = [field for field in fields if field.column not in file.aside]
        wanted = [*dict.fromkeys([*self.uses, *self.carried])]
        wanted = [column for column in wanted if column not in file.aside]
        label = self.declared.sql if self.declared else "NULL"
        values = [f"coalesce(({label})::FLOAT, 'nan'::FLOAT) AS label"]
        # a number too large is a problem of its row
        values += [f"try_cast({f.sql} AS {_type(f)}) AS {sql_identifier(f.name)}" for f in fields]
        values += [f"{sql} AS {sql_identifier(column)}" for column, sql in extra.items()]
        values.append(f"{self._problem(fields)} AS problem")
        return f"SELECT {', '.join(values)} FROM ({self.parts(engine, file, wanted)})"

    def _aside(self, file: TableFile, fields: list[RawField]) -> list[str]:
        """The columns that fields take as they are, and nothing else reads."""
        if not file.can_pass:
            return []
        changed = {field.column for field in fields if not field.is_as_it_is}
        named = {
            column
            for column, uses in self.uses.items()
            if any(name.startswith("data.") for name in uses.values())
        }
        taken = dict.fromkeys(field.column for field in fields)
        return [c for c in taken if c not in {*changed, *named, *self.carried}]

    def _problem(self, fields: list[RawField]) -> str:
        found = self.declared.problems if self.declared else []
        if self.time:
            given, name = part(self.time, "given"), f"its time ({self.time})"
            how = self.reading.time_format or "YYYY-MM-DD HH:MM:SS"
            found = [*found, (f"NOT {given}", f"{name} is missing")]
            wrong = f"{name} is not of the form {how} (data.time_format)"
            found.append((f"{part(self.time, 'time')} IS NULL", wrong))
        if self.weight:
            given, name = part(self.weight, "given"), f"its weight ({self.weight})"
            number = part(self.weight, "number")  # NaN is more than any other for DuckDB
            sound = f"coalesce({number} >= 0 AND {number} <= {LARGEST}, false)"
            found = [*found, (f"NOT {given}", f"{name} is missing")]
            found.append((f"NOT {sound}", f"{name} is not a number of at least 0"))
        found = [*found, *((f.malformed, f.problem) for f in fields if f.problem)]
        cases = " ".join(f"WHEN {wrong} THEN {sql_literal(said)}" for wrong, said in found)
        return f"CASE WHEN problem IS NOT NULL THEN problem {cases} END::VARCHAR"

    def parts(self, engine: Engine, file: TableFile, columns: Sequence[str]) -> str:
        """A relation of all parts of the columns; see `datamodules.tabular.declared`."""
        partition = partition_of(file.path)
        own = [column for column in columns if column in file.kinds]
        inner = [f"{sql_identifier(c)}, {nested(c)}" for c in own]
        for column in columns:
            if column not in own:
                value = partition[column]
                literal = "NULL" if value is None else sql_literal(value)
                inner.append(f"{literal}::VARCHAR AS {sql_identifier(column)}")
                inner.append(f"false AS {nested(column)}")
        relation = file.relation(engine, own)
        middle, outer = [], []
        kinds = self.kinds(file)
        for column in columns:
            name, kind = sql_identifier(column), kinds[column]
            value = name
            if kind in ("list", "nested", "other"):
                value = f"{name}::VARCHAR"
            if kind in ("text", "null", "list"):  # JSON has texts among lists
                missing = ", ".join(map(sql_literal, self.reading.missing_values))
                value = f"{name}::VARCHAR"
                if missing:
                    value = f"CASE WHEN {value} IN ({missing}) THEN NULL ELSE {value} END"
            listed = part(column, "list")
            middle.append(f"{value} AS {name}, {nested(column)}")
            if {"list", "split"} & set(self.uses.get(column, ())):
                middle.append(f"{self._listed(file, column)} AS {listed}")
                outer.append(listed)
            outer += [
                f"{name}::VARCHAR AS {name}",
                f"{name} IS NOT NULL AS {part(column, 'given')}",
                f"{nested(column)} AS {part(column, 'nested')}",
                f"{_number(file, name, kind)} AS {part(column, 'number')}",
                f"{self._time(file, name, kind)} AS {part(column, 'time')}",
            ]
        further = ["problem", *file.further]
        inner_sql = f"SELECT {', '.join([*inner, *further])} FROM ({relation})"
        middle_sql = f"SELECT {', '.join([*middle, *further])} FROM ({inner_sql})"
        return f"SELECT {', '.join([*outer, 'problem'])} FROM ({middle_sql})"

    def _listed(self, file: TableFile, column: str) -> str:
        """The list in a column, without missing values."""
        found = file.list_of(column) if column in file.kinds else "NULL::VARCHAR[]"
        missing = ", ".join(map(sql_literal, self.reading.missing_values))
        given = f"x IS NOT NULL AND x NOT IN ({missing})" if missing else "x IS NOT NULL"
        return f"list_filter({found}, lambda x: {given})"

    def _time(self, file: TableFile, name: str, kind: Kind) -> str:
        how = self.reading.time_format
        if kind == "zoned":
            return f"{name}::TIMESTAMPTZ::TIMESTAMP"  # the engine's zone is UTC
        if kind == "time":
            return f"{name}::TIMESTAMP"
        if kind == "boolean":
            return "NULL::TIMESTAMP"
        if how in UNITS:
            micros = f"{_number(file, name, kind)} * {UNITS[how]}"
            in_time = f"abs({micros}) <= {LATEST}"
            return f"CASE WHEN {in_time} THEN make_timestamp(({micros})::BIGINT) END"
        if kind in NUMBERS:
            return "NULL::TIMESTAMP"
        if how:
            return f"try_strptime({name}, {sql_literal(how)})::TIMESTAMP"
        # what is no date is a time for DuckDB too: epoch, infinity
        iso = f"try_cast({name} AS TIMESTAMPTZ)::TIMESTAMP"
        return f"CASE WHEN {name} LIKE '____-__-__%' THEN {iso} END"


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """A block in which DuckDB reads a file; what is wrong with that becomes a `ZooError`."""
    try:
        yield
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ZooError(f"{path} cannot be read: {reason}") from error


def _number(file: TableFile, name: str, kind: Kind) -> str:
    if kind in NUMBERS:
        return f"{name}::DOUBLE"
    return file.number(name) if kind in ("text", "null") else "NULL::DOUBLE"


def _type(field: RawField) -> str:
    """What the values of a field are while they are not encoded; statistics need a double."""
    if field.is_text:
        return "VARCHAR[]" if field.kind in LISTS else "VARCHAR"
    return "DOUBLE" if field.standardised else "FLOAT"
