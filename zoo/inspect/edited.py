"""An edited glass box: which of its terms are on, and what that changes on the rows of a split."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from rich.text import Text

from zoo.inspect.page import Section
from zoo.inspect.shown import Shown
from zoo.inspect.table import TextTable, clean, text_table
from zoo.inspect.with_data.quality import Quality

NAMED = 8  # terms, in a sentence


@dataclass(frozen=True)
class Change:
    """By how much a measure changes on the same rows.

    Attributes:
        value: The change.
        error: Its standard error over the rows; None where there is none.
    """

    value: float
    error: float | None


@dataclass(frozen=True)
class Changes:
    """What a change of the terms changes.

    Attributes:
        logloss: Rise of the logloss.
        auc: Rise of the AUC; None where there is a single class.
    """

    logloss: Change
    auc: Change | None


@dataclass(frozen=True)
class Cost:
    """What switching off one term would cost.

    Attributes:
        term: Its name.
        changes: What would change.
    """

    term: str
    changes: Changes


@dataclass(frozen=True)
class Edited(Shown):
    """What an edit has made of a model; in a notebook and in `rich.print` it shows as tables.

    Attributes:
        file: Path of the checkpoint that was edited.
        model: Name of the model.
        off: Terms that it has switched off.
        on: Terms that it has switched on.
        terms: Number of terms.
        terms_on: Number of those that are on now.
        shift: What was added to the constant.
        split: Name of the split that was measured; empty where none was.
        before: Quality before.
        after: Quality now.
        changes: What has changed; None where nothing was switched, or measured.
        each: What each term costs that is on, the largest first; empty where it was not asked for.
        output: What was written, a checkpoint or a run directory; None where nothing was.
    """

    file: str
    model: str
    off: tuple[str, ...]
    on: tuple[str, ...]
    terms: int
    terms_on: int
    shift: float = 0.0
    split: str = ""
    before: Quality | None = None
    after: Quality | None = None
    changes: Changes | None = None
    each: tuple[Cost, ...] = ()
    output: str | None = None

    def heading(self) -> Iterator[Text]:
        """What was switched."""
        yield Text(clean(f"{self.model}: {self.file}"), "bold")
        done = [*_switched("off", self.off), *_switched("on", self.on)]
        said = f"{'; '.join(done)}; " if done else ""
        yield Text(clean(f"{said}{self.terms_on} of {self.terms} terms are on"))
        if self.shift:
            yield Text(
                f"the constant moves by {self.shift:+.4f}, so that the mean probability stays"
            )
        yield Text("")

    def sections(self) -> Iterator[Section]:
        """The quality before and after, and what each term costs."""
        if self.before and self.after:
            yield Section("quality", [self._quality(self.before, self.after)])
        if self.each:
            yield Section("each term", [self._each()])

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)

    def _quality(self, before: Quality, after: Quality) -> TextTable:
        rows = [_cells(before)]
        if self.changes:
            rows += [_cells(after), ("change", "", "", *_of(self.changes))]
        title = f"quality on {before.rows:,} {self.split} rows, ± one standard error"
        return text_table(title, ("", "predicted", "observed", "AUC", "logloss"), rows)

    def _each(self) -> TextTable:
        rows = ((cost.term, *_of(cost.changes)) for cost in self.each)
        title = "what changes where one more term is switched off, ± one standard error"
        return text_table(title, ("term", "AUC", "logloss"), rows)


def _switched(how: str, names: tuple[str, ...]) -> Iterator[str]:
    if names:
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        yield f"switched {how}: {', '.join(names[:NAMED])}{more}"


def _cells(quality: Quality) -> tuple[str, ...]:
    auc = None if quality.auc is None else Change(quality.auc, quality.auc_error)
    logloss = Change(quality.logloss, quality.logloss_error)
    shares = (f"{share:.4f}" for share in (quality.predicted, quality.observed))
    return quality.name, *shares, _text(auc, ""), _text(logloss, "")


def _of(changes: Changes) -> tuple[str, str]:
    return _text(changes.auc), _text(changes.logloss)


def _text(change: Change | None, sign: str = "+") -> str:
    if change is None:
        return "-"
    error = "" if change.error is None else f" ± {change.error:.5f}"
    return f"{change.value:{sign}.5f}{error}"
