"""What a model must know of its data: its ordered fields."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal, get_type_hints

from zoo.data.errors import ZooError
from zoo.data.plain import check_kinds, fits

UNKNOWN, MISSING = 0, 1  # the first two ids of every categorical field
SCHEMA_FORMAT = 1  # of schemas that older code reads too
LISTS_FORMAT = 2  # of those with lists or shared vocabularies, which it cannot read
CROSS = "cross"  # the group of the cross fields
JOINER = " x "  # between the members in the name of a cross field
Kind = Literal["numerical", "categorical", "multi", "sequence"]
LISTS = ("multi", "sequence")  # the kinds whose values are lists of ids
SKIP = "skip_2"  # the field of past tracks that the labels of sessions are of, 0 or 1


@dataclass(frozen=True)
class Field:
    """One input of a model.

    Args:
        name: Name of the field, unique within a schema.
        kind: Kind of its values: `numerical`; `categorical`, one id; `multi`, any number of ids in
            no order; `sequence`, any number of ids in the order of time.
        cardinality: Number of ids, unknown and missing included; 0 of a numerical field.
        group: What the field describes (user, item, time, ...); fields of one group belong
            together.
        past_only: Whether it is unknown of the events that are to be predicted; of sessions alone.
        vocabulary: Name of the field whose ids these are too, so that both share embeddings; empty
            where the ids are the field's own.
    """

    name: str
    kind: Kind
    cardinality: int = 0
    group: str = ""
    past_only: bool = False
    vocabulary: str = ""

    def __post_init__(self) -> None:
        if not all(isinstance(x, str) for x in (self.name, self.group, self.vocabulary)):
            raise ZooError(f"field {self.name!r}: name, group and vocabulary must be text")
        if self.kind not in ("numerical", "categorical", *LISTS):
            kinds = f"numerical, categorical, {' or '.join(LISTS)}"
            raise ZooError(f"field {self.name}: kind must be {kinds}")
        if self.has_ids and self.cardinality < 2:
            raise ZooError(
                f"field {self.name}: a {self.kind} field has a cardinality of at least 2 "
                f"(unknown and missing), got {self.cardinality}"
            )

    @property
    def has_ids(self) -> bool:
        """Whether its values are ids, one or a list of them."""
        return self.kind != "numerical"


@dataclass(frozen=True)
class Schema:
    """The ordered fields of a dataset. Plain data: `from_dict(schema.to_dict()) == schema`."""

    fields: tuple[Field, ...]

    def __post_init__(self) -> None:
        names = [field.name for field in self.fields]
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated or not names:
            raise ZooError(f"a schema needs distinct fields, got {repeated or 'none'}")
        owners = {field.name: field for field in self.fields if not field.vocabulary}
        for field in self.fields:
            owner = owners.get(field.vocabulary or field.name)
            if owner is None or owner.cardinality != field.cardinality:
                raise ZooError(
                    f"field {field.name}: its vocabulary {field.vocabulary!r} must be that of a "
                    "field of its own, of the same cardinality"
                )

    @cached_property
    def numerical(self) -> tuple[Field, ...]:
        """The columns of `Batch.numerical`."""
        return tuple(field for field in self.fields if field.kind == "numerical")

    @cached_property
    def categorical(self) -> tuple[Field, ...]:
        """The columns of `Batch.categorical`."""
        return tuple(field for field in self.fields if field.kind == "categorical")

    @cached_property
    def lists(self) -> tuple[Field, ...]:
        """The columns of `Batch.lists`."""
        return tuple(field for field in self.fields if field.kind in LISTS)

    @cached_property
    def first_rows(self) -> dict[str, int]:
        """Where the ids of each field begin in one table of the ids of all fields.

        The vocabularies of the categorical fields come first, then those of lists, in the order of
        the schema; fields that share a vocabulary share its rows.
        """
        found, rows = {}, 0
        for field in (*self.categorical, *self.lists):
            if not field.vocabulary:
                found[field.name], rows = rows, rows + field.cardinality
        return {f.name: found[f.vocabulary or f.name] for f in (*self.categorical, *self.lists)}

    @property
    def table_rows(self) -> int:
        """Number of rows of that table."""
        return sum(field.cardinality for field in self.fields if not field.vocabulary)

    @cached_property
    def future(self) -> tuple[Field, ...]:
        """The columns of `SessionBatch.future`."""
        return tuple(field for field in self.numerical if not field.past_only)

    def embedded(self, embed_numerical: bool) -> tuple[Field, ...]:
        """The fields that have an embedding each, in the order of `Embedded.vectors`.

        Args:
            embed_numerical: Whether numerical fields have embeddings too.
        """
        return (*(self.numerical if embed_numerical else ()), *self.categorical, *self.lists)

    def flat_columns(self, dim: int, embed_numerical: bool, bins: int = 0) -> dict[str, list[int]]:
        """Where embeddings, numbers and their encodings side by side hold each field, ascending.

        Args:
            dim: Size of an embedding.
            embed_numerical: Whether numerical fields have embeddings too.
            bins: Columns of the encoding of each number.
        """
        embedded = self.embedded(embed_numerical)
        columns = {field.name: [*range(f * dim, (f + 1) * dim)] for f, field in enumerate(embedded)}
        for n, field in enumerate(self.numerical, len(embedded) * dim):
            columns.setdefault(field.name, []).append(n)
        start = len(embedded) * dim + len(self.numerical)
        for n, field in enumerate(self.numerical):
            columns[field.name] += range(start + n * bins, start + (n + 1) * bins)
        return columns

    def to_dict(self) -> dict[str, Any]:
        """As JSON and checkpoints hold it."""
        fields = [asdict(field) for field in self.fields]
        for field in fields:
            for later in ("past_only", "vocabulary"):  # which earlier versions did not know
                if not field[later]:
                    del field[later]
        is_new = bool(self.lists) or any(field.vocabulary for field in self.fields)
        return {"format": LISTS_FORMAT if is_new else SCHEMA_FORMAT, "fields": fields}

    @classmethod
    def from_dict(cls, data: "Mapping[str, Any] | Schema") -> "Schema":
        """Reads what `to_dict` wrote; a `Schema` passes through."""
        if isinstance(data, Schema):
            return data
        if not isinstance(data, Mapping):
            raise ZooError("the schema is damaged: it is no mapping")
        if data.get("format") not in (SCHEMA_FORMAT, LISTS_FORMAT):
            raise ZooError(
                f"schema of format {data.get('format')!r}, this version reads {SCHEMA_FORMAT} and "
                f"{LISTS_FORMAT}: use the version of interpretable-zoo that wrote it"
            )
        fields = data.get("fields") or []
        if not fits(fields, list[dict[str, Any]]) or not fields:
            raise ZooError("the schema is damaged: it has no list of fields")
        try:
            for field in fields:
                known = {**asdict(Field("", "numerical")), **field}
                check_kinds(known, get_type_hints(Field) | {"kind": str})
            return cls(tuple(Field(**field) for field in fields))
        except TypeError as error:
            raise ZooError(f"the schema is damaged: {error}") from error

    def crossed(self, field: Field) -> tuple[str, ...]:
        """The names of the fields that a field crosses, as its own name and group tell."""
        members = tuple(field.name.split(JOINER))
        names = {other.name for other in self.fields}
        if field.group != CROSS or len(members) < 2 or not names.issuperset(members):
            return ()
        return members

    def difference(self, other: "Schema") -> str | None:
        """The first field in which two schemas differ, in words; None if they are equal."""
        mine, theirs = ({f.name: f for f in schema.fields} for schema in (self, other))
        for name in {**mine, **theirs}:
            if name not in mine or name not in theirs:
                return f"field {name} is in only one of them"
            if mine[name] != theirs[name]:
                return f"field {name} is {_describe(mine[name])} and {_describe(theirs[name])}"
        return None if self == other else "their fields stand in different order"


def _describe(field: Field) -> str:
    cardinality = f" of {field.cardinality} ids" if field.has_ids else ""
    shared = f" of {field.vocabulary}" if field.vocabulary else ""
    group = f" in group {field.group!r}" if field.group else ""
    known = " known of the past only" if field.past_only else ""
    return f"{field.kind}{cardinality}{shared}{group}{known}"
