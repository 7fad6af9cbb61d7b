"""The interpretable gated recurrent units (Afchar & Hennequin 2020).

Shapes: B batch, T time, T' tracks to predict, H experts, w width of one expert.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from zoo.data.batch import SessionBatch
from zoo.data.schema import Schema
from zoo.experts.lattice import Lattice
from zoo.experts.recurrence import recur
from zoo.experts.sessions import SessionMixture
from zoo.experts.stacked import StackedLinear, StackedRestriction, own_blocks
from zoo.nn.device import is_cpu


class MaskedGRU(nn.Module):
    """Gated recurrent units of each expert, over the columns of its subset.

        r  = sigmoid(W_r x + U_r h),   u = sigmoid(W_u x + U_u h)
        n  = tanh(W_n x + r o (U_n h))
        h' = (1 - u) o n + u o h

    (Cho et al. 2014, as `torch.nn.GRU`). W are restrictions, and U masked matrices: the gates of
    an expert read its own state and those of the experts inside it, stopped.

    Args:
        lattice: Subsets of the experts.
        columns: Columns of x that each expert sees.
        width: Width of each expert's state, w.
    """

    def __init__(self, lattice: Lattice, columns: Sequence[Sequence[int]], width: int) -> None:
        super().__init__()
        self.inputs = StackedRestriction(columns, width, parts=3)
        self.hidden = StackedLinear(lattice, width, width, parts=3)

    def forward(self, x: Tensor, mask: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """[B, T, H * w] the states at all times, and [B, H * w] the last.

        Args:
            x: [B, T, fields] inputs.
            mask: bool [B, T], false where the state stays as it is.
            state: [B, H * w] states before the first time.
        """
        matrix = self.hidden.matrix()
        if not is_cpu(x):
            return self._at_once(self.inputs(x), mask, state, matrix)
        states = []
        for now, real in zip(self.inputs(x).unbind(1), mask.unsqueeze(2).unbind(1), strict=True):
            reset, update, new = now.chunk(3, 1)
            reset_h, update_h, new_h = self.hidden(state, matrix).chunk(3, 1)
            update = torch.sigmoid(update + update_h)
            new = torch.tanh(new + torch.sigmoid(reset + reset_h) * new_h)
            state = torch.where(real, new + update * (state - new), state)
            states.append(state)
        return torch.stack(states, 1), state

    def _at_once(
        self, gates: Tensor, mask: Tensor, state: Tensor, matrix: Tensor
    ) -> tuple[Tensor, Tensor]:
        """`forward` from [B, T, 3 * H * w], what the inputs give; in half precision in single."""
        bias, own = self.hidden.bias.flatten(), matrix
        if matrix.requires_grad:  # the way back alone needs them
            own = own_blocks(matrix.detach(), self.hidden.bias.shape)
        with torch.autocast(gates.device.type, enabled=False):
            gates, state = gates.to(matrix.dtype), state.to(matrix.dtype)
            states = recur(gates, mask, state, matrix, own, bias)
        return states.transpose(0, 1), states[-1]


class InterpretableGRU(SessionMixture):
    """A mixture of recurrent networks over sessions, each of which sees a subset of the fields.

        P(y_t = 1) = sum_i alpha_i f_i / sum_i alpha_i,   f_i = sigmoid(2 z_i)
        z_i = w_i^T h_i,t + b_i,   h_i the states of expert i's GRU over its fields

    With a prior other than 1/2, f_i starts from it (see `MixtureModule`). One layer of gated
    recurrent units reads the first part of a session, and another the second, from the state in
    which the first ended (Afchar & Hennequin, *Making Neural Networks Interpretable with
    Attribution*, RecSys 2020, section 3.4.3). A single subset of all fields is the plain network.

    Args:
        schema: Fields of the batches, all numerical; see `Schema`.
        shared: Options of `SessionMixture`.
    """

    def __init__(self, schema: Schema | Mapping[str, Any], **shared: Any) -> None:
        super().__init__(schema, **shared)
        parts = (self.schema.numerical, self.schema.future)
        self.past, self.future = (
            MaskedGRU(self.lattice, self._columns(fields), self.width) for fields in parts
        )

    def encode(self, batch: SessionBatch) -> Tensor:
        """[B, T', H * w] features of the tracks to predict."""
        start = batch.past.new_zeros(batch.past.shape[0], self.width * len(self.lattice))
        _, state = self.past(batch.past, batch.past_mask, start)
        features, _ = self.future(batch.future, batch.future_mask, state)
        return self.dropout(features)
