"""Switches parts of a session on and off, to explain the prediction of one of its tracks.

Shapes: S sessions, T past events, T' tracks to predict, N fields of the past, M of the future,
d features, n masks.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from zoo.data.batch import SessionBatch
from zoo.data.errors import ZooError
from zoo.data.schema import Field, Schema

Features = Literal["groups", "events", "fields"]
PAST, TRACK = "past", "track"  # what the names of features begin with
SESSIONS = 10_000  # that means are taken of
Part = tuple[str, tuple[int, ...]]  # name of a feature, and its columns


@dataclass(frozen=True)
class SessionMeans:
    """Means of the fields over training sessions.

    Attributes:
        past: [N] over their past events.
        future: [M] over their tracks to predict.
    """

    past: Tensor
    future: Tensor

    @classmethod
    def of(cls, batches: Iterable[SessionBatch]) -> "SessionMeans":
        """Those of some batches, of which the first 10,000 sessions count."""
        totals, sessions = [torch.zeros(()).double()] * 2, 0
        counts = [0, 0]
        for batch in batches:
            parts = ((batch.past, batch.past_mask), (batch.future, batch.future_mask))
            for i, (values, mask) in enumerate(parts):
                totals[i] = totals[i] + values[mask].double().sum(0).cpu()
                counts[i] += int(mask.sum())
            sessions += len(batch.label)
            if sessions >= SESSIONS:
                break
        if not sessions:
            raise ZooError("there are no sessions to take the means of")
        past, future = (
            (total / max(count, 1)).float() for total, count in zip(totals, counts, strict=True)
        )
        return cls(past, future)


def parts_of(fields: Iterable[Field], prefix: str, grouped: bool) -> tuple[Part, ...]:
    """The features of some fields: each, or those of a group together where it has a name."""
    columns: dict[str, list[int]] = {}
    for column, field in enumerate(fields):
        name = field.group if grouped and field.group else field.name
        columns.setdefault(f"{prefix}.{name}", []).append(column)
    return tuple((name, tuple(mine)) for name, mine in columns.items())


@dataclass(frozen=True)
class SessionOnOff:
    """Switches parts of a session on and off: explains the logit of one track to predict.

    Features are first those of the past, then those of the track: fields, or groups of fields, over
    all events of the past, or single events; and fields, or groups, of the track to predict. On
    keeps the values. Off is the training mean of a field, and, of an event, its absence: the
    events that are left move together, and padding follows them. The other tracks to predict stay
    as they are.

    Attributes:
        means: Means of the fields over training sessions.
        position: Number of the track, from 0.
        past: Features of the past that are fields; empty where events are switched.
        track: Features of the track.
    """

    means: SessionMeans
    position: int
    past: tuple[Part, ...]
    track: tuple[Part, ...]

    @classmethod
    def of(
        cls, schema: Schema, means: SessionMeans, position: int, features: Features = "groups"
    ) -> "SessionOnOff":
        """Those of sessions of a schema.

        Args:
            schema: Fields of the sessions.
            means: Means of the fields over training sessions.
            position: Number of the track, from 0.
            features: What is switched: `groups` of fields, single `fields`, or `events` of the past
                beside groups of fields of the track.
        """
        grouped = features != "fields"
        past = () if features == "events" else parts_of(schema.numerical, PAST, grouped)
        return cls(means, position, past, parts_of(schema.future, TRACK, grouped))

    def names(self, instance: SessionBatch) -> list[str]:
        """[d] the names of the features of a session."""
        events = [f"event {i + 1}" for i in range(self._events(instance))]
        return [*events, *(name for name, _ in (*self.past, *self.track))]

    def centre(self, instance: SessionBatch) -> Tensor:
        """[d] the session itself: everything is on."""
        return torch.ones(self._events(instance) + len(self.past) + len(self.track))

    def _events(self, instance: SessionBatch) -> int:
        return 0 if self.past else int(instance.past_mask.sum())

    def apply(self, instance: SessionBatch, masks: Tensor) -> SessionBatch:
        """The sessions that masks [n, d] give.

        Args:
            instance: A batch of one session.
            masks: 1 where a feature is on, 0 where it is off.
        """
        if len(instance.label) != 1:
            raise ZooError(f"the instance must be one session, got {len(instance.label)}")
        on = masks.to(instance.past.device) > 0.5
        whole = SessionBatch(*(p.expand(len(on), *p.shape[1:]) for p in instance[:5]))  # pyright: ignore[reportOptionalMemberAccess]
        split = on.shape[1] - len(self.track)
        if self.past:
            past = _switched(whole.past, on[:, :split], self.past, self.means.past)
            past = past * whole.past_mask.unsqueeze(2)
            whole = whole._replace(past=past)
        else:
            whole = _without_events(whole, on[:, :split])
        t = self.position
        track = whole.future[:, t : t + 1]
        track = _switched(track, on[:, split:], self.track, self.means.future)
        future = torch.cat((whole.future[:, :t], track, whole.future[:, t + 1 :]), 1)
        return whole._replace(future=future)


def _switched(values: Tensor, on: Tensor, parts: tuple[Part, ...], means: Tensor) -> Tensor:
    """Values [n, T, N] in which the columns of the parts that are off are the means."""
    keep = torch.ones(len(on), values.shape[2], dtype=torch.bool, device=values.device)
    for feature, (_, columns) in enumerate(parts):
        keep[:, list(columns)] = on[:, feature, None]
    return torch.where(keep.unsqueeze(1), values, means.to(values))


def _without_events(sessions: SessionBatch, on: Tensor) -> SessionBatch:
    """The sessions with those past events alone that are on [n, events]; padding follows them."""
    mask = sessions.past_mask.clone()
    mask[sessions.past_mask] = on.flatten()
    order = (~mask).byte().argsort(dim=1, stable=True)
    mask = mask.gather(1, order)
    past = sessions.past.gather(1, order.unsqueeze(2).expand_as(sessions.past))
    return sessions._replace(past=past * mask.unsqueeze(2), past_mask=mask)
