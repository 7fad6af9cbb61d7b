"""One explained prediction: what each field and interaction adds to its logit."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.text import Text

from zoo.data.schema import JOINER
from zoo.inspect.page import Figure, Section
from zoo.inspect.shown import Shown
from zoo.inspect.table import TextTable, clean, text_table
from zoo.inspect.with_data.gates import GateOfRow

LINES = 20  # of the largest contributions, in the terminal and in the waterfall
LONGEST = 24  # characters of a value
DOUBTFUL = 0.9  # R^2 below which a warning is given
COLUMNS = ("fields", "on", "off", "contribution", "error", "share")
EXACT_COLUMNS = ("term", "value", "contribution")
INTERCEPT, OTHERS, REST = "(intercept)", "(others)", "(rest)"
WEAKER = "(weaker interactions)"
ON_OFF = (
    "Each contribution is what the fields add to the logit by being on, as they are in this row, "
    "where the other fields are on or off at random: half of what switching a field off would take "
    "away on average, and of two or more what they add beyond their parts."
)
EXACT = (
    "Each contribution is exactly what a term of the model adds to the logit in this row, the "
    "log-odds: +0.69 doubles the odds of a positive, -0.69 halves them."
)


@dataclass(frozen=True)
class Contribution:
    """What a field, or an interaction of some, adds to a logit.

    Attributes:
        fields: Names of the fields; none of the intercept.
        contribution: What they add.
        error: Standard error of that.
        share: Share of the variance of the logits around the row; None of the intercept.
    """

    fields: tuple[str, ...]
    contribution: float
    error: float
    share: float | None

    @property
    def name(self) -> str:
        """The fields, such as `item x hour`."""
        return JOINER.join(self.fields)


@dataclass(frozen=True)
class Weaker:
    """What the interactions add that were fitted and are too weak to be shown, together.

    Attributes:
        count: Number of them.
        contribution: What they add.
        error: Standard error of that.
        share: Share of the variance of the logits around the row.
    """

    count: int
    contribution: float
    error: float
    share: float


@dataclass(frozen=True)
class RSquared:
    """Share of the variance of logits around a row, on masks that were not fitted, that is
    explained.

    Attributes:
        all: By all coefficients that were fitted, those of all pairs among them.
        fields: By the fields alone.
        with_interactions: By fields and the interactions that are kept: by what is shown.
    """

    all: float
    fields: float
    with_interactions: float


@dataclass(frozen=True)
class ExplainedRow(Shown):
    """An explained prediction; in a notebook and in `rich.print` it shows as tables.

    Attributes:
        model: Name of the model.
        source: Where the row is from, such as `the validation split`.
        row: Number of the row, or of the session, there, from 0.
        position: Number of the track to predict in a session, from 1; None of a row.
        label: Its label; None where it is not known.
        logit: Its logit, the sum of all contributions and the rest.
        intercept: Mean logit of copies of the row in which each field is on or off at random.
        contributions: Those of all fields, and of the interactions that are kept, largest first.
        weaker: What the other interactions add that were fitted.
        rest: What all these leave open of the logit.
        r2: How well they explain the logits around the row.
        masks: Number of copies of the row that were fitted, and of those that R^2 is of.
        on: What each field is in this row, by name.
        off: What it is where it is off.
        attribution: Share of each expert of a mixture in the prediction, by name.
        gates: Weights that the model gives to fields or parts of itself in this row.
        exact: Whether the model is the sum of these contributions, so that there is no rest.
    """

    model: str
    source: str
    row: int
    position: int | None
    label: float | None
    logit: float
    intercept: Contribution
    contributions: tuple[Contribution, ...]
    weaker: Weaker
    rest: float
    r2: RSquared
    masks: tuple[int, int]
    on: Mapping[str, float | str]
    off: Mapping[str, float | str]
    attribution: Mapping[str, float]
    gates: tuple[GateOfRow, ...] = ()
    exact: bool = False

    @property
    def probability(self) -> float:
        """Predicted probability."""
        return 1 / (1 + math.exp(-max(self.logit, -700.0)))

    @property
    def name(self) -> str:
        """The row, in words."""
        track = "" if self.position is None else f", track {self.position} to predict"
        return f"{'row' if self.position is None else 'session'} {self.row} of {self.source}{track}"

    @property
    def title(self) -> str:
        """The title of a page that begins with it."""
        return f"{self.model}: {self.name}"

    def heading(self) -> Iterator[Text]:
        """The prediction, and how well it is explained."""
        yield Text(clean(self.title), "bold")
        yield Text(clean(f"{self.predicted}\n{self.explained}\n"))

    @property
    def predicted(self) -> str:
        """The prediction, in words."""
        label = "" if self.label is None else f"; label {self.label:g}"
        return f"probability {self.probability:.4f}, logit {self.logit:.4f}{label}"

    @property
    def explained(self) -> str:
        """How well it is explained, in words."""
        if self.exact:
            return "exactly the sum of the terms below and a constant"
        return (
            f"R^2 on {self.masks[1]:,} fresh copies of the row: fields {self.r2.fields:.3f}, with "
            f"the interactions below {self.r2.with_interactions:.3f}, all that was fitted "
            f"{self.r2.all:.3f}"
        )

    def sections(self) -> Iterator[Section]:
        """The prediction with its waterfall, its interactions, and its experts."""
        begins = (
            "the constant of the model"
            if self.exact
            else "the mean logit of copies of the row in which fields are on or off at random"
        )
        reading = f"Read from above: {begins}, what each adds to it, and the logit this comes to."
        if not self.exact:
            reading += " The thin lines are 95 % intervals."
        waterfall = Figure(lambda: _waterfall(self), reading)
        means = EXACT if self.exact else ON_OFF
        content = [self.predicted + ".", self.explained + ".", means, waterfall, self._table()]
        yield Section(self.name, content)
        if any(len(c.fields) == 2 for c in self.contributions):
            reading = (
                "On the diagonal what a field adds to the logit, beside it what a pair adds; blue "
                "is up, orange is down. Larger interactions are in the table above."
            )
            yield Section("interactions", [Figure(lambda: _matrix(self), reading)])
        if self.attribution:
            yield from self._attribution()
        for gate in self.gates:
            rows = [(name, f"{weight:.4f}") for name, weight in gate.weights.items()]
            table = text_table(f"{gate.title} in this row", ("of", "weight"), rows)
            yield Section(gate.title, [table])

    def _attribution(self) -> Iterator[Section]:
        shares = sorted(self.attribution.items(), key=lambda share: -share[1])
        rows = ((name, f"{share:.4f}") for name, share in shares)
        title = "attribution: the share of each expert in the prediction"
        reading = "Each bar is the share of an expert, which sees its fields alone."
        bars = Figure(lambda: _shares(dict(shares)), reading)
        yield Section("attribution", [bars, text_table(title, ("expert", "share"), rows)])

    def _table(self) -> TextTable:
        title = "contributions to the logit"
        if self.exact:
            total = ("logit", "", f"{self.logit:+.4f}")
            rows = [*map(self.cells, self.lines()), total]
            return text_table(title, EXACT_COLUMNS, rows, 2, sums=1)
        total = ("logit", "", "", f"{self.logit:+.4f}", "", "")
        return text_table(title, COLUMNS, [*map(self.cells, self.lines()), total], 3, sums=1)

    def lines(self) -> list[Contribution]:
        """As `all_lines`, with the smaller contributions in one."""
        others = self.contributions[LINES:]
        intercept, *found = self.all_lines()
        if len(others) < 2:
            return [intercept, *found]
        total = sum(c.contribution for c in others)
        error = math.sqrt(sum(c.error**2 for c in others))
        shares = sum(c.share or 0.0 for c in others)
        line = Contribution((f"{OTHERS}: {len(others)}",), total, error, shares)
        return [intercept, *found[:LINES], line, *found[len(self.contributions) :]]

    def all_lines(self) -> list[Contribution]:
        """Intercept, all contributions, and the rest, whose share is what stays unexplained."""
        weaker = Contribution(
            (WEAKER,), self.weaker.contribution, self.weaker.error, self.weaker.share
        )
        if self.exact:
            return [self.intercept, *self.contributions]
        rest = Contribution((REST,), self.rest, math.nan, 1 - self.r2.all)
        return [self.intercept, *self.contributions, *([weaker] * bool(self.weaker.count)), rest]

    def cells(self, line: Contribution) -> tuple[str, ...]:
        """A line of a table; see `COLUMNS`, and of an exact row `EXACT_COLUMNS`."""
        if self.exact:
            values = [value_text(self.on[name]) for name in line.fields if name in self.on]
            return line.name or INTERCEPT, JOINER.join(values), f"{line.contribution:+.4f}"
        one = line.fields[0] if len(line.fields) == 1 else ""
        error = "" if math.isnan(line.error) else f"{line.error:.4f}"
        share = "" if line.share is None else f"{line.share:.4f}"
        on, off = (value_text(words[one]) if one in words else "" for words in (self.on, self.off))
        name = line.name or INTERCEPT
        return name, on, off, f"{line.contribution:+.4f}", error, share

    def labelled_warnings(self) -> Iterator[tuple[str, str]]:
        """Where the explanation leaves much open."""
        if self.r2.with_interactions < DOUBTFUL:
            yield (
                "",
                f"{self.name}: fields and interactions explain "
                f"{max(self.r2.with_interactions, 0.0):.1%} of what the model does around it: "
                "contributions are means over contexts that differ",
            )

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        mains = [c for c in self.contributions if len(c.fields) == 1]
        intercept = {name: _numbers(self.intercept)[name] for name in ("contribution", "error")}
        fields = [
            {"field": c.name, "on": self.on.get(c.name), "off": self.off.get(c.name), **_numbers(c)}
            for c in mains
        ]
        interactions = [
            {"fields": list(c.fields), **_numbers(c)}
            for c in self.contributions
            if len(c.fields) > 1
        ]
        place = {} if self.position is None else {"position": self.position}
        return {
            "row": self.row,
            **place,
            "label": self.label,
            "probability": self.probability,
            "logit": self.logit,
            "intercept": intercept,
            "fields": fields,
            "interactions": interactions,
            "weaker": asdict(self.weaker),
            "rest": self.rest,
            "r2": asdict(self.r2),
            "masks": list(self.masks),
            **({"attribution": dict(self.attribution)} if self.attribution else {}),
            **({"exact": True} if self.exact else {}),
            **({"gates": {g.title: dict(g.weights) for g in self.gates}} if self.gates else {}),
        }


def _numbers(found: Contribution) -> dict[str, float | None]:
    return {"contribution": found.contribution, "error": found.error, "share": found.share}


def value_text(value: float | str) -> str:
    """A value in a cell."""
    text = value if isinstance(value, str) else f"{value:.4g}"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _waterfall(row: ExplainedRow) -> Any:
    from zoo.inspect import contribution_plots

    names, values, errors = [], [], []
    for line in row.lines():
        on = row.on.get(line.name)
        names.append((line.name or INTERCEPT) + ("" if on is None else f" = {value_text(on)}"))
        values.append(line.contribution)
        errors.append(0.0 if math.isnan(line.error) else line.error)
    return contribution_plots.waterfall(names, values, errors, "logit")


def _matrix(row: ExplainedRow) -> Any:
    from zoo.inspect import contribution_plots

    found = {c.fields: c.contribution for c in row.contributions}
    paired = {name for fields in found if len(fields) == 2 for name in fields}
    names = [c.name for c in row.contributions if len(c.fields) == 1 and c.name in paired]
    return contribution_plots.matrix(names, {f: v for f, v in found.items() if len(f) < 3})


def _shares(shares: Mapping[str, float]) -> Any:
    from zoo.inspect import plots

    return plots.share_bars(shares, "attribution")
