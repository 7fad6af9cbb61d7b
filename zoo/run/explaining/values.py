"""What the features of an explained row are where they are on, and where they are off, in words."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from zoo.data.batch import Batch, SessionBatch
from zoo.data.encoder import value_names
from zoo.data.schema import SKIP, Schema
from zoo.glider.explained import Explained
from zoo.glider.session_switches import Features, SessionMeans, SessionOnOff
from zoo.inspect.with_data.values import ids_of, shown
from zoo.run.explaining.exact import ExactInstance

THERE, SKIPPED, NOT_SKIPPED = "there", "skipped", "not skipped"
ABSENT, EMPTY, MEANS, ZERO = "absent", "empty list", "their means", "zero embedding"
FEW = 3  # fields of a group, whose values are shown
Words = Mapping[str, float | str]


@dataclass(frozen=True)
class Values:
    """The values of features, in words.

    Attributes:
        schema: Fields of the rows.
        encoder: Folder of the encoder that names the values; None without one.
        means: What numbers are where they are off; None where nothing is switched off.
        features: What is switched on and off in sessions.
    """

    schema: Schema
    encoder: Path | None
    means: Tensor | SessionMeans | None
    features: Features

    def names(self, batch: Any) -> dict[str, dict[int, str]]:
        """The names of the ids in a batch, by field; of sessions, which have none, nothing."""
        if not isinstance(batch, Batch):
            return {}
        inputs = batch.inputs(self.schema)
        ids = {name: found for name, column in inputs.items() if (found := ids_of(column))}
        return value_names(self.encoder, ids)

    def words(
        self, found: Explained | ExactInstance, names: dict[str, dict[int, str]]
    ) -> tuple[Words, Words]:
        """What each feature is in the row, and what it is where it is off.

        Args:
            found: The explanation.
            names: Names of the ids, from `names` of its row or of a batch that holds it.
        """
        one = found.instance.batch
        if isinstance(one, Batch):
            inputs = one.inputs(self.schema)
            on = {name: shown(inputs[name][0], names.get(name, {})) for name in found.names}
            return on, self._off()
        assert not isinstance(found, ExactInstance)  # which are of rows
        return self._of_session(found, one)

    def _off(self) -> Words:
        if self.means is None:
            return {}
        assert isinstance(self.means, Tensor)
        numbers = {f.name: float(m) for f, m in zip(self.schema.numerical, self.means, strict=True)}
        ids = {field.name: ZERO for field in self.schema.categorical}
        return numbers | ids | {field.name: EMPTY for field in self.schema.lists}

    def _of_session(self, found: Explained, one: SessionBatch) -> tuple[Words, Words]:
        assert isinstance(self.means, SessionMeans)
        track = (found.instance.position or 1) - 1
        switches = SessionOnOff.of(self.schema, self.means, track, self.features)
        past = one.past[0][one.past_mask[0]].cpu()
        future = one.future[0, track : track + 1].cpu()
        on, off = {}, {}
        for parts, values, means, fields in (
            (switches.past, past, self.means.past, self.schema.numerical),
            (switches.track, future, self.means.future, self.schema.future),
        ):
            for name, columns in parts:
                labels = [fields[c].name for c in columns]
                on[name] = _said(labels, values[:, list(columns)])
                off[name] = MEANS if len(labels) > 1 else _said(labels, means[None, list(columns)])
        events = [name for name in found.names if name not in on]
        there = dict(zip(events, self._events(past), strict=False))
        return {**there, **on}, {**dict.fromkeys(events, ABSENT), **off}

    def _events(self, past: Tensor) -> list[str]:
        """What each event [T, N] of the past is."""
        names = [field.name for field in self.schema.numerical]
        if SKIP not in names:
            return [THERE] * len(past)
        skipped = past[:, names.index(SKIP)] > 0.5
        return [SKIPPED if skip else NOT_SKIPPED for skip in skipped.tolist()]


def _said(labels: list[str], values: Tensor) -> str:
    """The values [T, C] of some fields in words: of one field over time, or of a few at a time."""
    if len(labels) == 1:
        return ", ".join(f"{value:.3g}" for value in values[:, 0].tolist())
    if len(labels) > FEW or len(values) > 1:
        return f"{len(labels)} fields"
    row = values[0].tolist()
    return ", ".join(f"{label} {value:.3g}" for label, value in zip(labels, row, strict=True))
