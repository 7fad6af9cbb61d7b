"""Toy tasks with many seeds at once: one network of stacked weights, whose products are batched.

The same networks, loss, steps and averaged weights as `train.py fit --config
configs/toy/interpretable_mlp.yaml` in about a tenth of its time; other rows make up a batch, and
nothing is validated in between.

Shapes: S seeds, B rows of a batch, N rows, H experts.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from torch import Tensor
from torch.nn import functional

from datamodules import GaussianClusters
from zoo import InterpretableMLP
from zoo.data.batch import Batch
from zoo.experts.layers import MaskedLinear, Restriction


class Given(InterpretableMLP):
    """The loss of a mixture, of outputs that are computed elsewhere.

    Attributes:
        given: What `judged_outputs` returns.
    """

    given: tuple[Tensor, Tensor | None]

    def judged_outputs(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """[S B, H] outputs z, and log d where it is learned."""
        return self.given


def train_together(
    file: Path, seeds: Sequence[int], options: Sequence[str]
) -> list[tuple[InterpretableMLP, GaussianClusters]]:
    """The trained model and the data of each seed.

    Args:
        file: A config of the toy tasks.
        seeds: The seeds, of rows and of weights.
        options: Further options, as `model.silence=0` and `data.task=a`.
    """
    config = yaml.safe_load(file.read_text())
    model, data = (config[part]["init_args"] for part in ("model", "data"))
    for option in options:
        name, _, value = option.partition("=")
        part, _, name = name.partition(".")
        {"model": model, "data": data}[part][name] = yaml.safe_load(value)
    found, batch_size = [], data.get("batch_size", 256)
    for seed in seeds:
        torch.manual_seed(seed)
        rows = GaussianClusters(**data | {"seed": seed})
        found.append((InterpretableMLP(rows.schema, **model), rows))
    average = config["trainer"]["callbacks"][0]["init_args"]["decay"]
    epochs = config["trainer"]["max_epochs"]
    _fit(found, Given(found[0][1].schema, **model), batch_size, epochs, average)
    return found


def _fit(
    found: Sequence[tuple[InterpretableMLP, GaussianClusters]],
    loss_of: Given,
    batch_size: int,
    epochs: int,
    decay: float,
) -> None:
    """Trains all models; they end with the mean of their weights."""
    models, first = [model for model, _ in found], found[0][0]
    names = [name for name, _ in first.named_parameters()]
    weights = {
        n: torch.stack([m.get_parameter(n).detach() for m in models]).requires_grad_()
        for n in names
    }
    trained = list(weights.values())
    averages = [weight.detach().clone() for weight in trained]
    arrays = [data.arrays["train"] for _, data in found]
    x = torch.stack([torch.from_numpy(a.numerical) for a in arrays])
    y = torch.stack([torch.from_numpy(a.label) for a in arrays])
    # the loss is a mean over the seeds: the steps of each are those that it takes alone
    optimizer = torch.optim.Adam(trained, first.hparams["learning_rate"], eps=1e-8 / len(models))
    for _ in range(epochs):
        order = torch.stack([torch.randperm(x.shape[1]) for _ in models])
        for rows in order.split(batch_size, 1):
            inputs = x.gather(1, rows.unsqueeze(2).expand(-1, -1, x.shape[2]))
            label = y.gather(1, rows).flatten()
            loss_of.given = _judged(first, weights, inputs)
            ids = torch.empty(len(label), 0, dtype=torch.int32)
            batch = Batch(inputs.flatten(0, 1), ids, label, rows.flatten())
            optimizer.zero_grad()
            loss_of.losses(batch)[0].backward()
            optimizer.step()
            with torch.no_grad():
                torch._foreach_lerp_(averages, trained, 1 - decay)
    for s, model in enumerate(models):
        state = {name: values[s] for name, values in zip(names, averages, strict=True)}
        model.load_state_dict(state, strict=False)
        model.eval()


def _judged(
    model: InterpretableMLP, weights: dict[str, Tensor], x: Tensor
) -> tuple[Tensor, Tensor | None]:
    """[S B, H] outputs z of x [S, B, fields], and log d where it is learned."""
    features: list[Tensor] = [x]
    layers = {f"layers.{i}": layer for i, layer in enumerate(model.layers)} | {"head": model.head}
    for name, layer in layers.items():
        outputs = []
        for i, pieces in enumerate(cast(Restriction | MaskedLinear, layer).pieces):
            # no gradient into the experts that an expert builds on; its own come first
            parts = [features[k][..., a:b] for k, a, b in pieces]
            seen = torch.cat([parts[0], *(part.detach() for part in parts[1:])], 2)
            weight, bias = (weights[f"{name}.experts.{i}.{part}"] for part in ("weight", "bias"))
            outputs.append(torch.baddbmm(bias.unsqueeze(1), seen, weight.transpose(1, 2)))
        features = outputs if name == "head" else [functional.relu(o) for o in outputs]
    z = torch.stack(features, 2)  # [S, B, H, outputs]
    if model.shortfall is None:
        return z[..., 0].flatten(0, 1), None
    hidden = z[..., 1:].relu().unsqueeze(3) * weights["shortfall.weight"].unsqueeze(1)
    log_d: Any = hidden.sum(4) + weights["shortfall.bias"].unsqueeze(1)
    return z[..., 0].flatten(0, 1), log_d.flatten(0, 1)
