"""What tests of models over listening sessions share."""

import warnings

import pytest
import torch
from torch.utils.data import DataLoader

from zoo import Field, InterpretableGRU, InterpretableTransformer, Schema, SessionBatch
from zoo.data.module import ZooDataModule

SCHEMA = Schema(
    (
        Field("position", "numerical", group="position"),
        Field("hour", "numerical", group="context", past_only=True),
        Field("premium", "numerical", group="context", past_only=True),
        Field("skip_2", "numerical", group="interaction", past_only=True),
        Field("year", "numerical", group="general"),
        Field("energy", "numerical", group="music"),
        Field("valence", "numerical", group="music"),
    )
)
NAMES = [field.name for field in SCHEMA.fields]
FUTURE = [field.name for field in SCHEMA.future]
# as those of the paper: three left sides whose right side is the position alone
SUBSETS = {
    "context": ["position", "context"],
    "interaction": ["position", "interaction"],
    "music": ["position", "music"],
    "listening": ["position", "context", "interaction"],
    "all": ["*"],
}
MODELS = [InterpretableTransformer, InterpretableGRU]
T, T_NEXT = 4, 3
each_model = pytest.mark.parametrize("model_class", MODELS)


def build(model_class, given_subsets=SUBSETS, seed=0, **options):
    torch.manual_seed(seed)
    experts = len(given_subsets) if given_subsets else 1
    sizes = {"width": 4 * experts}
    if model_class is InterpretableTransformer:
        sizes |= {"blocks": 2, "heads": 2 * experts, "feed_forward": 6 * experts}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "fields in no subset")
        return model_class(SCHEMA, subsets=given_subsets, **(sizes | options))


def ends(lengths, time):
    return torch.arange(time) < torch.tensor(lengths).unsqueeze(1)


def random_batch(sessions=5, seed=0, past=None, future=None):
    """Random sessions, padding as random as the rest."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, T + 1, (2, sessions), generator=generator)
    future_mask = ends(future or lengths[1].clamp(max=T_NEXT).tolist(), T_NEXT)
    labels = torch.randint(2, (sessions, T_NEXT), generator=generator)
    batch = SessionBatch(
        past=torch.randn(sessions, T, len(NAMES), generator=generator),
        past_mask=ends(past or lengths[0].tolist(), T),
        future=torch.randn(sessions, T_NEXT, len(FUTURE), generator=generator),
        future_mask=future_mask,
        label=labels * future_mask.float(),
        row=torch.arange(sessions) * 2,
    )
    batch.past[..., NAMES.index("skip_2")].gt_(0)
    return batch


def changed(batch, fields):
    """The batch with other values of some fields, by their names."""
    past, future = batch.past.clone(), batch.future.clone()
    for field in fields:
        past[..., NAMES.index(field)] += 1.5
        if field in FUTURE:
            future[..., FUTURE.index(field)] -= 2.5
    return batch._replace(past=past, future=future)


class Sessions(ZooDataModule):
    """Random sessions.

    Args:
        predict_path: File to score, which is not read.
        predict_output: File of the predictions.
        encoder: Folder of an encoder, which is not read.
    """

    def __init__(
        self,
        predict_path: str | None = None,
        predict_output: str | None = None,
        encoder: str | None = None,
    ):
        super().__init__()
        self.predict_path, self.predict_output, self.encoder = predict_path, predict_output, encoder
        self.predict_rows = 5 * 2 + 3

    @property
    def schema(self):
        return SCHEMA

    def train_dataloader(self):
        return DataLoader([random_batch(5, seed) for seed in range(4)], batch_size=None)

    val_dataloader = test_dataloader = train_dataloader

    def predict_dataloader(self):
        return DataLoader([random_batch(5)], batch_size=None)
