"""Which rows of validation and test stand among the training rows too."""

from collections.abc import Mapping, Sequence

from datamodules.prepared.engine import Engine, sql_identifier
from datamodules.prepared.folder import SPLITS
from datamodules.tabular.source import RawField


def copies(
    engine: Engine, fields: Sequence[RawField], splits: Mapping[str, Mapping[str, int]]
) -> dict[str, int]:
    """How many rows of validation and of test equal a training row in all fields and the label.

    Args:
        engine: Holds the table `rows`, whose splits are known.
        fields: The fields.
        splits: Of each split its number of `rows`.

    Returns:
        Counts by what they count, as notes of `prepare`; of a split without such rows none.
    """
    columns = ", ".join(["label", *(sql_identifier(field.name) for field in fields)])
    # hashes first: they are few bytes, and the rows themselves are compared where these are equal
    hashed = f"SELECT hash({columns}) AS h, split FROM rows WHERE problem IS NULL AND split < 3"
    shared = f"SELECT h FROM ({hashed}) GROUP BY h HAVING bool_or(split = 0) AND bool_or(split > 0)"
    found = engine.run(
        f"SELECT sum(n1), sum(n2) FROM (SELECT count(*) FILTER (split = 1) AS n1, "
        f"count(*) FILTER (split = 2) AS n2, bool_or(split = 0) AS trained FROM rows "
        f"WHERE problem IS NULL AND split < 3 AND hash({columns}) IN ({shared}) "
        f"GROUP BY {columns}) WHERE trained"
    )
    notes = {}
    for split, count in zip(SPLITS[1:], found[0], strict=True):
        if count:
            rows = splits[split]["rows"]
            equal = (
                f"of the {rows:,} {split} rows are equal to training rows, in all fields and the"
            )
            advice = "label: remove them where they are copies, which make metrics too good"
            notes[f"{equal} {advice}"] = int(count)
    return notes
