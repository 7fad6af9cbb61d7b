"""What the mixtures of experts over sessions share.

Shapes: B batch, T past events, T' tracks to predict, H experts, w width of one expert.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from zoo.data.batch import SessionBatch
from zoo.data.errors import ZooError, missing, require
from zoo.data.schema import Field, Schema
from zoo.experts.module import MixtureModule
from zoo.experts.stacked import StackedLinear
from zoo.models.sessions import SessionModule


class SessionMixture(MixtureModule, SessionModule):
    """A mixture of experts, each of which sees a subset of the fields of both parts of a session.

    Of the first part an expert sees the fields of its subset (its left side), of the second
    those of them that are known there (its right side, Afchar & Hennequin 2020, section 4.3 and
    figure 7). Inclusion is that of the left sides. As the right sides are cut from them by one
    rule, a left side inside another has its right side inside the other's too, so all links that
    inclusion allows keep both restrictions; right sides may be equal.

    Padding is overwritten with zeros before anything is computed, and no attention or state
    reaches it. A subclass implements `encode`.

    Args:
        schema: Fields of the batches, all numerical; see `Schema`.
        width: Width of the features of all experts together, an equal share for each.
        dropout: Share of the activations that training drops.
        shared: Options of `MixtureModule` and `SessionModule`.
    """

    def __init__(
        self,
        schema: Schema | Mapping[str, Any],
        width: int = 128,
        dropout: float = 0.0,
        **shared: Any,
    ) -> None:
        super().__init__(schema, **shared)
        require(0 <= dropout < 1, "dropout must be at least 0 and less than 1", dropout)
        self.width = self._share("width", width)
        self.dropout = nn.Dropout(dropout)
        self.head = StackedLinear(self.lattice, self.width, 1, parts=self.outputs)

    def _share(self, option: str, value: int) -> int:
        """One expert's part of an option that all experts share equally."""
        experts = len(self.lattice)
        rule = f"{option} must be a positive multiple of the number of experts, {experts}"
        require(value > 0 and value % experts == 0, rule, value)
        return value // experts

    def _columns(self, part: tuple[Field, ...]) -> list[list[int]]:
        """The columns of each expert among the fields of one part of the session."""
        columns = [
            [c for c, field in enumerate(part) if field.name in fields]
            for fields in self.lattice.fields
        ]
        if [] in columns:
            name = self.lattice.names[columns.index([])]
            raise ZooError(
                f"model.subsets: {name} holds no field that is known of the tracks to predict"
            )
        return columns

    def encode(self, batch: SessionBatch) -> Tensor:
        """[B, T', H * w] features of the tracks to predict."""
        missing(self, "encode", "features of the tracks")

    def expert_outputs(self, batch: SessionBatch) -> Tensor:
        """[B, T', H] outputs z of the experts before tanh."""
        outputs = self._all_outputs(batch)
        return outputs[..., : len(self.lattice)] if self.shortfall else outputs

    def judged_outputs(self, batch: SessionBatch) -> tuple[Tensor, Tensor | None]:
        """[B, T', H] outputs z, and log d where it is learned."""
        if self.shortfall is None:
            return super().judged_outputs(batch)
        outputs = self._all_outputs(batch).unflatten(2, (self.outputs, -1))
        z, hidden = outputs.split((1, self.outputs - 1), 2)
        return z.squeeze(2), self.shortfall(hidden.transpose(2, 3))

    def _all_outputs(self, batch: SessionBatch) -> Tensor:
        """[B, T', outputs * H] the first outputs of all experts, then the second ones, ..."""
        unpadded = batch._replace(
            past=batch.past.masked_fill(~batch.past_mask.unsqueeze(2), 0),
            future=batch.future.masked_fill(~batch.future_mask.unsqueeze(2), 0),
        )
        return self.head(self.encode(unpadded))
