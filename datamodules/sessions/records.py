"""Listening sessions: their columns, the fields made of them, and how they lie on disk.

A prepared session is one record of 200 bytes (`SESSION`): of its first half what was logged, in
small codes, of its second half the labels, and of both the numbers of the tracks, whose
features are looked up in one table when a batch is made. Where users are known, their numbers and
features are kept alike; the record has four bytes more.

Shapes: B sessions, T = 10 positions of a half, N fields.
"""

from dataclasses import dataclass, field

import numpy as np
import torch

from zoo.data.batch import SessionBatch
from zoo.data.schema import Field, Schema

HALF = 10  # positions of a half at most
MAX_LENGTH = 2 * HALF  # rows of a session at most
UNLABELLED = 255
MAX_DATE_GAP = 10.0  # deviations: where nearly all dates are of one day, others would be huge

CONTEXT_FLAGS = (
    "hist_user_behavior_is_shuffle",
    "premium",
    "no_pause_before_play",
    "short_pause_before_play",
    "long_pause_before_play",
)
INTERACTION_FLAGS = ("skip_1", "skip_2", "skip_3", "not_skipped", "context_switch")
FLAGS = CONTEXT_FLAGS + INTERACTION_FLAGS
LABEL = FLAGS.index("skip_2")
COUNTS = ("hist_user_behavior_n_seekfwd", "hist_user_behavior_n_seekback")
VALUES = ("context_type", "hist_user_behavior_reason_start", "hist_user_behavior_reason_end")
CODES = ("hour_of_day", *COUNTS, *VALUES)
TRACK_GENERAL = ("duration", "release_year", "us_popularity_estimate")
TRACK_MUSIC = (
    "acousticness", "beat_strength", "bounciness", "danceability", "dyn_range_mean", "energy",
    "flatness", "instrumentalness", "key", "liveness", "loudness", "mechanism", "mode",
    "organism", "speechiness", "tempo", "time_signature", "valence",
    *(f"acoustic_vector_{i}" for i in range(8)),
)  # fmt: skip
TRACK = TRACK_GENERAL + TRACK_MUSIC

SESSION = np.dtype(
    [
        ("row", "<i8"),  # number of the session in the raw files
        ("past_track", "<i4", HALF),  # row of the track table; 0 where unknown or padded
        ("future_track", "<i4", HALF),
        ("flags", "<u2", HALF),  # bit i is FLAGS[i]
        ("date", "<i2", HALF),  # days since 1970-01-01
        ("codes", "u1", (HALF, len(CODES))),  # counts up to 255; values from 1, 0 if unknown
        ("label", "u1", HALF),  # skip_2 of the second half; 255 where not known
        ("past", "u1"),  # length of the first half
        ("future", "u1"),
    ]
)
USER_SESSION = np.dtype([*SESSION.descr, ("user", "<i4")])  # row of the user table; 0 if unknown


def record_type(with_user: bool) -> np.dtype:
    """Type of the records of sessions, whose users are known or not."""
    return USER_SESSION if with_user else SESSION


def short(column: str) -> str:
    """A column's name as fields have it: without the prefix that says nothing."""
    return column.removeprefix("hist_user_behavior_")


@dataclass(frozen=True)
class Fitted:
    """What is fitted on training sessions.

    Attributes:
        vocabulary: For each column of `VALUES` its values, most frequent first; value i has the
            code i + 1.
        scales: Mean and standard deviation of each normalised field, by name: the track
            features, the logarithms ln(1 + x) of the seek counts, the date gap, in days
            since 1970-01-01, and the features of users.
        user_features: Columns of the user table; none where there is no such table.
    """

    vocabulary: dict[str, list[str]]
    scales: dict[str, tuple[float, float]]
    user_features: list[str] = field(default_factory=list)

    @property
    def schema(self) -> Schema:
        """All fields, numerical; the groups are those of section 4.3 and figure 7, and `user`."""
        of_tracks = {
            "position": ["session_position", "session_length"],
            "track_general": list(TRACK_GENERAL),
            "track_music": list(TRACK_MUSIC),
            "user": self.user_features,
        }
        logged = {
            "context": [
                *map(short, CONTEXT_FLAGS),
                "hour_sin",
                "hour_cos",
                "date_gap",
                *self._one_hot(VALUES[:1]),
            ],
            "interaction": [*INTERACTION_FLAGS, *map(short, COUNTS), *self._one_hot(VALUES[1:])],
        }
        return Schema(
            tuple(
                Field(name, "numerical", group=group, past_only=group in logged)
                for group in ("position", *logged, "track_general", "track_music", "user")
                for name in (of_tracks | logged)[group]
            )
        )

    def _one_hot(self, columns: tuple[str, ...]) -> list[str]:
        return [f"{short(c)}={value}" for c in columns for value in self.vocabulary[c]]


