"""A fit that begins with the weights of another, whose ids mean other values.

Shapes: R rows of a table.
"""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from zoo.data.errors import ZooError
from zoo.data.known_ids import KnownIds
from zoo.data.shards import TableBeside
from zoo.models.base import ZooModule
from zoo.models.checkpoint import different_options
from zoo.models.class_spec import same_class
from zoo.nn.embedding import FusedEmbedding

Source = Tensor | TableBeside
Rows = dict[str, tuple[Tensor, Tensor]]  # of each table the known rows [R], now and before


@torch.no_grad()
def take_over(
    model: ZooModule,
    before: ZooModule,
    known: Mapping[str, KnownIds],
    beside: Mapping[str, TableBeside] | None = None,
) -> None:
    """Gives a model the weights of another: of tables the rows of known ids, else all.

    Args:
        model: The model, whose other rows stay as they are.
        before: One of the same class.
        known: The known ids of each vocabulary.
        beside: Those of its weights, by name, that lie beside its checkpoint.

    Raises:
        ZooError: where the models differ by more than their vocabularies.
    """
    rows = _rows(model, before, known)
    mine: dict[str, Tensor] = model.state_dict()
    theirs: dict[str, Source] = {**before.state_dict(), **(beside or {})}
    _check(model, before, mine, theirs, rows)
    for name, tensor in mine.items():
        _copy(tensor, theirs[name], rows.get(name))
    model.warm_started = True
    model.rate_before = before.negative_sampling_rate


@torch.no_grad()
def take_over_state(
    model: ZooModule,
    optimizer: Optimizer,
    before: ZooModule,
    saved: Mapping[str, Any],
    known: Mapping[str, KnownIds],
) -> None:
    """Gives an optimizer the state of another, by the names of their parameters.

    Of what it keeps for each weight, such as Adagrad's sums and Adam's moments, the rows of known
    ids are taken over, and new rows begin as those of a new optimizer.

    Args:
        model: The model that the optimizer is of.
        optimizer: The optimizer, before its first step.
        before: The other model.
        saved: The state of its optimizer, as its checkpoint holds it.
        known: The known ids of each vocabulary.

    Raises:
        ZooError: where the optimizer is another.
    """
    old, new = before.hparams.get("optimizer"), model.hparams.get("optimizer")
    if not same_class(old, new):
        raise ZooError(
            f"warm_start: model.optimizer was {old!r}, and is {new!r} here: the state of one is "
            "none of the other; give the same"
        )
    rows, states = _rows(model, before, known), _states(before, saved)
    names = {parameter: name for name, parameter in model.named_parameters()}
    content = optimizer.state_dict()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    numbers = [number for group in content["param_groups"] for number in group["params"]]
    for number, parameter in zip(numbers, parameters, strict=True):
        begun, name = optimizer.state.get(parameter, {}), names[parameter]
        for key, value in states[name].items():
            if isinstance(value, Source) and value.ndim and name in rows:
                made = begun.get(key, torch.zeros_like(parameter, dtype=value.dtype)).clone()
                _copy(made, value, rows[name])
            else:
                made = _whole(value) if isinstance(value, Source) else copy.deepcopy(value)
            content["state"].setdefault(number, {})[key] = made
    optimizer.load_state_dict(content)  # which moves them to where they belong


def _states(before: ZooModule, saved: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The saved state of each parameter, by name."""
    shapes = {name: parameter.shape for name, parameter in before.named_parameters()}
    groups = saved["param_groups"]
    numbers = [number for group in groups for number in group["params"]]
    # without names there is one group, in the order of the parameters
    names = [name for group in groups for name in group.get("param_names") or ()] or [*shapes]
    if len(numbers) != len(names) or sorted(names) != sorted(shapes):
        raise ZooError("warm_start: the state of the optimizer is that of other parameters")
    found = {name: saved["state"].get(i, {}) for name, i in zip(names, numbers, strict=True)}
    for name, state in found.items():
        sizes = {value.shape for value in state.values() if isinstance(value, Source)}
        if sizes - {torch.Size(()), shapes[name]}:
            raise ZooError(
                f"warm_start: the optimizer keeps for {name} what is no value for each of its "
                "weights, which cannot be told apart by rows: choose another optimizer"
            )
    return found


def _rows(model: ZooModule, before: ZooModule, known: Mapping[str, KnownIds]) -> Rows:
    """The known rows of each table of embeddings, and of what is said of them, by name."""
    found: Rows = {}
    others = dict(before.named_modules())
    for path, module in model.named_modules():
        theirs = others.get(path)
        if not (isinstance(module, FusedEmbedding) and isinstance(theirs, FusedEmbedding)):
            continue
        places = module.first_rows, theirs.first_rows
        both = [(f, ids) for f, ids in known.items() if all(f in place for place in places)]
        pairs = [(places[0][f] + ids.now, places[1][f] + ids.before) for f, ids in both]
        if pairs:
            now, then = (
                torch.from_numpy(np.concatenate(part)) for part in zip(*pairs, strict=True)
            )
            found |= {f"{path}.{name}": (now, then) for name in ("table", "is_frozen")}
            if module.shard is not None:  # of the table this process has its rows alone
                mine, places = module.shard.owned(now)
                found[f"{path}.table"] = places, then[mine]
    return found


def _check(
    model: ZooModule,
    before: ZooModule,
    mine: Mapping[str, Tensor],
    theirs: Mapping[str, Source],
    rows: Rows,
) -> None:
    different = different_options(before.hparams, model)
    for name in {**mine, **theirs}:
        sizes = [tuple(w[name].shape) if name in w else None for w in (mine, theirs)]
        if name in rows:
            sizes = [size and size[1:] for size in sizes]
        if sizes[0] != sizes[1]:
            reason = ", ".join(different) or f"{name} is of another shape, or only in one of them"
            raise ZooError(f"warm_start: its weights do not fit this model: {reason}")


def _copy(target: Tensor, source: Source, rows: tuple[Tensor, Tensor] | None) -> None:
    if rows is None:
        target.copy_(_whole(source))
    else:
        now, before = rows
        source = source.to(target.device) if isinstance(source, Tensor) else source
        found = source[before.to(target.device)]
        target[now.to(target.device)] = found.to(target.device, target.dtype)


def _whole(source: Source) -> Tensor:
    if isinstance(source, Tensor):
        return source.clone()
    return source[torch.arange(source.shape[0])]
