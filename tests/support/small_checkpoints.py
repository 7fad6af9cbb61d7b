"""Small checkpoints of every exported model, for the tests of `inspect`."""

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

import zoo
from zoo import Batch, Field, Schema, SessionBatch
from zoo.experts.module import MixtureModule
from zoo.models.baselines import SkipBaseline
from zoo.models.sessions import SessionModule

ROWS = Schema(
    (
        Field("n0", "numerical"),
        Field("[red]c0[/red]", "categorical", 7, "user"),
        Field("<b>c1</b>", "categorical", 11, "item"),
        Field("[red]c0[/red] x <b>c1</b>", "categorical", 5, "cross"),
    )
)
SESSIONS = Schema(
    (
        Field("position", "numerical"),
        Field("skip_2", "numerical", group="interaction", past_only=True),
        Field("energy", "numerical", group="music"),
    )
)
SUBSETS = {"few": ["n0"], "all": ["*"]}
SESSION_SUBSETS = {"few": ["position"], "all": ["*"]}
MODELS = {name: getattr(zoo, name) for name in zoo.MODELS}
QUIET = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}


def row_batch(schema=ROWS):
    """Rows in which the values 4 and above of each field never come, nor 0 and 1."""
    ids = torch.randint(2, 4, (16, len(schema.categorical)))
    numbers = torch.randn(16, len(schema.numerical))
    return Batch(numbers, ids, torch.arange(16).remainder(2).float())


def session_batch():
    past, future = torch.randint(2, (8, 4, 3)).float(), torch.rand(8, 3, 2)
    seen, real = torch.ones(8, 4, dtype=torch.bool), torch.ones(8, 3, dtype=torch.bool)
    return SessionBatch(past, seen, future, real, torch.arange(24).remainder(2).view(8, 3).float())


def small(name, schema=None, **options):
    """A small model of each kind."""
    model_class = MODELS[name]
    torch.manual_seed(0)
    sessions = issubclass(model_class, SessionModule)
    schema = schema or (SESSIONS if sessions else ROWS)
    if issubclass(model_class, SkipBaseline):
        return model_class(schema)
    defaults = {"width": 8} if sessions else {"embedding_dim": 4, "hidden_units": [8, 6]}
    if issubclass(model_class, MixtureModule):
        defaults["subsets"] = SESSION_SUBSETS if sessions else SUBSETS
    if name == "AdditiveNetwork":  # which is no deep network, and has no bins without data
        defaults = {"embedding_dim": 4, "numerical_encoding": "none"}
    if name == "FiBiNET":  # which joins pairs
        defaults["embed_numerical"] = len(schema.categorical) < 2
    if name == "InterpretableTransformer":
        defaults["heads"] = 4
    return model_class(schema, **{**defaults, **options})


def saved(model, path):
    """The path of a checkpoint of a model that was never trained."""
    trainer = pl.Trainer(barebones=True, accelerator="cpu")
    trainer.strategy.connect(model)
    trainer.save_checkpoint(path, weights_only=True)
    return path


def fitted(model, path, epochs=2):
    """The path of a checkpoint saved at the end of a short fit."""
    batch = session_batch() if isinstance(model, SessionModule) else row_batch(model.schema)
    data = DataLoader([batch, batch], batch_size=None)
    saved = pl.callbacks.ModelCheckpoint(
        path.parent, path.stem, monitor="val/logloss", enable_version_counter=False
    )
    trainer = pl.Trainer(max_epochs=epochs, accelerator="cpu", callbacks=[saved], **QUIET)
    trainer.fit(model, data, data)
    trainer.save_checkpoint(path)
    return path
