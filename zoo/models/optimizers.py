"""Optimizers, made of what a model's options say."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from zoo.data.errors import ZooError
from zoo.models.class_spec import ClassSpec, arguments_of, class_of, classes_of, parts_of
from zoo.nn.embedding import FusedEmbedding
from zoo.nn.optim import Adagrad, LazyAdam

# of no use here are those that need closures, or gradients that are all sparse or all matrices
OPTIMIZERS: dict[str, type] = classes_of(
    torch.optim, Optimizer, but=("LBFGS", "SparseAdam", "Muon")
) | {"adagrad": Adagrad, "lazy_adam": LazyAdam}
OWN_OPTIONS = {"lr": "learning_rate", "weight_decay": "weight_decay"}  # of models, by torch's name
EMBEDDINGS = (FusedEmbedding, nn.Embedding, nn.EmbeddingBag)


def make_optimizer(
    spec: ClassSpec,
    groups: list[dict[str, Any]],
    rate: float,
    fusible: bool = False,
    beside: Iterable[Path] = (),
) -> Optimizer:
    """The optimizer that `model.optimizer` names.

    Its own default of `weight_decay` does not count, such as AdamW's 0.01: the groups say it, and
    where they do not it is 0.

    Args:
        spec: Value of the option.
        groups: Parameters; see `groups_of`.
        rate: Its learning rate.
        fusible: Whether Adam and AdamW may take a step with one kernel: on a CPU, and without
            clipping in mixed precision.
        beside: Folders of the config that names it, from which no code is taken.

    Raises:
        ZooError: where it cannot be made.
    """
    found = class_of("optimizer", spec, OPTIMIZERS, Optimizer, beside)
    _, arguments = parts_of(spec)
    for theirs, ours in OWN_OPTIONS.items():
        if theirs in arguments:
            raise ZooError(f"model.optimizer.init_args has {theirs}: give model.{ours} instead")
    if issubclass(found, torch.optim.LBFGS):
        raise ZooError(
            "model.optimizer: LBFGS evaluates the loss of a batch several times in a step, which "
            "would count its rows as often: choose another"
        )
    options = dict(arguments)
    chosen = options.keys() & {"fused", "foreach", "capturable", "differentiable"}
    if found in (torch.optim.Adam, torch.optim.AdamW) and fusible and not chosen:
        # a kernel for the whole step; on other devices it would not go with clipping and fp16
        options["fused"] = True
    decays = any("weight_decay" in group for group in groups)
    with arguments_of("optimizer", found, arguments):
        made: Optimizer = found(groups, lr=rate, **options)
    if decays and "weight_decay" not in made.defaults:
        raise ZooError(f"model.weight_decay: {found.__name__} has no weight decay, leave it out")
    for group in made.param_groups:
        if not decays and group.get("weight_decay"):
            group["weight_decay"] = 0.0
    return made


def groups_of(model: nn.Module, decay: float, embedding_decay: float) -> list[dict[str, Any]]:
    """The parameters of a model by how their weights decay, each group with its `weight_decay`.

    Weights of embeddings are those of a `FusedEmbedding`, `nn.Embedding` or `nn.EmbeddingBag`.
    Neither biases nor the parameters of normalisations decay, which are recognised by their names.
    Without any decay there is one group, in the order of `parameters()`.

    Args:
        model: Whose parameters.
        decay: Weight decay of all weights but the embeddings.
        embedding_decay: Weight decay of the embeddings.
    """
    if not decay and not embedding_decay:
        return [{"params": [*model.parameters()]}]
    kinds: dict[str, list[tuple[str, nn.Parameter]]] = {"weight": [], "embedding": [], "other": []}
    seen: set[nn.Parameter] = set()
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(path, recurse=False):
            if parameter not in seen:
                kinds[_kind(module, name.rpartition(".")[2])].append((name, parameter))
            seen.add(parameter)
    if embedding_decay and not kinds["embedding"]:
        raise ZooError("model.embedding_weight_decay: this model has no embeddings, leave it out")
    rates = {"weight": decay, "embedding": embedding_decay, "other": 0.0}
    return [
        {"params": found, "weight_decay": rates[kind]} for kind, found in kinds.items() if found
    ]


def _kind(module: nn.Module, name: str) -> str:
    """What a parameter is, from the module that has it and its name there."""
    if isinstance(module, EMBEDDINGS):
        return "embedding"
    return "other" if "bias" in name or "Norm" in type(module).__name__ else "weight"
