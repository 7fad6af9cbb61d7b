"""The interpretable multilayer perceptron (Afchar & Hennequin 2020)."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from zoo.data.batch import Batch
from zoo.data.errors import require
from zoo.data.schema import Schema
from zoo.experts.layers import ExpertNorm, MaskedLinear, Restriction
from zoo.experts.module import MixtureModule
from zoo.models.class_spec import ClassSpec
from zoo.models.tabular import RowModule
from zoo.nn.device import is_cpu
from zoo.nn.embedding import Embedded


class InterpretableMLP(MixtureModule, RowModule):
    """A mixture of multilayer perceptrons, each of which sees a subset of the fields.

        F_i = tanh(z_i),   z_i the head of a masked network over the fields of S_i
        alpha_i = g(F_i) prod_{S_j inside S_i} (1 - g(F_j))
        f_i = sigmoid(2 (z_i + c)),   2 c = log(prior / (1 - prior))
        P(y = 1) = sum_i alpha_i f_i / sum_i alpha_i

    (Afchar & Hennequin, *Making Neural Networks Interpretable with Attribution*, RecSys 2020,
    sections 3.3 and 3.4; four experts of 128-64-32-16 in section 4.2). An expert over many fields
    builds on the features of those over fewer, and is selected only where they are not confident.
    With the paper's prior of 1/2, f_i is (F_i + 1) / 2; an expert without evidence predicts the
    prior (see `MixtureModule`). A single subset of all fields is the plain network.

    The embedding of a field is part of the input: the experts that see the field share it.

    Args:
        schema: Fields of the batches and their cardinalities; see `Schema`.
        hidden_units: Widths of the layers of each expert; or for each subset those of its own,
            as many for all: an expert of few fields needs few units.
        dropout: Share of the activations that training drops.
        layer_norm: Normalise each expert's features before each activation.
        embedding_std: Standard deviation of the initial embeddings.
        optimizer: Optimizer of all parameters: the name of one of torch's, such as `adagrad`,
            `adam`, `adamw` or `sgd`, or a class_path with init_args; see `OptimizedModule`.
        learning_rate: Learning rate of the optimizer.
        shared: Options of `MixtureModule` and `RowModule`.
    """

    one_size = False

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        hidden_units: Sequence[int] | Mapping[str, Sequence[int]] = (128, 64, 32, 16),
        dropout: float = 0.0,
        layer_norm: bool = False,
        embedding_std: float = 0.01,
        optimizer: ClassSpec = "adam",
        learning_rate: float = 0.001,
        **shared: Any,
    ) -> None:
        super().__init__(
            schema,
            embedding_std=embedding_std,
            optimizer=optimizer,
            learning_rate=learning_rate,
            first_order=False,
            **shared,
        )
        self.hparams.pop("first_order")  # no option here, so none to reload with
        require(0 <= dropout < 1, "dropout must be at least 0 and less than 1", dropout)
        self.widths = widths = _widths(hidden_units, self.lattice.names)
        columns = [self.embedding.columns(self.schema, fields) for fields in self.lattice.fields]
        first = Restriction(columns, widths[0])
        rest = [MaskedLinear(self.lattice, a, b) for a, b in pairwise(widths)]
        self.layers = nn.ModuleList([first, *rest])
        self.norms = nn.ModuleList(ExpertNorm(w) for w in widths) if layer_norm else None
        self.activations = nn.ModuleList(nn.ModuleList(nn.ReLU() for _ in w) for w in widths)
        self.dropout = nn.Dropout(dropout)
        self.head = MaskedLinear(self.lattice, widths[-1], [self.outputs] * len(self.lattice))

    def rectified(self) -> list[tuple[str, nn.Module]]:
        """The activations of each layer of each expert."""
        return [
            (f"layer {i} of expert {name}", relu)
            for i, layer in enumerate(self.activations, 1)
            for name, relu in zip(self.experts, cast(nn.ModuleList, layer), strict=True)
        ]

    def outputs_of(self, embedded: Embedded) -> Tensor:
        """[B, H] outputs z of the experts before tanh, from embedded fields."""
        return self._each(embedded)[..., 0] if self.shortfall else self._all_outputs(embedded)

    def _each(self, embedded: Embedded) -> Tensor:
        """[B, H, outputs] all outputs of each expert."""
        return self._all_outputs(embedded).unflatten(1, (len(self.lattice), -1))

    def _all_outputs(self, embedded: Embedded) -> Tensor:
        """[B, H * outputs] those of one expert after the other."""
        if not is_cpu(embedded.flat):
            return self._joined_outputs(embedded.flat)
        features: Any = embedded.flat
        for i, layer in enumerate(self.layers):
            features = layer(features)
            if self.norms is not None:
                features = self.norms[i](features)
            pairs = zip(cast(nn.ModuleList, self.activations[i]), features, strict=True)
            features = [self.dropout(relu(feature)) for relu, feature in pairs]
        return torch.cat(self.head(features), 1)

    def _joined_outputs(self, x: Tensor) -> Tensor:
        """[B, H * outputs] of [B, width], with the features of all experts side by side."""
        for i, layer in enumerate(self.layers):
            x = cast(Restriction | MaskedLinear, layer).joined(x)
            activations = cast(nn.ModuleList, self.activations[i])
            if self.norms is None and self.training:
                x = self.dropout(functional.relu(x))
                continue
            features = x.split(self.widths[i], 1)
            if self.norms is not None:
                features = self.norms[i](features)
            # each of the modules, which are watched for units that never fire
            x = torch.cat([relu(x) for relu, x in zip(activations, features, strict=True)], 1)
            x = self.dropout(x)
        return self.head.joined(x)

    def expert_outputs(self, batch: Batch) -> Tensor:
        """[B, H] outputs z of the experts before tanh."""
        return self.outputs_of(self.embedding(batch))

    def judged_outputs(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """[B, H] outputs z, and log d where it is learned."""
        if self.shortfall is None:
            return super().judged_outputs(batch)
        z, hidden = self._each(self.embedding(batch)).split((1, self.outputs - 1), 2)
        return z.squeeze(2), self.shortfall(hidden)


def _widths(
    hidden_units: Sequence[int] | Mapping[str, Sequence[int]], names: Sequence[str]
) -> list[tuple[int, ...]]:
    """The widths of all experts in each layer."""
    given = hidden_units
    if not isinstance(given, Mapping):
        given = dict.fromkeys(names, given)
    rule = f"hidden_units must name the subsets {', '.join(names)}"
    require(set(given) == set(names), rule, hidden_units)
    depths = {len(units) for units in given.values()}
    require(min(depths) > 0, "hidden_units must name at least one layer", hidden_units)
    require(len(depths) == 1, "hidden_units must be as many for each subset", hidden_units)
    require(min(map(min, given.values())) > 0, "hidden_units must be positive", hidden_units)
    return list(zip(*(given[name] for name in names), strict=True))
