"""What the terminal and the report show of fields, examples and interactions, as tables of text."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from zoo.data.schema import JOINER
from zoo.inspect.effects import Effects, Grid
from zoo.inspect.interactions import Interactions
from zoo.inspect.sheets import Sheet, sheet

if TYPE_CHECKING:  # which takes Lightning to load
    from zoo.inspect.explain import Explanation, Prediction

SHOWN = 20  # rows of a table that could be long
PAIRS = 10  # of a grid of pairs of fields
NARROW = 8  # columns of a grid that is shown whole
VALUES = 8  # fields of an example
SHARES = 3  # of the experts in a prediction,
HEARD = 0.005  # where they do not round to zero


def effect_sheets(found: Effects) -> Iterator[Sheet]:
    """What the weights say."""
    if found.linear:
        yield linear_sheet(found)
    yield from map(grid_sheet, found.crosses)


def linear_sheet(found: Effects) -> Sheet:
    """The largest first-order weights."""
    rows = [
        (w.field, "each unit" if w.value is None else w.value, f"{w.weight:+.4f}")
        for w in found.linear
    ]
    title = "largest first-order weights: what a value adds to the logit"
    return sheet(title, ("field", "value", "weight"), rows, 2)


def grid_sheet(grid: Grid) -> Sheet:
    """The rows of a narrow grid, or the largest pairs of a wide one."""
    if len(grid.columns) <= NARROW:
        order = sorted(range(len(grid.rows)), key=lambda r: -max(grid.values[r]))
        shown = order[:SHOWN]
        rows = [(grid.rows[r], *(f"{v:.4f}" for v in grid.values[r])) for r in shown]
        return sheet(_cut(grid.title, len(order)), ("field", *grid.columns), rows)
    pairs = [
        (value, row, column)
        for row, values in zip(grid.rows, grid.values, strict=True)
        for column, value in zip(grid.columns, values, strict=True)
    ]
    largest = sorted(pairs, key=lambda pair: -pair[0])[:PAIRS]
    rows = [(row, column, f"{value:.4f}") for value, row, column in largest]
    return sheet(f"{grid.title}: the largest", ("field", "with", "value"), rows, 2)


def _cut(title: str, count: int) -> str:
    return title if count <= SHOWN else f"{title}: the largest {SHOWN} of {count:,}"


def explanation_sheets(found: "Explanation") -> Iterator[Sheet]:
    """What a model does with a sample of a split."""
    yield importance_sheet(found)
    yield from map(grid_sheet, found.attention)
    if found.session:
        yield session_sheet(found)
    if found.examples:
        yield examples_sheet(found)


def importance_sheet(found: "Explanation") -> Sheet:
    """The permutation importance of the first fields."""
    rows = [
        (
            item.field,
            f"{item.logloss:+.5f}",
            f"{item.error:.5f}",
            "-" if item.auc is None else f"{-item.auc:+.5f}",
        )
        for item in found.importance[:SHOWN]
    ]
    title = f"importance: what changes where a field is shuffled among {found.rows:,} labels"
    columns = ("field", "logloss", "+-", "AUC")
    return sheet(_cut(title, len(found.importance)), columns, rows)


def session_sheet(found: "Explanation") -> Sheet:
    """The predictions of a session."""
    rows = [(str(i), *_prediction(track)) for i, track in enumerate(found.session.tracks, 1)]
    past = "".join("x" if skipped else "o" for skipped in found.session.past)
    title = "a session: who has most to say of the tracks of its second part"
    title += f", after {past} (x skipped, o not)" if past else ""
    return sheet(title, ("track", "attribution", "probability", "label"), rows, 2)


def examples_sheet(found: "Explanation") -> Sheet:
    """The example rows of each expert."""
    rows = [
        (
            example.expert,
            _values(example.values),
            *_prediction(example.prediction, example.expert),
        )
        for example in found.examples
    ]
    columns = ("expert", "what it sees", "attribution", "probability", "label")
    return sheet("examples: rows in which each expert is surest, and most heard", columns, rows, 3)


def _prediction(prediction: "Prediction", expert: str = "") -> tuple[str, ...]:
    """The largest shares, that of an expert in any case, the probability and the label."""
    said = sorted(prediction.attribution.items(), key=lambda share: -share[1])
    shown = [(n, v) for i, (n, v) in enumerate(said) if n == expert or (i < SHARES and v >= HEARD)]
    label = "-" if prediction.label is None else f"{prediction.label:.0f}"
    shares = ", ".join(f"{name} {value:.2f}" for name, value in shown)
    return shares, f"{prediction.probability:.4f}", label


def _values(values: dict[str, float | str]) -> str:
    shown = [
        f"{field}={value if isinstance(value, str) else f'{value:.4g}'}"
        for field, value in list(values.items())[:VALUES]
    ]
    more = len(values) - len(shown)
    return ", ".join([*shown, *([f"and {more} more"] if more else [])])


def interactions_sheet(found: Interactions) -> Sheet:
    """The most frequent interactions of a file."""
    rows = []
    for item in found.found[:SHOWN]:
        numbers = (item.p_uniform, item.p_permutation, item.q_permutation)
        told = ("-" if value is None else f"{value:.2g}" for value in numbers)
        rows.append((JOINER.join(item.fields), item.count, item.null_count, *told))
    title = f"interactions found in {found.model or 'a model'}"
    title += "" if found.instances is None else f", in {found.instances:,} rows"
    columns = ("fields", "count", "permuted", "p uniform", "p permutation", "q permutation")
    return sheet(_cut(title, len(found.found)), columns, rows)
