from zoo.export.readers.common import *  # noqa: F403

NUMBER = re.compile(r"[ \t\n\v\f\r]*\+?(-?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?)[ \t\n\v\f\r]*", re.A | re.I)
TIME = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d(:?\d\d)?)?)?", re.A)
UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6}
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def squared(x: np.ndarray, whole: Any) -> np.ndarray:
    """Criteo's numbers, drawn in where they are large."""
    large, low = (np.log(np.maximum(part, 1)) ** 2 for part in (x, -9 - x))
    return np.where(x > 2, whole(large), np.where(x < -10, -10 - whole(low), x))


TRANSFORMS = {
    "none": lambda x: x,
    "log": lambda x: np.sign(x) * np.log1p(np.abs(x)),
    "log_of_positive": lambda x: np.log1p(np.maximum(x, 0)),
    "log_squared": lambda x: squared(x, lambda y: y),
    "floor_log_squared": lambda x: squared(x, np.floor),
    "is_missing": np.isnan,
}


class Model(Served):
    """Scores raw rows: dicts, or a dict of columns; None, NaN and empty texts are missing."""

    def __call__(self, rows: Any) -> dict[str, Any]:
        wanted = self.plan["columns"]
        given = rows if isinstance(rows, Mapping) else {c: [r[c] for r in rows] for c in wanted}
        problem: list[str | None] = [None] * len(given[wanted[0]])
        ...

    def text(self, value: Any, field: dict) -> str | None:
        if isinstance(value, Mapping | list | tuple | np.ndarray):
            raise ValueError
        found = str(value).lower() if isinstance(value, bool | np.bool_) else str(value)
        return None if value is None or value != value or found in self.plan["missing"] else found

    def number(self, value: Any, field: dict) -> float:
        written = self.text(value, field)
        is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        found = float(value if is_number else NUMBER.fullmatch(written)[1])
