"""What all mixtures of experts share: subsets, loss, prediction, and logged attributions.

Shapes: B batch, H experts; [B] stands for [B, T'] in models of sessions.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor

from zoo.data.errors import missing, require
from zoo.data.schema import Schema
from zoo.experts.lattice import Lattice
from zoo.experts.mixture import (
    GATES,
    NORMALIZATIONS,
    AttributionMetrics,
    Gate,
    Normalization,
    attribution,
    auxiliary_loss,
    gem_loss,
    log_selection,
    mixture_logit,
    silence_loss,
)
from zoo.models.base import ZooModule
from zoo.models.description import Description, Expert
from zoo.models.metrics import MetricDict
from zoo.nn.device import is_cpu

COLLAPSED = 0.99  # share of rows with one expert in front from which a warning is given


class MixtureModule(ZooModule):
    """A model whose prediction is a mixture of experts that see subsets of the fields.

        f_i = sigmoid(2 (z_i + c)),   2 c = log(prior / (1 - prior))
        alpha_i = g(tanh(z_i)) prod_{S_j inside S_i} (1 - g(tanh(z_j)))
        P(y = 1) = sum_i alpha_i f_i / sum_i alpha_i

    (Afchar & Hennequin 2020, sections 3.1 and 3.3). With the paper's prior of 1/2, c is zero and
    f_i = (F_i + 1) / 2 of F_i = tanh(z_i). A single subset is always selected: the plain network,
    trained by plain binary cross-entropy. A subclass implements `expert_outputs`.

    Args:
        schema: Fields of the batches and their cardinalities; see `Schema`.
        subsets: Fields of each expert by its name; fields are given by name, by group, or by `*`
            for all. Null is one expert that sees all.
        gate: Gate of the loss, how confident an expert counts by its output F: `abs` |F|, `square`
            F^2 or `smooth` 2 |F|^p / (1 + |F|^(p - 1)).
        inference_gate: Gate of predictions; null takes `gate`. The steeper it is, the more
            confident an expert must be to keep those around it from being selected.
        power: Power p of the smooth gate.
        inference_power: Power p of the smooth inference gate; null takes `power`.
        normalization: Normalization of the weights of the loss: `none` (the paper), `sample` or
            `expert`.
        fallback: Select the expert whose subset holds all the others wherever they are not
            selected, confident or not (see `log_selection`); the paper leaves such rows to the most
            confident expert.
        auxiliary: Weight of `auxiliary_loss`, by which every expert learns from every row; 0 is
            the paper.
        silence: Weight of `silence_loss`, which keeps experts from being selected where those
            inside them are confident; 0 is the paper.
        prior: Probability that an expert without evidence predicts, where its gate is zero: the
            share of positives, where they are far from half of the rows. By the paper's |F| an
            expert that has learned nothing but a share of 0.2 counts as confident by 0.6.
        shared: Options of `RowModule` or `SessionModule`.

    Attributes:
        inclusion: [H, H] 1 at (i, j) where the subset of j lies strictly inside that of i.
    """

    inclusion: Tensor
    recalibrates = True

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        subsets: dict[str, list[str]] | None = None,
        gate: Gate = "abs",
        inference_gate: Gate | None = None,
        power: float = 3.0,
        inference_power: float | None = None,
        normalization: Normalization = "none",
        fallback: bool = False,
        auxiliary: float = 0.0,
        silence: float = 0.0,
        prior: float = 0.5,
        **shared: Any,
    ) -> None:
        super().__init__(schema, **shared)
        for name, value in (("gate", gate), ("inference_gate", inference_gate or gate)):
            require(value in GATES, f"{name} must be one of {GATES}", value)
        require(
            normalization in NORMALIZATIONS,
            f"normalization must be one of {NORMALIZATIONS}",
            normalization,
        )
        inference_power = power if inference_power is None else inference_power
        for name, value in (("power", power), ("inference_power", inference_power)):
            require(value > 1, f"{name} must be more than 1", value)
        for name, value in (("auxiliary", auxiliary), ("silence", silence)):
            require(value >= 0, f"{name} must not be negative", value)
        require(0 < prior < 1, "prior must be between 0 and 1", prior)
        self.lattice = Lattice(self.schema, subsets)
        if self.lattice.unused:
            rank_zero_warn(f"fields in no subset: {', '.join(self.lattice.unused)}")
        self.fallback = self.lattice.greatest if fallback else None
        rule = "fallback needs a subset that holds all the others"
        require(not fallback or self.fallback is not None, rule, subsets)
        self.gate: Gate = gate
        self.inference_gate: Gate = inference_gate or gate
        self.power = power
        self.inference_power = inference_power
        self.normalization: Normalization = normalization
        self.auxiliary = auxiliary
        self.silence = silence
        self.prior_output = math.log(prior / (1 - prior)) / 2  # c
        self.register_buffer("inclusion", self.lattice.inclusion(), persistent=False)
        splits = ("val/", "test/") if len(self.lattice) > 1 else ()
        self.attributions = MetricDict(
            {split: AttributionMetrics(len(self.lattice)) for split in splits}
        )

    @classmethod
    def describe(cls, schema: Schema, options: Mapping[str, Any]) -> Description:
        """Also the experts, and which fields each of them sees."""
        lattice = Lattice(schema, options.get("subsets"))
        inside = [tuple(lattice.names[j] for j in below) for below in lattice.children]
        experts = tuple(map(Expert, lattice.names, lattice.fields, inside))
        found = super().describe(schema, options)
        return replace(found, experts=experts, unused=lattice.unused)

    @property
    def experts(self) -> tuple[str, ...]:
        """Names of the experts."""
        return self.lattice.names

    def expert_outputs(self, batch: Any) -> Tensor:
        """[B, H] outputs z of the experts before tanh: their evidence beyond the prior."""
        missing(self, "expert_outputs", "outputs of the experts")

    def log_selection(self, z: Tensor) -> Tensor:
        """[B, H] log alpha of predictions, from [B, H] the experts' outputs z."""
        gate, power = self.inference_gate, self.inference_power
        return log_selection(z, self.inclusion, gate, power, self.fallback)

    def explain(self, batch: Any) -> tuple[Tensor, Tensor]:
        """[B] logits, and [B, H] the attribution to each expert, which sums to one."""
        return self._mix(self.expert_outputs(batch))

    def selection(self, batch: Any) -> Tensor:
        """[B, H] log alpha of predictions: how confident each is, and those inside it are not."""
        return self.log_selection(_unrounded(self.expert_outputs(batch)))

    def forward(self, batch: Any) -> Tensor:
        """[B] logits."""
        return self.explain(batch)[0]

    def _mix(self, z: Tensor) -> tuple[Tensor, Tensor]:
        z = _unrounded(z)
        log_alpha = self.log_selection(z)
        logits = mixture_logit(z + self.prior_output, log_alpha)
        return self.recalibrated(logits), attribution(log_alpha)

    def losses(self, batch: Any) -> tuple[Tensor, ...]:
        """The loss of a batch, the logits, and [B, H] the attribution to each expert."""
        z = _unrounded(self.expert_outputs(batch))
        with torch.no_grad():
            logits, attributed = self._mix(z)
            log_alpha = log_selection(z, self.inclusion, self.gate, self.power, self.fallback)
            if len(self.lattice) == 1:  # nothing to select from: plain binary cross-entropy
                log_alpha = torch.zeros_like(log_alpha)
        (z, log_alpha), label, weight = self.counting(batch, z, log_alpha)
        evidence = z + self.prior_output
        loss = gem_loss(evidence, label, log_alpha, self.normalization, weight)
        if self.auxiliary and len(self.lattice) > 1:
            loss = loss + self.auxiliary * auxiliary_loss(evidence, label, weight)
        if self.silence:
            silenced = silence_loss(z, self.inclusion, self.gate, self.power, weight)
            loss = loss + self.silence * silenced
        return loss, logits, attributed

    def _add(self, scores: Sequence[Tensor], batch: Any, split: str) -> None:
        """Adds a batch to the metrics of a split, and to its attributions."""
        super()._add(scores, batch, split)
        if split not in self.attributions:
            return
        attributed, scored = scores[1], self.scored(batch)
        if scored is ... or is_cpu(attributed):
            self.attributions[split].update(attributed[scored])
        else:
            self.attributions[split].update(attributed.flatten(0, -2), scored.flatten())

    @property
    def prediction_columns(self) -> tuple[str, ...]:
        """Columns that `predict_step` returns beside the keys."""
        named = (f"attribution_{name}" for name in self.lattice.names)
        return (*super().prediction_columns, *named)

    def predicted(self, batch: Any) -> dict[str, Tensor]:
        """`probability`, `label`, and `attribution_<name>` of each subset, all [B]."""
        logits, attributed = self.explain(batch)
        named = zip(self.lattice.names, attributed.unbind(-1), strict=True)
        return {
            "probability": logits.sigmoid(),
            "label": batch.label,
            **{f"attribution_{name}": value for name, value in named},
        }

    def metric_names(self, split: str, batch: Any) -> set[str]:
        """Also those of the attributions."""
        names = super().metric_names(split, batch)
        if split in self.attributions:
            names.add(f"{split}entropy")
            names |= {
                f"{split}{kind}/{name}"
                for kind in ("attribution", "largest")
                for name in self.lattice.names
            }
        return names

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
                f"expert {self.lattice.names[int(i)]} has the largest attribution in {share:.1%} "
                f"of the {split.rstrip('/')} rows: predictions are hardly explained"
            )


def _unrounded(z: Tensor) -> Tensor:
    """Outputs in single precision where they come in half; in double they stay."""
    return z if z.dtype == torch.float64 else z.float()
