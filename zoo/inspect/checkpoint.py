"""Reads a checkpoint safely: weights and plain data, or one sentence that says why not."""

import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.serialization import get_unsafe_globals_in_checkpoint

from zoo.data.archive import LARGEST_RATIO, check_archive
from zoo.data.errors import ZooError
from zoo.data.plain import check_bounds
from zoo.data.shard_content import opened

# what builds a model, where Lightning's own command line has fitted it
BUILDERS = (
    None,
    "pytorch_lightning.cli.instantiate_module",
    "lightning.pytorch.cli.instantiate_module",
)
SMALL = 2**20  # bytes; what is expanded to no more harms nobody
SQUARES = ("sum", "exp_avg_sq")  # of Adagrad, of Adam
# of batch normalisation, of encodings of numbers, and of the terms of additive models
NORMALISATION = ("running_mean", "running_var", "num_batches_tracked")
BUFFERS = (*NORMALISATION, "bin_edges", ".means", ".offsets", ".spread")


def read(path: Path) -> dict[str, Any]:
    """The content of a checkpoint; its tensors stay in the file until they are looked at.

    Tables that lie in parts beside it stay there, and are on the device `meta`: see
    `zoo.data.shard_content.restored`.

    Raises:
        ZooError: where there is no such file, it is damaged, or holds more than weights and plain
            data; where parts are missing or damaged.
    """
    if path.is_dir():
        inside = sorted(path.rglob("*.ckpt"))
        hint = f", such as {inside[0]}" if inside else ""
        raise ZooError(f"{path} is a directory: name a checkpoint{hint}")
    if not path.is_file():
        raise ZooError(f"no such checkpoint: {path}")
    try:
        mapped = bool(check_archive(path))
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except ZooError:
        raise
    except PermissionError as error:
        raise ZooError(f"{path} cannot be read: {error.strerror}") from error
    except Exception as error:  # a damaged file fails in too many ways to name
        raise ZooError(_refusal(path, error)) from error
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), Mapping):
        raise ZooError(f"{path} is not a checkpoint of this project: it holds no state_dict")
    check_bounds(content, path)
    _check_builder(path, content)
    _check_tensors(path, content)
    if "shards" in content:
        opened(content, path)
    return content


def _check_builder(path: Path, content: Mapping[str, Any]) -> None:
    """Refuses a name of code that Lightning would call to build the model."""
    options = content.get("hyper_parameters")
    builder = options.get("_instantiator") if isinstance(options, Mapping) else None
    if builder not in BUILDERS:
        raise ZooError(f"{path} names code: {builder} as what builds its model: it is not loaded")


def _check_tensors(path: Path, content: Any) -> None:
    """Refuses tensors whose elements share their memory, so that a copy would fill it all.

    Weights that two modules share count twice; nothing that trains has them a hundred times.
    """
    held, claimed = path.stat().st_size, 0
    for tensor in _tensors(content):
        size = tensor.numel() * tensor.element_size()
        claimed += size
        if size > max(tensor.untyped_storage().nbytes(), SMALL) or claimed > LARGEST_RATIO * held:
            raise ZooError(f"{path} is not read: its {held:,} bytes hold tensors of {claimed:,}")


def _tensors(content: Any) -> Iterator[Tensor]:
    """All tensors of nested mappings and lists, as often as a walk meets them."""
    if isinstance(content, Tensor):
        if content.layout == torch.strided and not content.is_meta:
            yield content
    elif isinstance(content, Mapping | list | tuple):
        for child in content.values() if isinstance(content, Mapping) else content:
            yield from _tensors(child)


def _refusal(path: Path, error: Exception) -> str:
    if isinstance(error, pickle.UnpicklingError) and (named := _code_in(path)):
        return (
            f"{path} holds more than weights and plain data ({', '.join(named[:3])}): it is not "
            "loaded, as it could run code"
        )
    return f"{path} is not a checkpoint, or is damaged"


def _code_in(path: Path) -> list[str]:
    """The names of functions and classes that loading the file would call; it calls none."""
    try:
        return [repr(name)[1:-1] for name in get_unsafe_globals_in_checkpoint(path)]
    except Exception:  # damaged so that its pickle cannot be followed
        return []


def parameters_of(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The trained tensors by name, in the order of the model's `parameters()`."""
    return {
        name: tensor
        for name, tensor in checkpoint["state_dict"].items()
        if isinstance(name, str)
        and isinstance(tensor, Tensor)
        and not tensor.is_meta
        and tensor.is_floating_point()
        and tensor.layout == torch.strided
        and not name.endswith(BUFFERS)
    }


def optimizers_of(checkpoint: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The saved states of the optimisers, without that of a model that has none to optimise."""
    states = checkpoint.get("optimizer_states") or ()
    return [state for state in states if state.get("param_groups")]


def squares_of(checkpoint: Mapping[str, Any]) -> dict[str, tuple[Tensor, float]]:
    """Of each parameter the squared gradients that its optimiser has gathered, and their start.

    Adagrad sums them, Adam averages them; where they stand at their start, no gradient has ever
    come, or none that the sum can hold (of Adagrad's from 1e-8: above 2e-8). A weight decay that is
    a part of the gradient is gathered too: such parameters are left out.
    Empty without such an optimiser.
    """
    parameters = parameters_of(checkpoint)
    found: dict[str, tuple[Tensor, float]] = {}
    for optimizer in optimizers_of(checkpoint):
        groups = optimizer["param_groups"]
        places = [(i, group) for group in groups for i in group["params"]]
        # without names there is one group, in the order of the parameters
        names = [n for group in groups for n in group.get("param_names") or ()] or [*parameters]
        if len(places) != len(names) or sorted(names) != sorted(parameters):
            continue
        start = groups[0].get("initial_accumulator_value", 0.0)
        for name, (i, group) in zip(names, places, strict=True):
            state = optimizer["state"].get(i, {})
            squares = next((state[name] for name in SQUARES if name in state), None)
            if group.get("weight_decay") and not group.get("decoupled_weight_decay"):
                continue
            if isinstance(squares, Tensor) and squares.shape == parameters[name].shape:
                found[name] = squares, start if "sum" in state else 0.0
    return found
