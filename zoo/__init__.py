"""Models whose predictions can be explained, and what explains them."""

from zoo.ctr import DCN, AutoInt, DeepFM, WideDeep, xDeepFM
from zoo.experts import InterpretableMLP
from zoo.schema import Batch, Field, Schema, SessionBatch, ZooError

__all__ = [
    "DCN",
    "AutoInt",
    "Batch",
    "DeepFM",
    "Field",
    "InterpretableMLP",
    "Schema",
    "SessionBatch",
    "WideDeep",
    "ZooError",
    "xDeepFM",
]
