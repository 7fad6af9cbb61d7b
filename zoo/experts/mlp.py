"""The interpretable multilayer perceptron (Afchar & Hennequin 2020)."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor, nn

from zoo.embedding import Embedded
from zoo.experts.lattice import Lattice
from zoo.experts.layers import ExpertNorm, MaskedLinear, Restriction
from zoo.experts.mixture import (
    GATES,
    NORMALIZATIONS,
    AttributionMetrics,
    Gate,
    Normalization,
    attribution,
    gem_loss,
    log_selection,
    mixture_logit,
    silence_loss,
)
from zoo.module import RowModule, require
from zoo.schema import Batch, Schema

COLLAPSED = 0.99  # share of rows in which one expert has most to say, from which it is told


class InterpretableMLP(RowModule):
    """A mixture of multilayer perceptrons, each of which sees a subset of the fields.

        F_i = tanh(z_i),   z_i the head of a masked network over the fields of S_i
        alpha_i = g(F_i) prod_{S_j inside S_i} (1 - g(F_j))
        P(y = 1) = sum_i alpha_i (F_i + 1) / 2 / sum_i alpha_i

    (Afchar & Hennequin, *Making Neural Networks Interpretable with Attribution*, RecSys 2020,
    sections 3.3 and 3.4; four experts of 128-64-32-16 in section 4.2). An expert over many fields
    builds on the features of those over fewer, and speaks only where they are unsure. A single
    subset of all fields is the plain network.

    The embedding of a field is part of the input: the experts that see the field share it.

    Args:
        schema: of the batches.
        subsets: for each expert's name its fields, by name, by group, or `*` for all; null is one
            expert that sees all.
        hidden_units: widths of the layers of each expert.
        dropout: share of the activations that training drops.
        layer_norm: normalise each expert's features before each activation.
        gate: of an unsure expert: `abs` |F|, `square` F^2 or `smooth` 2 |F|^3 / (1 + F^2).
        inference_gate: gate of predictions; null takes `gate`.
        normalization: of the weights of the loss: `none` (the paper), `sample` or `expert`.
        silence: weight of `silence_loss`, which keeps experts from speaking where those inside
            them are sure; 0 is the paper.
        embedding_std: standard deviation of the initial embeddings.
        optimizer: `adagrad`, `adam` or `sgd`.
        learning_rate: of the optimizer.
        shared: the options of `RowModule`.
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        subsets: dict[str, list[str]] | None = None,
        hidden_units: Sequence[int] = (128, 64, 32, 16),
        dropout: float = 0.0,
        layer_norm: bool = False,
        gate: Gate = "abs",
        inference_gate: Gate | None = None,
        normalization: Normalization = "none",
        silence: float = 0.0,
        embedding_std: float = 0.01,
        optimizer: str = "adam",
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
        require(len(hidden_units) > 0, "hidden_units must name at least one layer", hidden_units)
        require(min(hidden_units) > 0, "hidden_units must be positive", hidden_units)
        require(0 <= dropout < 1, "dropout must be at least 0 and less than 1", dropout)
        for name, value in (("gate", gate), ("inference_gate", inference_gate or gate)):
            require(value in GATES, f"{name} must be one of {GATES}", value)
        require(
            normalization in NORMALIZATIONS,
            f"normalization must be one of {NORMALIZATIONS}",
            normalization,
        )
        require(silence >= 0, "silence must not be negative", silence)
        self.lattice = Lattice(self.schema, subsets)
        if self.lattice.unused:
            rank_zero_warn(f"fields in no subset: {', '.join(self.lattice.unused)}")
        self.gate: Gate = gate
        self.inference_gate: Gate = inference_gate or gate
        self.normalization = normalization
        self.silence = silence
        self.register_buffer("inclusion", self.lattice.inclusion(), persistent=False)
        widths = [[width] * len(self.lattice) for width in hidden_units]
        columns = [self.embedding.columns(self.schema, fields) for fields in self.lattice.fields]
        first = Restriction(columns, self.embedding.flat_dim, widths[0])
        rest = [MaskedLinear(self.lattice, a, b) for a, b in pairwise(widths)]
        self.layers = nn.ModuleList([first, *rest])
        self.norms = nn.ModuleList(ExpertNorm(w) for w in widths) if layer_norm else None
        self.dropout = nn.Dropout(dropout)
        self.head = MaskedLinear(self.lattice, widths[-1], [1] * len(self.lattice))
        splits = ("val/", "test/") if len(self.lattice) > 1 else ()
        self.attributions = nn.ModuleDict(
            {split: AttributionMetrics(len(self.lattice)) for split in splits}
        )

    def experts(self, embedded: Embedded) -> Tensor:
        """[B, H] outputs z of the experts before tanh."""
        features: Any = embedded.flat
        for i, layer in enumerate(self.layers):
            features = layer(features)
            if self.norms is not None:
                features = self.norms[i](features)
            features = [self.dropout(feature.relu()) for feature in features]
        return torch.cat(self.head(features), 1)

    def explain(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """[B] logits, and [B, H] the attribution: what each expert has to say, sums to one."""
        return self._mix(self.experts(self.embedding(batch)))

    def forward(self, batch: Batch) -> Tensor:
        """[B] logits."""
        return self.explain(batch)[0]

    def _mix(self, z: Tensor) -> tuple[Tensor, Tensor]:
        z = z.float()
        log_alpha = log_selection(z, self.inclusion, self.inference_gate)
        return mixture_logit(z, log_alpha), attribution(log_alpha)

    def _step(self, batch: Batch, split: str) -> Tensor:
        z = self.experts(self.embedding(batch)).float()
        with torch.no_grad():
            logits, attributed = self._mix(z)
            log_alpha = log_selection(z, self.inclusion, self.gate)
        self._score(logits, batch, split)
        if split in self.attributions:
            self.attributions[split].update(attributed)
        loss = gem_loss(z, batch.label, log_alpha, self.normalization)
        if self.silence:
            loss = loss + self.silence * silence_loss(z, self.inclusion, self.gate)
        return loss

    @property
    def prediction_columns(self) -> tuple[str, ...]:
        """What `predict_step` gives beside `row`."""
        named = (f"attribution_{name}" for name in self.lattice.names)
        return (*super().prediction_columns, *named)

    def predict_step(self, batch: Batch) -> dict[str, Tensor | None]:
        """`row`, `probability`, `label`, and `attribution_<name>` [B] of each subset."""
        logits, attributed = self.explain(batch)
        named = zip(self.lattice.names, attributed.unbind(1), strict=True)
        return {
            "row": batch.row,
            "probability": logits.sigmoid(),
            "label": batch.label,
            **{f"attribution_{name}": value for name, value in named},
        }

    def _log_metrics(self, split: str) -> None:
        super()._log_metrics(split)
        if split not in self.attributions:
            return
        found = self.attributions[split].compute()
        self.attributions[split].reset()
        logged = {f"{split}entropy": found["entropy"]}
        for i, name in enumerate(self.lattice.names):
            logged[f"{split}attribution/{name}"] = found["mean"][i]
            logged[f"{split}largest/{name}"] = found["largest"][i]
        self.log_dict(logged, sync_dist=True)
        share, i = found["largest"].max(0)
        if share >= COLLAPSED and not self.trainer.sanity_checking:
            rank_zero_warn(
                f"expert {self.lattice.names[int(i)]} has most to say in {share:.1%} of the "
                f"{split.rstrip('/')} rows: its prediction is hardly explained"
            )
