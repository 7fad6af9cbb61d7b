"""What a model does with a sample of a split: which fields count, and who says what."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zoo.data.batch import SessionBatch
from zoo.inspect.grid import Grid
from zoo.inspect.page import Section
from zoo.inspect.with_data import attention, examples, gates, importance, session, terms
from zoo.inspect.with_data.examples import Example
from zoo.inspect.with_data.gates import GateOfSample
from zoo.inspect.with_data.importance import Importance
from zoo.inspect.with_data.sample import sample
from zoo.inspect.with_data.session import Session
from zoo.inspect.with_data.terms import TermOfSample
from zoo.models.base import ZooModule


@dataclass(frozen=True)
class Explanation:
    """What a model does with a sample of a split.

    Attributes:
        rows: Number of labels in the sample.
        importance: Importance of each field, the largest first.
        attention: Mean attention over the sample, of each layer of a model with attention.
        gates: Weights that the model gives to fields or parts of itself, anew in each row.
        examples: Rows in which each expert of a mixture is surest, and most heard.
        session: The session whose attribution changes most along its tracks.
        terms: Terms of a glass box with their shapes, those that vary most first.
    """

    rows: int
    importance: tuple[Importance, ...]
    attention: tuple[Grid, ...]
    gates: tuple[GateOfSample, ...]
    examples: tuple[Example, ...]
    session: Session | None
    terms: tuple[TermOfSample, ...] = ()

    def sections(self) -> Iterator[Section]:
        """One of each fact."""
        yield from importance.sections(self.importance, self.rows)
        yield from terms.sections(self.terms)
        yield from attention.sections(self.attention)
        yield from gates.sections(self.gates)
        yield from session.sections(self.session)
        yield from examples.sections(self.examples)


def explain(
    model: ZooModule, batches: Iterable[Any], count: int, encoder: Path | None = None
) -> Explanation | None:
    """Explains a sample of a split.

    Args:
        model: A model in evaluation.
        batches: Batches of the split.
        count: Number of sampled rows at most; 0 explains nothing.
        encoder: Folder of the encoder that names the values; None without one.

    Returns None where no row has a label.
    """
    batch = sample(batches, count) if count else None
    if batch is None:
        return None
    mixed = len(model.experts) > 1
    in_sessions = mixed and isinstance(batch, SessionBatch)
    return Explanation(
        int(batch.labelled.sum()),
        tuple(importance.importance_of(model, batch)),
        tuple(attention.attention_of(model, batch)),
        tuple(gates.gates_of(model, batch)),
        tuple(examples.examples_of(model, batch, encoder)) if mixed else (),
        session.session_of(model, batch) if in_sessions else None,
        tuple(terms.terms_of(model, batch, encoder)),
    )