class Assembler:
    """Makes batches of records by lookup.

    Args:
        fitted: What is fitted on the training sessions.
        tracks: float32 [tracks + 1, 29] normalised features; row 0, of an unknown track, is zero.
        users: Those of the users, [users + 1, .]; None where they are not known.
    """

    def __init__(self, fitted: Fitted, tracks: np.ndarray, users: np.ndarray | None = None) -> None:
        self.tracks = tracks
        self.users = users
        self.schema = fitted.schema
        codes = np.arange(256)
        angle = 2 * np.pi * codes / 24
        tables = {"hour_of_day": np.stack((np.sin(angle), np.cos(angle)), 1)}
        for column in COUNTS:
            mean, deviation = fitted.scales[short(column)]
            tables[column] = ((np.log1p(codes) - mean) / deviation)[:, None]
        for column in VALUES:
            tables[column] = np.eye(256, len(fitted.vocabulary[column]), k=-1)
        self.tables = {column: table.astype(np.float32) for column, table in tables.items()}
        self.date = fitted.scales["date_gap"]

    def date_gaps(self, days: np.ndarray) -> np.ndarray:
        """The normalised gaps of dates, in days since 1970-01-01."""
        mean, deviation = self.date
        return np.clip((days - mean) / deviation, -MAX_DATE_GAP, MAX_DATE_GAP)

    def batch(self, records: np.ndarray, with_row: bool = False) -> SessionBatch:
        """The batch of [B] records of `SESSION`."""
        steps = np.arange(HALF)
        past_mask = steps < records["past"][:, None]
        future_mask = steps < records["future"][:, None]
        logged = self._logged(records)
        user = [] if self.users is None else [self.users[records["user"]][:, None]]
        length = records["past"] + records["future"]
        parts = [*logged, self.tracks[records["past_track"]], *user]
        past = _half(steps + 1, length, parts, past_mask)
        position = records["past"][:, None] + steps + 1
        parts = [self.tracks[records["future_track"]], *user]
        future = _half(position, length, parts, future_mask)
        label = records["label"].astype(np.float32)
        label[label == UNLABELLED] = np.nan
        return SessionBatch(
            past=torch.from_numpy(past),
            past_mask=torch.from_numpy(past_mask),
            future=torch.from_numpy(future),
            future_mask=torch.from_numpy(future_mask),
            label=torch.from_numpy(label),
            row=torch.from_numpy(np.array(records["row"])) if with_row else None,
        )

    def _logged(self, records: np.ndarray) -> list[np.ndarray]:
        """[B, T, .] parts of the first half, in the order of the schema."""
        flags = records["flags"][..., None] >> np.arange(len(FLAGS), dtype=np.uint16) & 1
        gap = self.date_gaps(records["date"][..., None])
        hour, forward, back, context, start, end = (
            self.tables[column][records["codes"][..., i]] for i, column in enumerate(CODES)
        )
        split = len(CONTEXT_FLAGS)
        context_parts = [flags[..., :split], hour, gap, context]
        return [*context_parts, flags[..., split:], forward, back, start, end]


def _half(
    position: np.ndarray, length: np.ndarray, parts: list[np.ndarray], mask: np.ndarray
) -> np.ndarray:
    """float32 [B, T, N]: position, then parts [B, T or 1, .] side by side; padding is zero."""
    width = 2 + sum(part.shape[-1] for part in parts)
    out = np.empty((*mask.shape, width), np.float32)
    out[..., 0] = position / MAX_LENGTH
    out[..., 1] = length[:, None] / MAX_LENGTH
    first = 2
    for part in parts:
        out[..., first : first + part.shape[-1]] = part
        first += part.shape[-1]
    out[~mask] = 0
    return out
