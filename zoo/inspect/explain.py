"""What a model does with some rows of a split: which fields count, and who says what.

Shapes: B rows or sessions, R scored labels of them, H experts, F embedded fields, T' tracks.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from pytorch_lightning import LightningModule
from torch import Tensor

from zoo.ctr.autoint import AutoInt
from zoo.data.batch import Batch, SessionBatch
from zoo.data.encoder import value_names
from zoo.experts.module import MixtureModule
from zoo.inspect.effects import Grid
from zoo.inspect.importance import Importance, importance
from zoo.inspect.sample import Rows, chunks, known, predict, sample
from zoo.models.baselines import SKIP
from zoo.models.sessions import SessionModule

EXAMPLES = 3  # of each expert


@dataclass(frozen=True)
class Prediction:
    """Of a row, or of a track of a session.

    Attributes:
        probability: predicted.
        label: None where it is not known.
        attribution: what each expert has to say, by name.
    """

    probability: float
    label: float | None
    attribution: dict[str, float]


@dataclass(frozen=True)
class Example:
    """A row in which an expert is sure, and heard.

    Attributes:
        expert: its name.
        prediction: of the row.
        values: of the fields that the expert sees: numbers as the model takes them, values of
            categorical fields by name; of a track, of those that are known of it.
    """

    expert: str
    prediction: Prediction
    values: dict[str, float | str]


@dataclass(frozen=True)
class Session:
    """A session and its predictions.

    Attributes:
        past: of the tracks of the first part, which were skipped; empty where no field says.
        tracks: of the second part.
    """

    past: tuple[bool, ...]
    tracks: tuple[Prediction, ...]


@dataclass(frozen=True)
class Explanation:
    """What a model does with a sample of a split.

    Attributes:
        rows: number of labels in the sample.
        importance: of each field, the largest first.
        attention: mean over the sample, of each layer of AutoInt.
        examples: the rows in which each expert of a mixture is surest, and most heard.
        session: the one whose attribution changes most along its tracks.
    """

    rows: int
    importance: tuple[Importance, ...]
    attention: tuple[Grid, ...]
    examples: tuple[Example, ...]
    session: Session | None


def explain(
    model: LightningModule, batches: Iterable[Rows], count: int, encoder: Path | None = None
) -> Explanation | None:
    """Explains a sample of a split.

    Args:
        model: in evaluation.
        batches: of the split.
        count: of the sampled rows at most; 0 explains nothing.
        encoder: folder of the encoder, where it is known, to name values by.
    """
    batch = sample(batches, count) if count else None
    if batch is None:
        return None
    mixed = isinstance(model, MixtureModule) and len(model.lattice) > 1
    in_sessions = mixed and isinstance(model, SessionModule)
    return Explanation(
        int(known(model, batch).sum()),
        tuple(importance(model, batch)),
        tuple(attention(model, batch)) if isinstance(model, AutoInt) else (),
        tuple(examples(model, batch, encoder)) if mixed else (),
        session(model, batch) if in_sessions else None,
    )


@torch.no_grad()
def attention(model: AutoInt, batch: Batch) -> Iterator[Grid]:
    """[F, F] of each layer: how much one field takes from another, mean over rows and heads."""
    sums: list[Tensor] = []
    for part in chunks(batch):
        layers = [layer.double().mean(1).sum(0) for layer in model.attention(part)[1]]
        sums = [a + b for a, b in zip(sums, layers, strict=True)] if sums else layers
    schema = model.schema
    numerical = schema.numerical if model.embedding.numerical_vectors is not None else ()
    fields = tuple(field.name for field in (*numerical, *schema.categorical))
    for layer, total in enumerate(sums, 1):
        yield Grid(
            f"attention between fields, layer {layer}",
            "The brighter a cell, the more of its new representation the field of the row takes "
            "from the field of the column; each row sums to one, so that "
            f"{1 / len(fields):.2g} everywhere is attention to nothing in particular.",
            fields,
            fields,
            tuple(map(tuple, (total / len(batch.label)).tolist())),
        )


@torch.no_grad()
def examples(model: MixtureModule, batch: Rows, encoder: Path | None = None) -> list[Example]:
    """Of each expert the rows in which alpha times attribution is largest.

    By alpha it is sure, and none inside it is; by attribution, those around it have little to add.
    """
    scored = known(model, batch)
    logits, attribution = (part[scored] for part in predict(model, batch))
    z = torch.cat([model.expert_outputs(part) for part in chunks(batch)])[scored].float()
    alpha = model.log_selection(z)
    heard = 2 * alpha - alpha.logsumexp(1, keepdim=True)
    most = heard.topk(min(EXAMPLES, len(heard)), 0).indices  # [., H]
    chosen = most.T.flatten()
    predictions = _predictions(
        model, logits[chosen], batch.label[scored][chosen], attribution[chosen]
    )
    values = _values(model, batch, scored, chosen, encoder)
    experts = [i for i in range(len(model.lattice)) for _ in range(len(most))]
    return [
        Example(
            model.lattice.names[i],
            prediction,
            {field: row[field] for field in model.lattice.fields[i] if field in row},
        )
        for i, prediction, row in zip(experts, predictions, values, strict=True)
    ]


def _predictions(
    model: MixtureModule, logits: Tensor, labels: Tensor, attribution: Tensor
) -> Iterator[Prediction]:
    probabilities = logits.double().sigmoid().tolist()
    for p, label, said in zip(probabilities, labels.tolist(), attribution.tolist(), strict=True):
        told = None if label != label else label  # NaN
        yield Prediction(p, told, dict(zip(model.lattice.names, said, strict=True)))


def _values(
    model: LightningModule, batch: Rows, scored: Tensor, chosen: Tensor, encoder: Path | None
) -> list[dict[str, float | str]]:
    """The values of the chosen ones among the scored rows; of tracks, those known of them."""
    schema = model.schema
    if isinstance(batch, SessionBatch):
        numbers, fields = batch.future[scored][chosen], schema.future
        return [dict(zip((f.name for f in fields), row, strict=True)) for row in numbers.tolist()]
    numbers = batch.numerical[scored][chosen].tolist()
    ids = batch.categorical[scored][chosen]
    wanted = {f.name: set(ids[:, c].tolist()) for c, f in enumerate(schema.categorical)}
    known_names = value_names(encoder, wanted)
    found = []
    for row, codes in zip(numbers, ids.tolist(), strict=True):
        mine: dict[str, float | str] = dict(
            zip((f.name for f in schema.numerical), row, strict=True)
        )
        for field, code in zip(schema.categorical, codes, strict=True):
            mine[field.name] = known_names[field.name].get(code, f"id {code}")
        found.append(mine)
    return found


def session(model: MixtureModule, batch: SessionBatch) -> Session:
    """The session whose attribution changes most from track to track."""
    logits, attribution = predict(model, batch)
    real = batch.future_mask
    steps = (attribution[:, 1:] - attribution[:, :-1]).abs().sum(2) * real[:, 1:]
    i = int(steps.sum(1).argmax())
    here = real[i]
    of_past = [field.name for field in model.schema.numerical]
    past = batch.past[i][batch.past_mask[i]]
    skipped = past[:, of_past.index(SKIP)] > 0.5 if SKIP in of_past else past.new_zeros(0).bool()
    tracks = _predictions(model, logits[i][here], batch.label[i][here], attribution[i][here])
    return Session(tuple(skipped.tolist()), tuple(tracks))
