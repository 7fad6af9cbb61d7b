"""A first declaration of a table: what its columns hold, and what a user would make of them."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from datamodules.prepared.engine import Engine, sql_literal
from datamodules.tabular.columns import Column, ListColumn, columns_of
from datamodules.tabular.declared import RESERVED, TIMES
from datamodules.tabular.files import TableFiles
from datamodules.tabular.formats import Format
from datamodules.tabular.label import YES
from datamodules.tabular.paths import Reading, files_of
from zoo.data.errors import ZooError
from zoo.data.schema import JOINER

LABELS = ("label", "click", "clicked", "target", "y", "is_click", "conversion", "converted")
RATINGS = ("rating", "ratings", "score", "stars")
USERS = ("user", "user_id", "userid", "customer", "customer_id", "household_id", "session_id")
ID = re.compile(r"(.*[_ ])?(id|code|zip|zipcode)|.*Id", re.DOTALL)
WORD = re.compile(r"[A-Za-z_]\w*")
YAML_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "none"}
FEW = 20  # whole numbers are categories
MANY = 100_000  # values are hashed
EXACT = 2**53  # up to which a double holds each whole number
BUCKETS = 100_000
LONGEST = 50  # values of a list that are kept
NUMBERS = " # transform of numbers: none, log, standardise, or quantile (bins of them)"
MODELS = "zoo.WideDeep, zoo.DCN, zoo.xDeepFM, zoo.AutoInt, zoo.FiBiNET, zoo.InterHAt"


def describe(
    path: str | Sequence[str],
    label: str | None = None,
    format: Format | None = None,
    delimiter: str | None = None,
) -> str:
    """A config of a model and a `datamodules.Table`, with a comment beside each choice.

    Args:
        path: A file, a folder, a pattern, or a list of these.
        label: Column of the label; None looks for one.
        format: Format of files whose names do not say it.
        delimiter: Character between the columns of text.

    Raises:
        ZooError: where the files cannot be read, or have no such column.
    """
    reading = Reading(format, delimiter)
    with TemporaryDirectory() as folder, Engine(Path(folder) / "work", "1GB") as engine:
        files = TableFiles(files_of(path, reading.file), {}, reading)
        columns = columns_of(engine, files)
        answer = _label(engine, columns, label)
    time = next((c for c in columns if c.is_time and c.name != answer[0]), None)
    taken = {answer[0], time.name if time else None}
    fields, left_out = _fields([column for column in columns if column.name not in taken])
    if not fields:
        raise ZooError(f"{path} has no column that could be a field")
    described = {column.name for column in columns}
    nameless = [name for name in files.columns if name not in described]
    paths = [path] if isinstance(path, str) else [*path]
    options: dict[str, Any] = {"path": path if isinstance(path, str) else paths}
    options |= {"format": format, "delimiter": delimiter}
    lines = [
        f"# What `describe` made of {columns[0].rows:,} rows: read it, change it, then run",
        "#   python train.py fit --config THIS_FILE",
        f"name: {_name(paths[0])}",
        "model:",
        f"  class_path: zoo.DeepFM # or {MODELS}",
        "data:",
        "  class_path: datamodules.Table",
        "  init_args:",
        *(f"    {key}: {json.dumps(value)}" for key, value in options.items() if value),
        f"    label: {answer[1]}",
        *_time(time),
        *_group(columns),
        f"    fields:{NUMBERS if any('kind: numerical' in line for line in fields) else ''}",
        *fields,
        *(f"      # {_word(name)} is left out: it has no name of its own" for name in nameless),
        *left_out,
        "early_stopping:",
        "  patience: 2 # validations without progress",
        "trainer:",
        "  max_epochs: 20",
    ]
    return "\n".join(lines) + "\n"


def _fields(columns: Sequence[Column]) -> tuple[list[str], list[str]]:
    """The lines of the columns that become fields, and of those that are left out."""
    fields, left_out = [], []
    for column in columns:
        declaration, comment = _field(column)
        if declaration:
            entries = ", ".join(f"{key}: {value}" for key, value in declaration.items())
            fields.append(f"      - {{{entries}}} # {comment}")
        else:
            left_out.append(f"      # {_word(column.name)} is left out: {comment}")
    return fields, left_out


def _label(engine: Engine, columns: Sequence[Column], wanted: str | None) -> tuple[str | None, str]:
    """The column of the label, and what is written of it."""
    named = {column.name: column for column in columns}
    if wanted is not None:
        if wanted not in named:
            raise ZooError(f"there is no column {wanted!r} (--label): there are {', '.join(named)}")
        return wanted, _rule(engine, columns, named[wanted])
    possible = [column for column in columns if column.is_label]
    likely = [column for column in possible if column.name.lower() in LABELS] or possible
    if len(likely) != 1:
        likely = [c for c in columns if c.name.lower() in RATINGS and c.is_numerical] or likely
    if len(likely) == 1:
        return likely[0].name, _rule(engine, columns, likely[0])
    several = ", ".join(column.name for column in possible)
    of = f"of {several}, which" if several else "no column holds 0 and 1 alone:"
    return None, f'COLUMN # {of} is it? A name, or {{column: rating, positive: ">= 4"}}'


def _rule(engine: Engine, columns: Sequence[Column], column: Column) -> str:
    name, text = _word(column.name), f"text{columns.index(column)}"
    if column.is_label:
        yes = ", ".join(map(sql_literal, YES))
        ((share,),) = engine.run(f"SELECT avg((lower({text}) IN ({yes}))::INTEGER) FROM described")
        return f"{name} # {share:.1%} are positive"
    if column.is_numerical:
        low, median, high = column.low or 0, column.median or 0, column.high or 0
        rule = f">= {_number(median if median > low else high)}"
        comment = f"{_number(low)} to {_number(high)}: say from which number on a row is positive"
    else:
        found = engine.run(
            f"SELECT {text} FROM described WHERE {text} IS NOT NULL GROUP BY 1 "
            "ORDER BY count(*), 1 LIMIT 1"
        )
        if not found:
            raise ZooError(f"the column {column.name!r} (--label) holds no values")
        rule, comment = f"= {found[0][0]}", "say which value is positive"
    return f"{{column: {name}, positive: {json.dumps(rule)}}} # {comment}{column.missing}"


def _time(column: Column | None) -> list[str]:
    if column is None:
        return []
    by_time = column.distinct >= 10
    why = "the latest rows are tested on; or hash" if by_time else "it has few distinct times"
    return [
        f"    time: {_word(column.name)}",
        *([f"    time_format: {column.unit}"] if column.unit else []),
        "    time_fields: [hour, weekday]",
        f"    split: {'time' if by_time else 'hash'} # {why}",
    ]


def _group(columns: Sequence[Column]) -> list[str]:
    user = next((column.name for column in columns if column.name.lower() in USERS), None)
    if user is None:
        return []
    why = "gauc is the AUC within one; with split: group, one is in one split"
    return [f"    # group: {_word(user)} # {why}"]


def _field(column: Column) -> tuple[dict[str, str], str]:
    """The declaration of a field, empty where it is left out, and why it is so."""
    if column.nested:
        return {}, "objects or bytes, which no field reads"
    if not column.given:
        return {}, "all values are missing"
    if column.distinct == 1 and column.given == column.rows:
        return {}, "all values are the same"
    name = {"name": _word(column.name)}
    if column.name.lower() in (*RESERVED, *TIMES) or JOINER in column.name:
        other = column.name.replace(JOINER, " by ")
        name = {"name": _word(f"{other}_value"), "column": _word(column.name)}
    if column.lists:
        return name | _multi(column.lists), _listed(column.lists) + column.missing
    is_id = _is_id(column)
    few = column.whole == column.given and column.distinct <= FEW
    if column.is_numerical and not is_id and not few:
        return name | _numerical(column), _range(column)
    if column.given > FEW and column.distinct > column.given / 2:
        return {}, f"{column.distinct:,} distinct values in {column.given:,}, which nothing repeats"
    if column.kind in ("time", "zoned") or column.times == column.given:
        return {}, "a time, of which data.time takes one"
    return name | _categorical(column), _values(column)


def _is_id(column: Column) -> bool:
    """Whether its values are names of something, by its own name, or as no double holds them."""
    named = ID.fullmatch(column.name) or column.name.lower() in USERS
    largest = max(abs(column.low or 0), abs(column.high or 0))
    is_whole = column.kind != "float" and column.whole == column.given
    return bool(named) or (is_whole and largest > EXACT)


def _numerical(column: Column) -> dict[str, str]:
    low, median, high = column.low or 0, column.median or 0, column.high or 0
    is_skewed = low >= 0 and high > 20 * max(median, 1)
    found = {"kind": "numerical", "transform": "log" if is_skewed else "standardise"}
    return found if column.given == column.rows else found | {"missing_indicator": "true"}


def _categorical(column: Column) -> dict[str, str]:
    return {"kind": "categorical"} | _frequent(column.distinct)


def _frequent(distinct: int) -> dict[str, str]:
    """Which of the values have an id."""
    if distinct > MANY:
        return {"buckets": str(BUCKETS)}
    if distinct > 100:
        return {"min_count": "5" if distinct > 1000 else "2"}
    return {}


def _multi(lists: ListColumn) -> dict[str, str]:
    found = {"kind": "multi"}
    if lists.separator:
        found["separator"] = json.dumps(lists.separator)
    if lists.longest > LONGEST:
        found["max_length"] = str(LONGEST)
    return found | _frequent(lists.distinct)


def _listed(lists: ListColumn) -> str:
    order = "; kind: sequence keeps the last ones" if lists.longest > LONGEST else ""
    return f"lists of up to {lists.longest:,} of {lists.distinct:,} values{order}"


def _range(column: Column) -> str:
    low, median, high = (_number(x or 0) for x in (column.low, column.median, column.high))
    return f"{low} to {high}, half of them up to {median}{column.missing}"


def _values(column: Column) -> str:
    whole = column.is_numerical and not _is_id(column)
    kind = " whole numbers; kind: numerical keeps their order" if whole else " values"
    return f"{column.distinct:,}{kind}{column.missing}"


def _number(value: float) -> str:
    return f"{value:.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:.4g}"


def _name(path: str) -> str:
    stem = re.sub(r"\W+", "_", Path(path).name.partition(".")[0]).strip("_")
    return _word(stem or "table")


def _word(text: str) -> str:
    """Text as YAML, also inside of a list."""
    is_plain = WORD.fullmatch(text) and text.isascii() and text.lower() not in YAML_WORDS
    return text if is_plain else json.dumps(text)
