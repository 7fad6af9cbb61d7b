"""Models whose predictions can be explained, and what explains them."""

from importlib import import_module
from typing import Any

from zoo.data.batch import Batch, SessionBatch
from zoo.data.errors import ZooError
from zoo.data.schema import Field, Schema

# Where the models live. Each is imported when it is first asked for: what needs none of them,
# such as `zoo.inspect`, does not wait for Lightning, which takes longer to import than PyTorch.
MODELS = {
    "AdditiveNetwork": "zoo.additive.network",
    "AutoInt": "zoo.ctr.autoint",
    "DCN": "zoo.ctr.dcn",
    "DeepFM": "zoo.ctr.deepfm",
    "FiBiNET": "zoo.ctr.fibinet",
    "InterHAt": "zoo.ctr.interhat",
    "InterpretableGRU": "zoo.experts.gru",
    "InterpretableMLP": "zoo.experts.mlp",
    "InterpretableTransformer": "zoo.experts.transformer",
    "LastSkip": "zoo.models.baselines",
    "MeanSkip": "zoo.models.baselines",
    "WideDeep": "zoo.ctr.wide_deep",
    "xDeepFM": "zoo.ctr.xdeepfm",
}
# What a model or a dataset of one's own derives from
BASES = {
    "CTRModule": "zoo.ctr.base",
    "MixtureModule": "zoo.experts.module",
    "RowModule": "zoo.models.tabular",
    "SessionModule": "zoo.models.sessions",
    "ZooDataModule": "zoo.data.module",
    "ZooModule": "zoo.models.base",
}
# What trains and scores DataFrames, and explains predictions
FUNCTIONS = {
    "describe": "zoo.run.declared",
    "explain": "zoo.run.explaining.python",
    "fit": "zoo.run.fit",
    "load": "zoo.run.loaded",
}
__all__ = ["Batch", "Field", "Schema", "SessionBatch", "ZooError", *MODELS, *BASES, *FUNCTIONS]


def __getattr__(name: str) -> Any:
    home = MODELS.get(name) or BASES.get(name) or FUNCTIONS.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return [*globals(), *MODELS, *BASES, *FUNCTIONS]
