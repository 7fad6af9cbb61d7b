"""What all mixtures of experts share: subsets, loss, prediction, and logged attributions.

Shapes: B batch, H experts; [B] stands for [B, T'] in models of sessions.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor

from zoo.data.errors import missing, require
from zoo.data.schema import Schema
from zoo.experts.attributed import AttributedModule
from zoo.experts.lattice import Lattice
from zoo.experts.mixture import (
    GATES,
    NORMALIZATIONS,
    AttributionMetrics,
    Gate,
    Normalization,
    attribution,
    auxiliary_loss,
    expert_losses,
    gem_loss,
    gem_weights,
    log_selected,
    log_selection,
    mixture_logit,
    silence_loss,
)
from zoo.experts.proposed import Proposed, resolved
from zoo.experts.sufficiency import (
    UNITS,
    Shortfall,
    held_out,
    log_sufficiency,
)
from zoo.models.description import Description, Expert
from zoo.models.expert_losses import ExpertLosses
from zoo.models.measures import batch_mean
from zoo.models.metrics import MetricDict

ANY_GATE = (*GATES, "sufficiency")
AnyGate = Literal[Gate, "sufficiency"]


class MixtureModule(AttributedModule):
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
            for all. Null is one expert that sees all. Or `{from: interactions.json, size: 6}`: at
            most `size` subsets are proposed from the interactions that `detect` found, of groups of
            fields, or, with `of: fields`, of single fields.
        gate: Gate of the loss, how confident an expert counts by its output F: `abs` |F|, `square`
            F^2 or `smooth` 2 |F|^p / (1 + |F|^(p - 1)); or `sufficiency`, by which an expert is
            selected where it predicts as well as the expert of all (see `zoo.experts.sufficiency`).
        inference_gate: Gate of predictions; null takes `gate`. The steeper it is, the more
            confident an expert must be to keep those around it from being selected.
        power: Power p of the smooth gate, and of that of sufficiency.
        inference_power: Power p of the inference gate; null takes `power`.
        normalization: Normalization of the weights of the loss: `none` (the paper), `sample` or
            `expert`.
        fallback: Select the expert whose subset holds all the others wherever they are not
            selected, confident or not (see `log_selection`); the paper leaves such rows to the most
            confident expert.
        auxiliary: Weight of `auxiliary_loss`, by which every expert learns from every row; 0 is
            the paper, and null is 1 with the gate of sufficiency, else 0.
        silence: Weight of `silence_loss`, which keeps experts from being selected where those
            inside them are confident; 0 is the paper.
        tolerance: Nats of logloss that an expert may miss, in the mean over rows that look alike to
            it, and still be sufficient, of the gate of sufficiency. May be changed after training.
        held_out: Share of the training rows from which the gate of sufficiency alone is learned,
            and nothing else; 0 learns it from all rows, where no expert knows them by heart.
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
        subsets: dict[str, list[str]] | Proposed | None = None,
        gate: AnyGate = "abs",
        inference_gate: AnyGate | None = None,
        power: float = 3.0,
        inference_power: float | None = None,
        normalization: Normalization = "none",
        fallback: bool = False,
        auxiliary: float | None = None,
        silence: float = 0.0,
        tolerance: float = 0.02,
        held_out: float = 0.1,
        prior: float = 0.5,
        **shared: Any,
    ) -> None:
        super().__init__(schema, **shared)
        for name, value in (("gate", gate), ("inference_gate", inference_gate or gate)):
            require(value in ANY_GATE, f"{name} must be one of {ANY_GATE}", value)
        require(
            normalization in NORMALIZATIONS,
            f"normalization must be one of {NORMALIZATIONS}",
            normalization,
        )
        inference_power = power if inference_power is None else inference_power
        for name, value in (("power", power), ("inference_power", inference_power)):
            require(value > 1, f"{name} must be more than 1", value)
        sufficiency = gate == "sufficiency"
        auxiliary = float(sufficiency) if auxiliary is None else auxiliary
        for name, value in (("auxiliary", auxiliary), ("silence", silence)):
            require(value >= 0, f"{name} must not be negative", value)
        require(0 < prior < 1, "prior must be between 0 and 1", prior)
        named = resolved(subsets, self.schema)
        if named is not subsets:  # a checkpoint and the config of a run need no file
            self.settle(subsets=named)
        self.lattice = Lattice(self.schema, named)
        if self.lattice.unused:
            rank_zero_warn(f"fields in no subset: {', '.join(self.lattice.unused)}")
        self.fallback = self.lattice.greatest if fallback else None
        rule = "fallback needs a subset that holds all the others"
        require(not fallback or self.fallback is not None, rule, subsets)
        self._judge(gate, inference_gate or gate, silence, tolerance, held_out)
        self.gate: AnyGate = gate
        self.inference_gate: AnyGate = inference_gate or gate
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
        self.expert_losses = MetricDict(
            {split: ExpertLosses(len(self.lattice)) for split in splits}
        )

    def _judge(
        self, gate: str, inference_gate: str, silence: float, tolerance: float, held_out: float
    ) -> None:
        """Sets up what the gate of sufficiency needs."""
        sufficiency = gate == "sufficiency"
        require(tolerance > 0, "tolerance must be more than 0", tolerance)
        require(0 <= held_out < 1, "held_out must be at least 0 and less than 1", held_out)
        rule = "inference_gate may be sufficiency only where gate is, by which it is learned"
        require(sufficiency or inference_gate != "sufficiency", rule, inference_gate)
        rule = "silence must be 0 with the gate of sufficiency, which compares what experts predict"
        require(not (sufficiency and silence), rule, silence)
        rule = "gate sufficiency needs a subset that holds all the others"
        require(not sufficiency or self.lattice.greatest is not None, rule, self.lattice.names)
        self.tolerance, self.held_out = tolerance, held_out
        learned = sufficiency and len(self.lattice) > 1
        self.fallback = self.lattice.greatest if sufficiency else self.fallback
        self.outputs = 1 + UNITS if learned else 1  # of each expert
        self.shortfall = None
        if learned and self.fallback is not None:
            self.shortfall = Shortfall(len(self.lattice), self.fallback, tolerance)
        self.numbered_rows = learned and held_out > 0

    @classmethod
    def describe(cls, schema: Schema, options: Mapping[str, Any]) -> Description:
        """Also the experts, and which fields each of them sees."""
        lattice = Lattice(schema, options.get("subsets"))
        inside = [tuple(lattice.names[j] for j in below) for below in lattice.children]
        experts = tuple(map(Expert, lattice.names, lattice.fields, inside))
        found = super().describe(schema, options)
        return replace(found, experts=experts, unused=lattice.unused)

    def expert_outputs(self, batch: Any) -> Tensor:
        """[B, H] outputs z of the experts before tanh: their evidence beyond the prior."""
        missing(self, "expert_outputs", "outputs of the experts")

    def judged_outputs(self, batch: Any) -> tuple[Tensor, Tensor | None]:
        """[B, H] outputs z, and [B, H, K] log d, what each misses; None where it is not learned.

        A subclass that has the gate of sufficiency implements it; see `Shortfall`.
        """
        if self.shortfall is not None:
            missing(self, "judged_outputs", "what each expert misses")
        return self.expert_outputs(batch), None

    def log_selection(self, z: Tensor, log_shortfall: Tensor | None = None) -> Tensor:
        """[B, H] log alpha of predictions, from what `judged_outputs` returns."""
        return self._selected(z, log_shortfall, self.inference_gate, self.inference_power)

    def _selected(
        self, z: Tensor, log_shortfall: Tensor | None, gate: AnyGate, power: float
    ) -> Tensor:
        """[B, H] log alpha by a gate; of a single expert and the gate of sufficiency zero."""
        if gate != "sufficiency":
            return log_selection(z, self.inclusion, gate, power, self.fallback)
        if log_shortfall is None:
            return torch.zeros_like(z)
        gates = log_sufficiency(log_shortfall, self.tolerance, power)
        return log_selected(*gates, self.inclusion, self.fallback)

    def explain(self, batch: Any) -> tuple[Tensor, Tensor]:
        """[B] logits, and [B, H] the attribution to each expert, which sums to one."""
        return self.explain_experts(batch)[:2]

    def explain_experts(self, batch: Any) -> tuple[Tensor, Tensor, Tensor]:
        """[B] logits, [B, H] the attribution, and [B, H] the logit of each expert alone."""
        z, log_shortfall = self.judged_outputs(batch)
        z = _unrounded(z)
        log_alpha = self.log_selection(z, log_shortfall)
        return self._mixed(z, log_alpha), attribution(log_alpha), self.expert_logits(z)

    def expert_logits(self, z: Tensor) -> Tensor:
        """[B, H] the logit of each expert alone, of outputs z [B, H]."""
        return self.recalibrated(2 * (z + self.prior_output))

    def selection(self, batch: Any) -> Tensor:
        """[B, H] log alpha of predictions: what each gate says, and those inside it leave."""
        z, log_shortfall = self.judged_outputs(batch)
        return self.log_selection(_unrounded(z), log_shortfall)

    def forward(self, batch: Any) -> Tensor:
        """[B] logits."""
        return self.explain(batch)[0]

    def _mixed(self, z: Tensor, log_alpha: Tensor) -> Tensor:
        return self.recalibrated(mixture_logit(z + self.prior_output, log_alpha))

    def losses(self, batch: Any) -> tuple[Tensor, ...]:
        """The loss of a batch, the logits, and [B, H] the attribution to each expert, and z."""
        z, log_shortfall = self.judged_outputs(batch)
        z = _unrounded(z)
        with torch.no_grad():
            log_alpha = self.log_selection(z, log_shortfall)
            logits, attributed = self._mixed(z, log_alpha), attribution(log_alpha)
            if (self.gate, self.power) != (self.inference_gate, self.inference_power):
                log_alpha = self._selected(z, log_shortfall, self.gate, self.power)
            if len(self.lattice) == 1:  # nothing to select from: plain binary cross-entropy
                log_alpha = torch.zeros_like(log_alpha)
        if log_shortfall is not None:
            loss = self._judged_loss(batch, z, logits, log_shortfall, log_alpha)
            return loss, logits, attributed, z.detach()
        (counted, log_alpha), label, weight = self.counting(batch, z, log_alpha)
        return self._loss(counted, label, log_alpha, weight), logits, attributed, z.detach()

    def _loss(self, z: Tensor, label: Tensor, log_alpha: Tensor, weight: Tensor | None) -> Tensor:
        """The loss of rows that count, without that of the gate of sufficiency."""
        evidence = z + self.prior_output
        loss = gem_loss(evidence, label, log_alpha, self.normalization, weight)
        if self.auxiliary and len(self.lattice) > 1:
            loss = loss + self.auxiliary * auxiliary_loss(evidence, label, weight)
        if self.silence:
            assert self.gate != "sufficiency"
            silenced = silence_loss(z, self.inclusion, self.gate, self.power, weight)
            loss = loss + self.silence * silenced
        return loss

    def _judged_loss(self, batch: Any, *values: Tensor) -> Tensor:
        """The loss where sufficiency is learned: GEM, auxiliary, and from held-out rows the gate's.

            L = mean_b (1 - h_b) / (1 - s) sum_i (w_i + auxiliary / H) BCE_i + h_b L_d,b

        with h_b whether a row is held out, s the share of such rows, and L_d of `Shortfall.loss`. A
        held-out row weighs as any other in the layers that d shares with the experts: what it
        misses is so much noisier than its BCE that h_b / s would drown what they learn.

        Args:
            batch: The batch.
            values: z, logits of the mixture, log d and log alpha.
        """
        share, label = self.held_out, batch.label
        held = held_out(batch, share).to(values[0].dtype)
        held = held.view(-1, *[1] * (label.ndim - 1)).expand_as(label)
        counted, label, weight = self.counting(batch, *values, held)
        z, mixed, log_shortfall, log_alpha, held = counted
        learned = (1 - held) / (1 - share)
        judged = held if share else torch.ones_like(held)
        of_rows = learned if weight is None else learned * weight
        weights = gem_weights(log_alpha, self.normalization, of_rows)
        losses = expert_losses(z + self.prior_output, label)
        of_mixture = expert_losses(mixed.unsqueeze(1) / 2, label)
        assert self.shortfall is not None
        missed = self.shortfall.loss(losses, of_mixture, log_shortfall, self.tolerance)
        loss = ((weights + self.auxiliary / z.shape[1]) * losses).sum(1)
        return batch_mean(learned * loss + judged * missed, weight)


def _unrounded(z: Tensor) -> Tensor:
    """Outputs in single precision where they come in half; in double they stay."""
    return z if z.dtype == torch.float64 else z.float()
