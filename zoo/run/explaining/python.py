"""What fields and interactions add to predictions, from Python: `zoo.explain(model, batch)`.

Shapes: B rows, N numerical fields.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from lightning_fabric.utilities import move_data_to_device
from torch import Tensor

from zoo.data.batch import Batch, SessionBatch
from zoo.data.encoder import numerical_means
from zoo.data.errors import ZooError
from zoo.data.module import ZooDataModule, datamodule_of
from zoo.data.schema import Schema
from zoo.glider.explained import Explainer
from zoo.glider.scoring import NotFinite
from zoo.glider.session_switches import Features, SessionMeans
from zoo.glider.walsh.search import WalshConfig
from zoo.models.base import ZooModule
from zoo.run.explaining.exact import AnyExplainer, ExactExplainer

if TYPE_CHECKING:
    import pandas as pd

    Means = (
        ZooDataModule | Batch | SessionBatch | Mapping[str, float] | Sequence[float] | np.ndarray
    )


def explain(
    model: ZooModule,
    batch: Batch | SessionBatch,
    means: "Means | None" = None,
    *,
    position: int | None = None,
    features: Features = "groups",
    max_order: int = 4,
    min_gain: float = 2e-4,
    seed: int = 0,
) -> "pd.DataFrame":
    """What each field, and each interaction of fields, adds to the logit of each row of a batch.

    The contributions of a row add up to its logit, and are exact where the model is a sum of terms,
    which needs no `means`; see `zoo.load(run).explain`, which takes a
    DataFrame. In sessions, what is explained is the logit of each track to predict, and what is
    switched on and off are fields of the past, or its events, and fields of that track (see
    `zoo.glider.session_switches.SessionOnOff`).

    Args:
        model: The model, of rows or of sessions.
        batch: The rows, or sessions, to explain.
        means: What numbers are where they are off: the datamodule, whose training means are taken;
            a batch of training rows (or sessions), whose means are taken; or, of rows, the means
            themselves, by name or in the order of the schema. None is the datamodule that the model
            was trained with, which a loaded model does not have.
        position: Number of the track to predict that is explained, from 1; None explains all.
        features: What is switched in sessions: `groups` of fields, single `fields`, or `events` of
            the past beside groups of fields of the track.
        max_order: Largest number of fields in an interaction.
        min_gain: Share of the variance of the logits around a row that an interaction must have.
        seed: Seed of the rows that are scored around each row.

    Returns:
        For each row some lines with its number: of sessions `position`; `fields`, such as
        `item x hour`; `contribution`; `error`, its standard error; `share`, the share of the
        variance around the row, of the rest the share that stays unexplained.

    Raises:
        ZooError: where the means are missing or of other fields, there are too few fields, or
            scores are not finite.
    """
    import pandas as pd

    if position is not None and position < 1:
        raise ZooError(f"position must be at least 1, got {position}")
    if model.terms:
        explainer: AnyExplainer = ExactExplainer(model)
    else:
        off = means_of(model, batch, means)
        config = WalshConfig(max_order=max_order, min_gain=min_gain)
        explainer = Explainer(model, off, config, seed, features, position=position)
    training = model.training
    model.eval()
    try:
        rows = range(len(batch.label))
        return frame_of(explainer, [(rows, batch)], pd.RangeIndex(len(rows)))
    finally:
        model.train(training)


def frame_of(
    explainer: AnyExplainer,
    batches: Iterable[tuple[Sequence[int], Batch | SessionBatch]],
    index: "pd.Index",
) -> "pd.DataFrame":
    """The lines of all rows, one below another.

    Args:
        explainer: What explains them.
        batches: Rows, or sessions, with the place of each in the index.
        index: Index of all rows.
    """
    import pandas as pd

    places, positions, lines = [], [], []
    for numbers, batch in batches:
        instances = explainer.instances(move_data_to_device(batch, explainer.model.device))
        for instance, found in explainer.explain_each(instances):
            if isinstance(found, NotFinite):
                raise found
            mine = [*found.lines()]
            lines += mine
            places += [numbers[instance.row]] * len(mine)
            positions += [instance.position] * len(mine)
    names = ("fields", "contribution", "error", "share")
    found = pd.DataFrame(lines, columns=pd.Index(names), index=index.take(places))
    if any(positions):
        found.insert(0, "position", positions)
    return found


def means_of(
    model: ZooModule, batch: Batch | SessionBatch, means: "Means | None"
) -> Tensor | SessionMeans:
    """What fields are where they are off; see `explain`."""
    if means is None:
        means = datamodule_of(model.trainer) if model._trainer else None
    if isinstance(batch, SessionBatch):
        return _of_sessions(means)
    numerical = [field.name for field in model.schema.numerical]
    if not numerical:
        return torch.zeros(0)
    if means is None:
        raise ZooError(
            "means: explain needs to know what a number is where it is off: give means=data (the "
            "datamodule, set up), a batch of training rows, or the mean of each numerical field, "
            "by name"
        )
    if isinstance(means, ZooDataModule):
        return torch.from_numpy(means.numerical_means())
    if isinstance(means, Batch):
        return means.numerical.double().mean(0).float()
    if isinstance(means, Mapping):
        if absent := [name for name in numerical if name not in means]:
            raise ZooError(f"means: there is none of the field {absent[0]}")
        means = [means[name] for name in numerical]
    found = torch.as_tensor(np.asarray(means, np.float32))
    if found.shape != (len(numerical),):
        raise ZooError(
            f"means: of shape {[*found.shape]}, where the model has {len(numerical)} numerical "
            f"fields: {', '.join(numerical)}"
        )
    return found


def _of_sessions(means: Any) -> SessionMeans:
    if isinstance(means, ZooDataModule):
        return SessionMeans.of(means.train_dataloader())
    if isinstance(means, SessionBatch):
        return SessionMeans.of([means])
    raise ZooError(
        "means: explain needs to know what a field is where it is off: give means=data (the "
        "datamodule, set up), or a batch of training sessions"
    )


def training_means(data: ZooDataModule, schema: Schema) -> Tensor | SessionMeans:
    """The training means of a datamodule, of its encoder where that has them.

    Args:
        data: The data, with or without an encoder.
        schema: Fields of the model.
    """
    encoder = data.encoder_folder
    if encoder is not None and (encoder / "encoder.json").is_file():
        try:
            return torch.tensor(numerical_means(encoder, schema))
        except ZooError:  # of sessions, which keep none
            pass
    try:
        data.prepare_data()
        data.setup("fit")
    except ZooError as error:
        raise ZooError(
            f"explain takes what off means from the training rows, which cannot be read: {error}"
        ) from error
    first = next(iter(data.train_dataloader()), None)
    if isinstance(first, SessionBatch):
        return SessionMeans.of(data.train_dataloader())
    return torch.from_numpy(data.numerical_means())
