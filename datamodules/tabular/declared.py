"""The fields that a user declares of a table, and how they are read as SQL.

These expressions name parts of columns; see `datamodules.tabular.source.part`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from datamodules.prepared.engine import sql_literal
from datamodules.tabular.source import RawField, part
from zoo.data.errors import ZooError
from zoo.data.schema import JOINER, LISTS, Kind

RESERVED = ("label", "split", "problem", "row", "rowid")  # columns of the table of all rows
TRANSFORMS = {
    **{"none": "{0}", "standardise": "{0}", "quantile": "try_cast({0} AS FLOAT)"},
    "log": "sign({0}) * ln(1 + abs({0}))",
}
BINS = 20  # of a number, where their number is not given
TIMES = {"hour": "strftime({0}, '%H')", "weekday": "strftime({0}, '%a')"}
LARGEST = "3.4e38"  # a float32
OF_IDS = ("min_count", "max_size", "buckets", "vocabulary")
OPTIONS = {  # of each kind, those that not all have
    "numerical": ("transform", "bins", "missing_indicator"),
    "categorical": OF_IDS,
    **dict.fromkeys(LISTS, (*OF_IDS, "separator", "max_length")),
}
# options of fields that the first encoders do not name
ADDED = ("bins", "separator", "max_length", "vocabulary")


@dataclass(frozen=True)
class TableField:
    """A field of a table, as it is declared.

    Args:
        name: Name of the field.
        kind: `numerical`; `categorical`; `multi`, any number of values, such as genres; `sequence`,
            the same in the order of time, oldest first, such as a history.
        column: Column that it is read from; null is that of its name.
        group: What it describes, such as user or item; fields of one group belong together.
        transform: What becomes of a number x: `none`; `log`, sign(x) ln(1 + |x|); `standardise`,
            (x - mean) / deviation, both of the training rows; `quantile`, the bin of x among those
            that hold about equally many training rows: a categorical field, in which missing has
            an id of its own. In the others a missing number is 0 in the end.
        bins: Largest number of bins of `transform: quantile`; null is 20.
        missing_indicator: Whether one more numerical field, `<name> missing`, is 1 where the number
            is missing and else 0.
        min_count: Smallest count of a value in the training rows; rarer ones become unknown. Null
            takes that of the table.
        max_size: Largest number of values that have an id, the most frequent ones; null is any.
        buckets: Number of buckets that values are hashed into, for ids without end; null keeps the
            values themselves.
        separator: Text between the values of a list that is written as text, such as `|`; null of
            columns that hold lists.
        max_length: Largest number of values of a list that are kept: the first ones of `multi`, the
            last ones of `sequence`; null keeps all.
        vocabulary: Name of the field whose ids, and embeddings, these values have too, such as
            `item` of a history of items.
    """

    name: str
    kind: Kind
    column: str | None = None
    group: str = ""
    transform: Literal["none", "log", "standardise", "quantile"] = "none"
    bins: int | None = None
    missing_indicator: bool = False
    min_count: int | None = None
    max_size: int | None = None
    buckets: int | None = None
    separator: str | None = None
    max_length: int | None = None
    vocabulary: str | None = None

    @property
    def source(self) -> str:
        """The column that it is read from."""
        return self.column or self.name

    def check(self) -> None:
        """Raises `ZooError` where the declaration contradicts itself."""
        where = f"data.fields: the field {self.name!r}"
        if not self.name:
            raise ZooError("data.fields: a field has an empty name")
        if self.kind not in OPTIONS:
            raise ZooError(f"{where} has the kind {self.kind!r}: it must be {_either(OPTIONS)}")
        if self.transform not in TRANSFORMS:
            raise ZooError(f"{where}: transform must be one of {', '.join(TRANSFORMS)}")
        for option in (o for options in OPTIONS.values() for o in options):
            given = getattr(self, option) not in (None, False, "none")
            if given and option not in OPTIONS[self.kind]:
                raise ZooError(f"{where} is {self.kind}, which has no {option}: leave it out")
        if self.kind == "numerical":
            self._check_bins(where)
        for option in ("min_count", "max_size", "buckets", "max_length"):
            value = getattr(self, option)
            if value is not None and value < 1:
                raise ZooError(f"{where}: {option} must be at least 1, got {value}")
        if self.buckets and self.max_size:
            raise ZooError(f"{where}: give buckets or max_size, not both")
        if self.separator == "":
            raise ZooError(f"{where}: separator is empty: give the text between two values")

    def _check_bins(self, where: str) -> None:
        is_binned = self.transform == "quantile"
        if self.bins is not None and not is_binned:
            raise ZooError(f"{where}: bins are those of transform: quantile: give both")
        if self.bins is not None and self.bins < 2:
            raise ZooError(f"{where}: bins must be at least 2, got {self.bins}")
        if is_binned and self.missing_indicator:
            raise ZooError(
                f"{where}: of its quantile bins missing is one already: leave missing_indicator out"
            )

    def plain(self) -> dict[str, Any]:
        """As encoders hold it: without what is not given and was no option at first."""
        given = asdict(self)
        return {k: v for k, v in given.items() if v is not None or k not in ADDED}

    def raw_fields(self) -> list[RawField]:
        """How it is read, and its indicator."""
        if self.kind != "numerical":
            return [self._of_ids()]
        number = part(self.source, "number")
        given = part(self.source, "given")
        # where it is too large for a float32 too
        malformed = f"{given} AND NOT coalesce(abs({number}) <= {LARGEST}, false)"
        sql = TRANSFORMS[self.transform].format(number)
        problem = f"{self.source} is not a number"
        scaled = self.transform == "standardise"
        read = self.group, self.source, "number"
        served = {"read": "number", "transform": "log" if self.transform == "log" else "none"}
        made = RawField(
            self.name, "numerical", sql, *read, malformed, problem, scaled, served=served
        )
        if self.transform == "quantile":
            return [replace(made, kind="categorical", bins=self.bins or BINS)]
        if not self.missing_indicator:
            return [made]
        missing = f"(NOT {given})::FLOAT"
        served = {"read": "number", "transform": "is_missing"}
        indicator = RawField(f"{self.name} missing", "numerical", missing, *read, served=served)
        return [made, indicator]

    def _of_ids(self) -> RawField:
        is_list = self.kind in LISTS
        value = _value_list(self) if is_list else _bucketed(part(self.source, "text"), self.buckets)
        problem = f"{self.source} is a list or an object, not one value"
        malformed = part(self.source, "nested")
        if is_list:
            listed = part(self.source, "list")
            problem = f"{self.source} is not a list of values"
            of_text = f"{part(self.source, 'nested')} AND " if self.separator else ""
            malformed = f"{of_text}{part(self.source, 'given')} AND {listed} IS NULL"
        return RawField(
            self.name,
            self.kind,
            value,
            self.group,
            self.source,
            "split" if self.separator else "list" if is_list else "text",
            malformed,
            problem,
            min_count=self.min_count,
            max_size=self.max_size,
            vocabulary=self.vocabulary or "",
            served={
                "read": "list" if is_list else "text",
                "buckets": self.buckets,
                "separator": self.separator,
                "kept": _kept(self),
            },
        )


def _value_list(field: TableField) -> str:
    """The values of a list, as SQL; missing ones are left out."""
    found = part(field.source, "list")
    if field.separator:
        split = f"string_split({part(field.source, 'text')}, {sql_literal(field.separator)})"
        texts = f"list_filter(list_transform({split}, lambda x: trim(x)), lambda x: x <> '')"
        found = f"coalesce({found}, {texts})"
    if field.max_length:
        first, last = ("" if end is None else end for end in _kept(field))
        found = f"({found})[{first}:{last}]"
    if field.buckets:
        found = f"list_transform({found}, lambda x: {_bucketed('x', field.buckets)})"
    return found


def _kept(field: TableField) -> tuple[int | None, int | None]:
    """The slice of the values of a list that is kept."""
    if field.kind == "sequence" and field.max_length:
        return -field.max_length, None
    return None, field.max_length


def _bucketed(text: str, buckets: int | None) -> str:
    # not DuckDB's own hash, which another version may change
    return f"'bucket ' || (md5_number_lower({text}) % {buckets})" if buckets else text


def _either(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}"


def with_owners(fields: Sequence[TableField]) -> list[TableField]:
    """The fields, of which those that share a vocabulary are read as its owner is.

    Raises:
        ZooError: where a field names no field, or one that has no vocabulary of its own.
    """
    named = {field.name: field for field in fields}
    found = []
    for field in fields:
        owner = named.get(field.vocabulary or field.name)
        where = f"data.fields: the field {field.name!r} has the vocabulary of {field.vocabulary!r}"
        if owner is None:
            raise ZooError(f"{where}, which is no field: there are {', '.join(named)}")
        if owner is not field and (owner.kind == "numerical" or owner.vocabulary):
            raise ZooError(f"{where}, which has none of its own: name a field of ids that has")
        if field.vocabulary and (field.min_count or field.max_size or field.buckets):
            raise ZooError(
                f"{where}: min_count, max_size and buckets are those of {field.vocabulary!r}: "
                "leave them out"
            )
        found.append(replace(field, buckets=owner.buckets))
    return found


def time_fields(column: str, wanted: Sequence[str]) -> list[RawField]:
    """Fields of a time: its hour, `00` to `23`, and its weekday, `Mon` to `Sun`."""
    time = part(column, "time")
    return [
        RawField(
            name,
            "categorical",
            TIMES[name].format(time),
            "time",
            column,
            "time",
            served={"read": "time", "part": name},
        )
        for name in wanted
    ]


def check_fields(fields: Sequence[RawField]) -> None:
    """Raises `ZooError` where fields cannot stand beside each other."""
    names = [field.name for field in fields]
    if not names:
        raise ZooError("data.fields names no field: a model needs one at least")
    lower = [name.lower() for name in names]  # DuckDB tells no capitals apart
    for name in names:
        if lower.count(name.lower()) > 1:
            raise ZooError(f"data.fields: two fields are named {name!r}: give one another name")
        if name.lower() in RESERVED:
            raise ZooError(
                f"data.fields: no field can be named {name!r}: give it another name, and column: "
                f"{name}"
            )
        if JOINER in name:
            raise ZooError(f"data.fields: the name {name!r} holds {JOINER!r}, as crosses alone do")
