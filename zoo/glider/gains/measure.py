"""Which cross fields pay: the gain of each candidate on validation rows, by a second stage.

1. The base: what each field says by itself (on top of a trained model's logits, where those are
   asked for). A cross field that only says what its members say has no gain beyond it.
2. Small sets before large ones, so that a union of two interactions finds its parts taken. Of the
   sets of a size, those with the largest gain first.
3. A candidate pays if its gain, beside all that pay so far, exceeds `errors` standard errors. Its
   table then joins the logits.
4. Of several numbers of bins for its numbers, the fewest whose gain is within a standard error of
   the best (Breiman et al., *Classification and regression trees*, 1984, section 3.4.3).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from zoo.data.crossing import CrossIds, CrossRows
from zoo.data.errors import ZooError
from zoo.glider.gains.second_stage import Gain, SecondStage, mean_and_error

Fields = tuple[str, ...]


@dataclass(frozen=True)
class GainConfig:
    """How gains are measured, and which pay.

    Attributes:
        bins: Numbers of quantile bins to try for the numerical fields of a cross.
        errors: Number of standard errors that a gain must exceed.
        most: Largest number of candidates.
        rows: Largest number of rows of a split that are used.
    """

    bins: tuple[int, ...] = (10, 30, 100)
    errors: float = 2.0
    most: int = 100
    rows: int = 1_000_000

    def __post_init__(self) -> None:
        if not self.bins or min(self.bins) < 2:
            raise ZooError(f"bins must be numbers from 2 on, got {list(self.bins)}")
        if self.errors < 0:
            raise ZooError(f"errors must be at least 0, got {self.errors}")
        for option, least in {"most": 1, "rows": 1000}.items():
            if getattr(self, option) < least:
                raise ZooError(f"{option} must be at least {least}, got {getattr(self, option)}")


@dataclass(frozen=True)
class Candidate:
    """A cross field and its gain.

    Attributes:
        fields: Names of the fields that it crosses.
        gain: What it takes from the logloss of the validation rows, beside those that pay and come
            before it.
        error: Standard error of the gain.
        bins: Number of bins of its numerical fields; None where it has none.
        pays: Whether it is worth having.
    """

    fields: Fields
    gain: float
    error: float
    bins: int | None
    pays: bool


def with_larger(found: Sequence[Fields], most: int) -> list[Fields]:
    """The first sets that were found, then threes of which all pairs were found.

    A model may have learned the parts of a larger interaction and not the whole.

    Args:
        found: Sets of fields, the strongest first.
        most: Largest number of sets to return.
    """
    sets = [tuple(sorted(fields)) for fields in found]
    known = set(sets)
    pairs = {fields: rank for rank, fields in reversed([*enumerate(sets)]) if len(fields) == 2}
    names = sorted({name for pair in pairs for name in pair})
    larger = []
    for first, second in pairs:
        for third in names:
            three = tuple(sorted({first, second, third}))
            ranks = [pairs.get(pair) for pair in combinations(three, 2)]
            if len(three) == 3 and None not in ranks and three not in known:
                known.add(three)
                larger.append((max(rank for rank in ranks if rank is not None), three))
    return [*found, *(three for _, three in sorted(larger))][:most]


def measure(
    stage: SecondStage,
    rows: CrossRows,
    candidates: Iterable[Fields],
    numerical: Iterable[str],
    config: GainConfig,
    progress: Callable[[Sequence[Fields]], Iterable[Fields]] = iter,
) -> list[Candidate]:
    """The gain of each candidate, in the order in which they were taken.

    Args:
        stage: The base; the tables of those that pay are added to it.
        rows: The rows of the stage.
        candidates: Sets of fields, in any order.
        numerical: Names of the numerical fields.
        config: How gains are measured.
        progress: Shows how many of the sets have been looked at.
    """
    return _Selection(stage, rows, set(numerical), config).run(sorted(set(candidates)), progress)


class _Selection:
    def __init__(
        self, stage: SecondStage, rows: CrossRows, numerical: set[str], config: GainConfig
    ) -> None:
        self.stage, self.rows, self.numerical, self.config = stage, rows, numerical, config

    def run(
        self,
        candidates: Sequence[Fields],
        progress: Callable[[Sequence[Fields]], Iterable[Fields]],
    ) -> list[Candidate]:
        found: list[Candidate] = []
        waiting: list[tuple[Candidate, CrossIds]] = []
        for fields in progress(sorted(candidates, key=lambda c: (len(c), c))):
            if waiting and len(waiting[0][0].fields) < len(fields):
                found += self._taken(waiting)
                waiting = []
            candidate, ids = self._alone(fields)
            if candidate.pays:
                waiting.append((candidate, ids))
            else:
                found.append(candidate)
        return [*found, *self._taken(waiting)]

    def _alone(self, fields: Fields) -> tuple[Candidate, CrossIds]:
        """A candidate beside those that pay and are smaller, with the best number of bins."""
        many = sorted(set(self.config.bins)) if self.numerical.intersection(fields) else [2]
        tried = [self.rows.ids(fields, bins) for bins in many]
        gains = [self.stage.gain(ids) for ids in tried]
        best = max(gains, key=lambda gain: gain.value)
        chosen = next(i for i, gain in enumerate(gains) if self._is_as_good(gain, best))
        bins = many[chosen] if len(many) > 1 or self.numerical.intersection(fields) else None
        return self._judged(fields, gains[chosen], bins), tried[chosen]

    def _is_as_good(self, gain: Gain, best: Gain) -> bool:
        difference = mean_and_error(best.rows - gain.rows, self.stage.weights["val"])
        return difference.value <= difference.error

    def _judged(self, fields: Fields, gain: Gain, bins: int | None) -> Candidate:
        pays = gain.value > self.config.errors * gain.error
        return Candidate(fields, gain.value, gain.error, bins, pays)

    def _taken(self, waiting: list[tuple[Candidate, CrossIds]]) -> list[Candidate]:
        """Candidates of one size, each beside those that pay before it."""
        found = []
        for alone, ids in sorted(waiting, key=lambda c: (-c[0].gain, c[0].fields)):
            candidate = self._judged(alone.fields, self.stage.gain(ids), alone.bins)
            if candidate.pays:
                self.stage.keep([ids])
            found.append(candidate)
        return found
