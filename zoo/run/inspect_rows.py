"""What `inspect` explains of single rows, for the rows that a report lets one choose from."""

from collections.abc import Iterator, Sequence

import numpy as np

from zoo.data.batch import AnyBatch, SessionBatch
from zoo.data.batch_checks import row_numbers
from zoo.data.module import ZooDataModule
from zoo.glider.detector import rows_at
from zoo.glider.explained import Explainer, Instance
from zoo.glider.scoring import NotFinite
from zoo.glider.walsh.search import WalshConfig
from zoo.inspect.inspection import Inspection
from zoo.inspect.picked_rows import PickedRows
from zoo.inspect.row_picker import PickedRow
from zoo.inspect.scores import Scores, model_of
from zoo.inspect.with_data.chosen import Chosen
from zoo.inspect.with_data.sample import SEED
from zoo.inspect.with_data.session import Session, first_session
from zoo.inspect.with_data.source import batches_of, encoder_of
from zoo.models.base import ZooModule
from zoo.run.explaining.exact import AnyExplainer, ExactExplainer
from zoo.run.explaining.python import training_means
from zoo.run.explaining.row import explained_row
from zoo.run.explaining.values import Values

MIN_GAIN = 2e-4  # as `explain` has it
SPLITS = {"val": "the validation split", "test": "the test split"}


def explain_chosen(found: Inspection, data: ZooDataModule, scores: Scores) -> PickedRows:
    """Explains the rows that were chosen when a split was scored, as the command `explain` does.

    Args:
        found: Inspection of the checkpoint.
        data: Data of its schema.
        scores: The scores, with the chosen rows.

    Raises:
        ZooError: where what off means cannot be read of the training rows, or there are too few
            fields.
    """
    model = model_of(found)
    means = None if model.terms else training_means(data, model.schema)
    source = SPLITS.get(scores.split, str(data.predict_path))
    if means is None:
        explainer: AnyExplainer = ExactExplainer(model)
    else:
        explainer = Explainer(model, means, WalshConfig(min_gain=MIN_GAIN), SEED)
    values = Values(model.schema, encoder_of(found.run, data), means, "groups")
    numbers = np.array(sorted({chosen.row for chosen in scores.chosen}))
    batch = rows_at(batches_of(data, scores.split), numbers)
    chosen = {place: i for i, place in enumerate(numbers.tolist())}
    instances = [*_instances(explainer, batch, scores.chosen, chosen)]
    names, picked, left_out = values.names(batch), [], 0
    explained = explainer.explain_each(instance for instance, _ in instances)
    for (instance, result), (_, choice) in zip(explained, instances, strict=True):
        if isinstance(result, NotFinite):
            left_out += 1
            continue
        words = values.words(result, names)
        number = _number(instance, choice)
        row = explained_row(model, result, source, number, *words)
        picked.append(PickedRow(row, choice.why, _session(model, instance)))
    reason = "" if picked else "the model gives NaN or infinite scores around each of them"
    return PickedRows(source, tuple(picked), left_out, reason)


def _instances(
    explainer: AnyExplainer,
    batch: AnyBatch,
    wanted: Sequence[Chosen],
    places: dict[int, int],
) -> Iterator[tuple[Instance, Chosen]]:
    """What is explained, in the order in which it was chosen."""
    there = {(each.row, each.position): each for each in explainer.instances(batch)}
    for choice in wanted:
        yield there[places[choice.row], choice.position], choice


def _number(instance: Instance, choice: Chosen) -> int:
    """The number of a row in its file, where that is known, else in the split."""
    one = instance.batch
    return choice.row if one.row is None else int(row_numbers(one)[0])


def _session(model: ZooModule, instance: Instance) -> Session | None:
    one = instance.batch
    return first_session(model, one) if isinstance(one, SessionBatch) else None
