"""The peers' models with the settings of one of ours, and the rows as they take them."""

import importlib
import importlib.util
import inspect
import math
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from datamodules.prepared.arrays import Arrays
from zoo.ctr.base import CTRModule

# Ours -> deepctr-torch's: the names of model and options
DEEPCTR_NAMES = {"WideDeep": "WDL"}
DEEPCTR_OPTIONS = {
    "hidden_units": "dnn_hidden_units",
    "dropout": "dnn_dropout",
    "batch_norm": "dnn_use_bn",
    "cross_layers": "cross_num",
    "parameterization": "cross_parameterization",
    "cin_layers": "cin_layer_size",
    "split_half": "cin_split_half",
    "attention_layers": "att_layer_num",
    "heads": "att_head_num",
    "residual": "att_res",
    "bilinear": "bilinear_type",
    "reduction": "reduction_ratio",
}


def deepctr_torch(module: str) -> ModuleType:
    """A module of deepctr-torch, imported below a bare package.

    Importing the package itself would start a thread that asks the package index for its
    newest version.
    """
    if "deepctr_torch" not in sys.modules:
        spec = importlib.util.find_spec("deepctr_torch")
        if spec is None:
            raise ModuleNotFoundError("the peer is missing: pip install deepctr-torch")
        bare = ModuleType("deepctr_torch")
        bare.__path__ = list(spec.submodule_search_locations or [])
        sys.modules["deepctr_torch"] = bare
    return importlib.import_module(f"deepctr_torch.{module}")


def deepctr_model(ours: CTRModule, **options: Any) -> Any:
    """deepctr-torch's model with the settings of ours, as far as it has them, unregularised.

    It has no numerical embeddings and no width of its own for AutoInt's attention.
    """
    inputs = deepctr_torch("inputs")
    columns = [inputs.DenseFeat(field.name) for field in ours.schema.numerical]
    columns += [
        inputs.SparseFeat(field.name, field.cardinality, ours.hparams["embedding_dim"])
        for field in ours.schema.categorical
    ]
    name = type(ours).__name__
    model = getattr(deepctr_torch("models"), DEEPCTR_NAMES.get(name, name))
    known = inspect.signature(model).parameters  # FiBiNET's has no batch normalisation
    for option, theirs in DEEPCTR_OPTIONS.items():
        if option in ours.hparams and theirs in known:
            value = ours.hparams[option]
            options[theirs] = tuple(value) if isinstance(value, list) else value
    penalties = [p for p in known if p.startswith("l2_reg")]
    first_order = columns if ours.hparams["first_order"] else []
    return model(first_order, columns, **options, **dict.fromkeys(penalties, 0))


def deepctr_rows(arrays: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """Rows as deepctr-torch takes them, one float32 matrix [n, N + C], and their labels."""
    rows = np.concatenate((arrays.numerical, arrays.categorical.astype(np.float32)), 1)
    return rows, np.array(arrays.label)


def fuxictr_model(ours: CTRModule, gpu: int = -1) -> nn.Module:
    """The architecture of ours, built from FuxiCTR's layers on its base model.

    Its package brings layers, and a base model with its training, but no finished models. It has
    no layer for AutoInt, and its interaction network for xDeepFM knows no `split_half`: all
    maps feed the next layer, which makes that model about twice as large. `gpu` is the number of
    one; -1 is the CPU.
    """
    from fuxictr.features import FeatureMap
    from fuxictr.pytorch import layers
    from fuxictr.pytorch.models import BaseModel

    name, options = type(ours).__name__, ours.hparams
    numerical = [field.name for field in ours.schema.numerical]
    categorical = [field.name for field in ours.schema.categorical]
    feature_map = FeatureMap("rows", data_dir="")
    for field in ours.schema.numerical + ours.schema.categorical:
        kind = {"type": "numeric"} if field in ours.schema.numerical else {"type": "categorical"}
        feature_map.features[field.name] = kind | {"source": "", "vocab_size": field.cardinality}
    feature_map.labels = ["label"]
    feature_map.set_column_index()
    fields, dim = len(categorical), options["embedding_dim"]
    width = fields * dim + len(numerical)

    class Model(BaseModel):
        def __init__(self) -> None:
            super().__init__(feature_map, gpu=gpu, model_root="", metrics=[], verbose=0)
            columns = {"required_feature_columns": categorical}
            self.vectors = layers.FeatureEmbedding(feature_map, dim, **columns)
            if options["first_order"]:
                self.first_order = layers.LogisticRegression(feature_map)
            self.deep = layers.MLP_Block(width, list(options["hidden_units"]), output_dim=1)
            if name == "DeepFM":
                self.interaction = layers.InnerProductInteraction(fields, "product_sum")
            elif name == "xDeepFM":
                self.interaction = layers.CompressedInteractionNet(fields, options["cin_layers"])
            elif name == "DCN":
                cross = layers.CrossNet(width, options["cross_layers"])
                self.interaction = nn.Sequential(cross, nn.Linear(width, 1))
            self.compile("Adagrad", "binary_crossentropy", options["learning_rate"])
            self.reset_parameters()
            self.model_to_device()
            # what `fit` sets before it trains
            self._eval_steps, self._max_gradient_norm = math.inf, 10.0
            self._total_steps, self._stop_training = 0, False

        def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
            x = self.get_inputs(inputs)
            vectors = self.vectors(x)
            numbers = torch.stack([x[column].float() for column in numerical], 1)
            flat = torch.cat((vectors.flatten(1), numbers), 1)
            logit = self.deep(flat)
            if options["first_order"]:
                logit = logit + self.first_order(x)
            if name != "WideDeep":
                logit = logit + self.interaction(flat if name == "DCN" else vectors)
            return {"y_pred": self.output_activation(logit)}

    return Model()


def fuxictr_loader(model: nn.Module, arrays: Arrays, file: Path, batch_size: int) -> Iterable:
    """FuxiCTR's loader over rows, which it reads from a file with the suffix `.npz`."""
    from fuxictr.pytorch.dataloaders import RankDataLoader

    columns = [*arrays.numerical.T, *arrays.categorical.T]
    np.savez(
        file, **dict(zip(model.feature_map.features, columns, strict=True)), label=arrays.label
    )
    train, _ = RankDataLoader(
        model.feature_map, stage="train", train_data=str(file), batch_size=batch_size
    )
    return train
