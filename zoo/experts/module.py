"""What all mixtures of experts share: subsets, loss, prediction, and the attribution's log.

Shapes: B batch, H experts; [B] stands for [B, T'] in models of sessions.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor, nn

from zoo.experts.lattice import Lattice
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
from zoo.module import ZooModule, require

COLLAPSED = 0.99  # share of rows in which one expert has most to say, from which it is told


class MixtureModule(ZooModule):
    """A model whose prediction is a mixture of experts that see subsets of the fields.

        F_i = tanh(z_i)
        alpha_i = g(F_i) prod_{S_j inside S_i} (1 - g(F_j))
        P(y = 1) = sum_i alpha_i (F_i + 1) / 2 / sum_i alpha_i

    (Afchar & Hennequin 2020, sections 3.1 and 3.3). A subclass calls `_mix_experts` when it is
    made, and implements `opinions`.
    """

    def _mix_experts(
        self,
        subsets: Mapping[str, Sequence[str]] | None,
        gate: Gate,
        inference_gate: Gate | None,
        normalization: Normalization,
        silence: float,
    ) -> None:
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
        splits = ("val/", "test/") if len(self.lattice) > 1 else ()
        self.attributions = nn.ModuleDict(
            {split: AttributionMetrics(len(self.lattice)) for split in splits}
        )

    @abstractmethod
    def opinions(self, batch: Any) -> Tensor:
        """[B, H] outputs z of the experts before tanh."""

    def explain(self, batch: Any) -> tuple[Tensor, Tensor]:
        """[B] logits, and [B, H] the attribution: what each expert has to say, sums to one."""
        return self._mix(self.opinions(batch))

    def forward(self, batch: Any) -> Tensor:
        """[B] logits."""
        return self.explain(batch)[0]

    def _mix(self, z: Tensor) -> tuple[Tensor, Tensor]:
        z = z.float()
        log_alpha = log_selection(z, self.inclusion, self.inference_gate)
        return mixture_logit(z, log_alpha), attribution(log_alpha)

    def _step(self, batch: Any, split: str) -> Tensor:
        z = self.opinions(batch).float()
        with torch.no_grad():
            logits, attributed = self._mix(z)
            log_alpha = log_selection(z, self.inclusion, self.gate)
        self._score(logits, batch, split)
        known = self.known(batch)
        if split in self.attributions:
            self.attributions[split].update(attributed[known])
        loss = gem_loss(z[known], batch.label[known], log_alpha[known], self.normalization)
        if self.silence:
            loss = loss + self.silence * silence_loss(z[known], self.inclusion, self.gate)
        return loss

    @property
    def prediction_columns(self) -> tuple[str, ...]:
        """What `predict_step` gives beside the keys."""
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
