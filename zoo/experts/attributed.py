"""What mixtures of experts log and predict of their attributions.

Shapes: B batch, H experts; [B] stands for [B, T'] in models of sessions.
"""

from collections.abc import Sequence
from typing import Any

import torch
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor

from zoo.data.errors import missing
from zoo.experts.lattice import Lattice
from zoo.models.base import ZooModule
from zoo.models.description import Expert
from zoo.models.judged import Judged, complaints, judge
from zoo.models.metrics import MetricDict
from zoo.nn.device import is_cpu

COLLAPSED = 0.99  # share of rows with one expert in front from which a warning is given


class AttributedModule(ZooModule):
    """A model whose predictions come with an attribution to experts.

    Attributes:
        lattice: Subsets of the experts.
        attributions: Their metrics by split.
        expert_losses: By split, what each expert loses in the rows of each other.
    """

    lattice: Lattice
    attributions: MetricDict
    expert_losses: MetricDict
    _complaint = ""  # of the last validation

    @property
    def experts(self) -> tuple[str, ...]:
        """Names of the experts."""
        return self.lattice.names

    def _add(self, scores: Sequence[Tensor], batch: Any, split: str) -> None:
        """Adds a batch to the metrics of a split, and to its attributions."""
        super()._add(scores, batch, split)
        if split not in self.attributions:
            return
        attributed, scored = scores[1], self.scored(batch)
        logits = self.expert_logits(scores[2])
        self._add_losses(attributed, logits, batch, split)  # pyright: ignore[reportCallIssue]
        if scored is ... or is_cpu(attributed):
            self.attributions[split].update(attributed[scored])
        else:
            self.attributions[split].update(attributed.flatten(0, -2), scored.flatten())

    @torch.compiler.disable  # float64 sums gain nothing by it
    def _add_losses(self, attributed: Tensor, logits: Tensor, batch: Any, split: str) -> None:
        scored = self.scored(batch)
        weight, scored = getattr(batch, "weight", None), None if scored is ... else scored
        self.expert_losses[split].update(attributed, logits, batch.label, weight, scored)

    def expert_logits(self, z: Tensor) -> Tensor:
        """[B, H] the logit of each expert alone, of outputs z [B, H]."""
        missing(self, "expert_logits", "logits of the experts")

    @property
    def _surrounded(self) -> tuple[str, ...]:
        """Names of the experts that have others around them."""
        inside = {self.lattice.names[j] for below in self.lattice.below for j in below}
        return tuple(name for name in self.lattice.names if name in inside)

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
            names |= {f"{split}shortfall/{name}" for name in self._surrounded}
        return names

    def _log_metrics(self, split: str) -> None:
        super()._log_metrics(split)
        if split not in self.attributions:
            return
        found = self.attributions[split].compute()
        self.attributions[split].reset()
        logged: dict[str, Tensor | float] = {f"{split}entropy": found["entropy"]}
        for i, name in enumerate(self.lattice.names):
            logged[f"{split}attribution/{name}"] = found["mean"][i]
            logged[f"{split}largest/{name}"] = found["largest"][i]
        judged = self._judged(split)
        missed = {expert.name: expert.shortfall for expert in judged}
        logged |= {f"{split}shortfall/{name}": missed[name] for name in self._surrounded}
        self.log_dict(logged, sync_dist=True)
        share, i = found["largest"].max(0)
        if share >= COLLAPSED and not self.trainer.sanity_checking:
            rank_zero_warn(
                f"expert {self.lattice.names[int(i)]} has the largest attribution in {share:.1%} "
                f"of the {split.rstrip('/')} rows: predictions are hardly explained"
            )
        if split == "val/" and not self.trainer.sanity_checking:
            self._complaint = "; ".join(complaints(judged, "rows of the last validation"))

    def _judged(self, split: str) -> tuple[Judged, ...]:
        """The experts in the rows of a split in which each has the largest attribution."""
        found = self.expert_losses[split].compute()
        self.expert_losses[split].reset()
        lattice = zip(self.lattice.names, self.lattice.fields, strict=True)
        experts = [Expert(name, fields, ()) for name, fields in lattice]
        return judge(experts, found, self.tolerance)["largest"]

    def on_train_end(self) -> None:
        """Warns of experts that are not sufficient, and where a smaller one would do."""
        if self._complaint:
            rank_zero_warn(self._complaint)
