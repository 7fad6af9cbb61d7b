"""A generator of clicks in Criteo's raw format, whose true logits are known.

It writes a file that looks like Criteo's `train.txt` (label, I1..I13, C1..C26, tab-separated,
empty = missing); `datamodules.synthetic.click_truth` says how a click depends on the fields.

    PATH               the rows
    PATH.logits.npy    float32 [rows], the true logit of each row
    PATH.truth.json    the generator's options, the planted interactions, the ceiling

    python -m datamodules.synthetic.clicks --rows 100000 write data/train.txt

Shapes: R rows drawn at once.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from datamodules.prepared.options import at_least
from datamodules.synthetic.click_truth import ClickTruth, ceiling
from datamodules.synthetic.generator import not_generated_so
from datamodules.tabular.criteo import CATEGORICAL, NUMERICAL
from zoo.data.errors import ZooError
from zoo.data.files import atomic_file, write_text

ROWS_AT_ONCE = 100_000  # drawn; a longer file begins with the rows of a shorter one

CROSSES = (
    ("C6", "C14"),
    ("C9", "C17"),
    ("C20", "C23"),
    ("C22", "C25"),
    ("I2", "C17"),
    ("I8", "C6"),
    ("C9", "C14", "C23"),
)


@dataclass(frozen=True)
class PlantedClicks:
    """Clicks in Criteo's raw format with known main effects and planted interactions.

    Args:
        rows: Number of rows to write.
        seed: Seed of the truth and of the rows.
        crosses: Planted interactions, each a list of field names.
        cross_strength: Standard deviation that each interaction adds to the logit.
        main_strength: Standard deviation of all main effects together.
        bias: Logit of a row without any effect.
        sort_by_label: Whether to write the rows of label 0 first (a test of shuffling).
    """

    rows: int = 200_000
    seed: int = 0
    crosses: list[list[str]] = field(default_factory=lambda: [list(c) for c in CROSSES])
    cross_strength: float = 0.5
    main_strength: float = 2.0
    bias: float = -1.8
    sort_by_label: bool = False

    def __post_init__(self) -> None:
        at_least(1, **{"synthetic.rows": self.rows})
        at_least(0, **{"synthetic.seed": self.seed})
        for cross in self.crosses:
            unknown = sorted(set(cross) - set(NUMERICAL + CATEGORICAL))
            if unknown or len(set(cross)) < 2:
                raise ZooError(
                    f"data.synthetic.crosses: {cross} must name at least two of I1..I13, C1..C26"
                )

    @cached_property
    def _truth(self) -> ClickTruth:
        return ClickTruth(
            self.seed, self.crosses, self.cross_strength, self.main_strength, self.bias
        )

    def chunks(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
        """Yields (label [R], logit [R], numerical [R, 13], categorical [R, 26]) in file order.

        A missing number is -1, a missing category its field's cardinality.
        """
        for start in range(0, self.rows, ROWS_AT_ONCE):
            rng = np.random.default_rng((self.seed, 1, start))
            left = self.rows - start
            label, logit, numerical, categorical = self._truth.draw(rng, ROWS_AT_ONCE)
            yield label[:left], logit[:left], numerical[:left], categorical[:left]

    def write_once(self, path: Path) -> None:
        """Writes the file unless this very configuration has written it before."""
        if path.suffix == ".gz":
            raise ZooError(f"data.synthetic writes plain text: {path} must not end in .gz")
        if path.exists():
            # as JSON gives it back: a tuple would not equal its list
            mine = json.loads(json.dumps(asdict(self)))
            if _generator(truth_path(path)) == mine and logits_path(path).exists():
                return
            raise not_generated_so(path)
        self.write(path)

    def write(self, path: Path) -> None:
        """Writes the rows to `path`, the logits and the truth beside it; whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as partial:
            labels, logits = self._write_rows(partial)
            with atomic_file(logits_path(path)) as beside, open(beside, "wb") as file:
                np.save(file, logits)
            write_text(truth_path(path), json.dumps(self._describe(labels, logits), indent=2))

    def _write_rows(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        labels, logits = [], []
        options = pa_csv.WriteOptions(include_header=False, delimiter="\t", quoting_style="none")
        schema = pa.schema([(c, pa.string()) for c in ("label", *NUMERICAL, *CATEGORICAL)])
        passes = (0, 1) if self.sort_by_label else (None,)
        with pa_csv.CSVWriter(path, schema, write_options=options) as writer:
            for wanted in passes:
                for label, logit, numerical, categorical in self.chunks():
                    keep = slice(None) if wanted is None else label == wanted
                    fields = self._cells(numerical[keep], categorical[keep])
                    columns = [pa.array(label[keep]).cast(pa.string()), *fields]
                    writer.write(pa.Table.from_arrays(columns, schema=schema))
                    labels.append(label[keep])
                    logits.append(logit[keep].astype(np.float32))
        return np.concatenate(labels), np.concatenate(logits)

    def _cells(self, numerical: np.ndarray, categorical: np.ndarray) -> Iterator[pa.Array]:
        """The texts of each field, empty where a value is missing."""
        for column in numerical.T:
            yield pa.array(column, mask=column < 0).cast(pa.string()).fill_null("")
        for c, column in enumerate(categorical.T):
            missing = column == self._truth.missing[c]
            yield pa.array(_hex(column, c), mask=missing, type=pa.string()).fill_null("")

    def _describe(self, labels: np.ndarray, logits: np.ndarray) -> dict[str, Any]:
        return {
            "generator": asdict(self),
            "crosses": [
                {"fields": cross, "strength": self.cross_strength} for cross in self.crosses
            ],
            "click_rate": float(labels.mean()),
            **ceiling(labels, logits),
        }


def truth_path(path: Path) -> Path:
    """Where the planted truth of a generated file lies: JSON, next to the file."""
    return path.with_name(path.name + ".truth.json")


def logits_path(path: Path) -> Path:
    """Where the true logit of each row of a generated file lies: float32 [rows], NumPy."""
    return path.with_name(path.name + ".logits.npy")


def _generator(truth: Path) -> dict[str, Any] | None:
    """The options that wrote a generated file; None where its truth cannot be read."""
    try:
        return json.loads(truth.read_text())["generator"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _hex(values: np.ndarray, salt: int) -> np.ndarray:
    """Eight hexadecimal digits that differ for different values of a field, as in Criteo."""
    mixed = ((values + 1).astype(np.uint64) * 2654435761 + salt * 40503) & 0xFFFFFFFF
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    shifts = np.arange(28, -1, -4, dtype=np.uint64)
    text = digits[(mixed[:, None] >> shifts) & np.uint64(15)]
    return np.ascontiguousarray(text).view("S8").ravel().astype("U8")


if __name__ == "__main__":
    from jsonargparse import auto_cli

    auto_cli(PlantedClicks)
