"""Models whose predictions can be explained, and what explains them."""

from zoo.ctr import DCN, AutoInt, DeepFM, WideDeep, xDeepFM
from zoo.experts import InterpretableGRU, InterpretableMLP, InterpretableTransformer
from zoo.schema import Batch, Field, Schema, SessionBatch, ZooError
from zoo.sessions import LastSkip, MeanSkip

__all__ = [
    "DCN",
    "AutoInt",
    "Batch",
    "DeepFM",
    "Field",
    "InterpretableGRU",
    "InterpretableMLP",
    "InterpretableTransformer",
    "LastSkip",
    "MeanSkip",
    "Schema",
    "SessionBatch",
    "WideDeep",
    "ZooError",
    "xDeepFM",
]
