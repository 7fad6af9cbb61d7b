"""What `inspect` does with data: scores, and the rows in which interactions are strongest."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from zoo.data.errors import ZooError
from zoo.data.module import ZooDataModule
from zoo.data.schema import Schema
from zoo.glider.detector import rows_at
from zoo.inspect.disagreement import Disagreement, disagree
from zoo.inspect.inspection import Inspection
from zoo.inspect.interactions import DetectedInteractions, interactions_in
from zoo.inspect.picked_rows import PickedRows
from zoo.inspect.report import report
from zoo.inspect.scores import Scores, score
from zoo.inspect.shown import Shown
from zoo.inspect.with_data.source import batches_of, encoder_of
from zoo.inspect.with_data.values import values_of
from zoo.run.directory import use_encoder
from zoo.run.parser import ZooParser, check_nulls

DETECTED_SPLIT = "val"  # whose rows `detect` explains


def add_data_facts(
    found: dict[str, Shown | None], loaded: Sequence[Inspection], made: ZooParser, options: Any
) -> None:
    """Adds what takes data to what was found without.

    Args:
        found: What was found, by name.
        loaded: Inspections of the checkpoints, one or two.
        made: The parser that read the options.
        options: The options of the command line.
    """
    data = _data(loaded, made, options)
    found["scores"] = scores = _score(loaded, data, options)
    if options.explain and isinstance(scores, Scores):
        found["rows"] = explained(loaded[0], data, scores)
    elif options.explain:
        from zoo.run.inspect_changes import compare

        first, second = loaded
        found["changes"] = compare(first, second, data, options.split, options.explain)
    interactions = found["interactions"]
    if isinstance(interactions, DetectedInteractions):
        found["interactions"] = with_values(interactions, loaded[0], data)


def _data(loaded: Sequence[Inspection], made: ZooParser, options: Any) -> ZooDataModule:
    taken = options.data.get("init_args", {})  # none where the class takes no arguments
    asked, given = options.split == "predict", taken.get("predict_path")
    if asked and not given and "predict_path" in taken:
        raise ZooError("--split predict scores a file: give --data.predict_path FILE")
    if given and not asked:
        raise ZooError("--data.predict_path is scored with --split predict")
    richest = max(loaded, key=lambda found: len(found.fields))  # with its crosses
    use_encoder(options.data, Path(richest.file))
    check_nulls(options.data, "data")
    return made.instantiate_classes(options)["data"]


def _score(
    loaded: Sequence[Inspection], data: ZooDataModule, options: Any
) -> Scores | Disagreement:
    first, *second = loaded
    if second:
        return disagree(first, second[0], data, options.split, options.by)
    return score(first, data, options.split, options.by, options.sample, options.explain or 0)


def explained(found: Inspection, data: ZooDataModule, scores: Scores) -> PickedRows:
    """The rows that were chosen, explained; or the reason why they cannot be.

    Args:
        found: Inspection of the checkpoint.
        data: Data of its schema.
        scores: The scores, with the chosen rows.
    """
    from zoo.run.inspect_rows import explain_chosen

    try:
        return explain_chosen(found, data, scores)
    except ZooError as error:
        return PickedRows(scores.split, (), 0, str(error))


def interactions_page(path: Path, schema: Schema) -> str:
    """The page of a file of interactions between the fields of a schema, as `detect` writes it."""
    return report(interactions_in(path, schema))


def with_values(
    found: DetectedInteractions, of: Inspection, data: ZooDataModule
) -> DetectedInteractions:
    """The interactions with the values of the rows in which they are strongest.

    Args:
        found: The interactions of a file.
        of: Inspection of the checkpoint that they were found in.
        data: The data of its run, whose validation rows `detect` chooses from.

    Raises:
        ZooError: where the data have not as many validation rows.
    """
    rows = found.strongest_rows
    if not rows:
        return found
    batches, count = batches_of(data, DETECTED_SPLIT), data.size(DETECTED_SPLIT).rows
    if rows[-1] >= count:
        raise ZooError(
            f"{found.file} is of other data: row {rows[-1]:,} is one of its rows, and these have "
            f"{count:,} validation rows"
        )
    strong = rows_at(batches, np.array(rows))
    values = values_of(strong.inputs(data.schema), encoder_of(of.run, data))
    return replace(found, values=dict(zip(rows, values, strict=True)))
