"""The label that a user declares of a table, and how it is read as SQL."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from datamodules.prepared.engine import sql_literal
from datamodules.tabular.source import part
from zoo.data.errors import ZooError

RULE = re.compile(r"(>=|<=|>|<|==|=|!=)\s*(\S.*)")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
YES, NO = ("1", "1.0", "true"), ("0", "0.0", "false")


@dataclass(frozen=True)
class Label:
    """The label of a table, as it is declared.

    Args:
        column: Column that it is read from.
        positive: Which rows are positive: a comparison of the column with a number, such as
            `>= 4`, or with a value, such as `= yes`; null reads 0, 1, false and true.
    """

    column: str
    positive: str | None = None

    def check(self) -> None:
        """Raises `ZooError` where the rule is none."""
        rule = RULE.fullmatch(self.positive.strip()) if self.positive is not None else None
        compared = rule is None or rule[1] in ("=", "==", "!=") or NUMBER.fullmatch(rule[2])
        if self.positive is not None and (rule is None or not compared):
            raise ZooError(
                f"data.label: positive must be a comparison such as '>= 4' or '= yes', got "
                f"{self.positive!r}"
            )

    @property
    def sql(self) -> str:
        """0, 1, or NULL where it is none."""
        text = part(self.column, "text")
        if self.positive is None:
            return (
                f"CASE WHEN lower({text}) IN {_listed(YES)} THEN 1 "
                f"WHEN lower({text}) IN {_listed(NO)} THEN 0 END::TINYINT"
            )
        rule = RULE.fullmatch(self.positive.strip())
        assert rule is not None  # `check` has seen it
        sign, value = rule[1].replace("==", "="), rule[2]
        if NUMBER.fullmatch(value):
            return f"({part(self.column, 'number')} {sign} {value}::DOUBLE)::TINYINT"
        return f"({text} {sign} {sql_literal(value)})::TINYINT"

    @property
    def problems(self) -> list[tuple[str, str]]:
        """SQL conditions under which it cannot be used, and what is then wrong."""
        given, name = part(self.column, "given"), f"its label ({self.column})"
        found = [(f"NOT {given}", f"{name} is missing")]
        if self.positive is None:
            advice = f'data.label={{column: {self.column}, positive: ">= 4"}}'
            wrong = f"{name} is not 0, 1, false or true: say what is positive, as in {advice}"
        else:
            wrong = f"{name} is not a number"
        return [*found, (f"({self.sql}) IS NULL", wrong)]


class Digit(Label):
    """A label that is 0 or 1, as text too."""

    @property
    def sql(self) -> str:
        """0, 1, or NULL where it is none."""
        return f"CASE {part(self.column, 'text')} WHEN '0' THEN 0 WHEN '1' THEN 1 END::TINYINT"

    @property
    def problems(self) -> list[tuple[str, str]]:
        """That it is neither."""
        return [(f"({self.sql}) IS NULL", f"its label ({self.column}) is not 0 or 1")]


def _listed(values: Sequence[str]) -> str:
    return f"({', '.join(map(sql_literal, values))})"
