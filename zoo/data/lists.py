"""Lists of ids in a batch, such as the genres of a film or the history of a user.

Shapes: B rows, M fields of lists, V values, L values of all lists together.
"""

from collections.abc import Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor


class Lists(NamedTuple):
    """The values of M fields in B rows; each list is a slice of one tensor of values.

    List m of row b is `values[offsets[b, m] : offsets[b, m] + lengths[b, m]]`. Lists may share
    values, and values may be in no list: rows are taken, and fields switched off, without a copy
    of the values.

    Attributes:
        values: int [V], ids as those of a categorical field.
        offsets: int64 [B, M], where each list begins.
        lengths: int64 [B, M]; 0 is an empty list.
    """

    values: Tensor
    offsets: Tensor
    lengths: Tensor

    def take(self, rows: Tensor | slice) -> Self:
        """The lists of some rows, by number or by mask."""
        return self._replace(offsets=self.offsets[rows], lengths=self.lengths[rows])

    def columns(self, wanted: Sequence[int]) -> Self:
        """The lists of some fields, by number."""
        wanted = [*wanted]
        return self._replace(offsets=self.offsets[:, wanted], lengths=self.lengths[:, wanted])

    def permuted(self, column: int, order: Tensor) -> Self:
        """The lists with those of one field in another order of the rows [B]."""
        offsets, lengths = self.offsets.clone(), self.lengths.clone()
        offsets[:, column], lengths[:, column] = offsets[order, column], lengths[order, column]
        return self._replace(offsets=offsets, lengths=lengths)

    def flat(self) -> tuple[Tensor, Tensor]:
        """int [L] the values of all lists, row by row, and int64 [L] the number of each one's list.

        List m of row b has the number b * M + m.
        """
        lengths = self.lengths.flatten()
        number = torch.arange(len(lengths), device=lengths.device).repeat_interleave(lengths)
        before = lengths.cumsum(0) - lengths  # where each list begins in the result
        place = torch.arange(len(number), device=lengths.device)
        place += (self.offsets.flatten() - before)[number]
        return self.values[place], number

    def padded(self, column: int) -> Tensor:
        """int [B, longest] the values of one field, -1 behind the end of each list."""
        values, number = self.columns([column]).flat()
        lengths = self.lengths[:, column]
        longest = int(lengths.max()) if len(lengths) else 0
        found = values.new_full((len(lengths), longest), -1)
        place = torch.arange(len(number), device=lengths.device)
        found[number, place - (lengths.cumsum(0) - lengths)[number]] = values
        return found

    def compact(self) -> Self:
        """The same lists, with values of their own that stand in the order of the lists."""
        lengths = self.lengths.flatten()
        offsets = (lengths.cumsum(0) - lengths).view_as(self.lengths)
        return type(self)(self.flat()[0], offsets, self.lengths)

    def to(self, device: torch.device | None) -> Self:
        """The lists on another device."""
        return type(self)(*(part.to(device) for part in self))


def concatenate_lists(parts: Sequence[Lists]) -> Lists:
    """The lists of all rows, from batches of the same fields."""
    parts = [part.compact() for part in parts]  # which may share the values of a whole split
    values, offsets = _joined(parts)
    return Lists(values, torch.cat(offsets), torch.cat([part.lengths for part in parts]))


def beside(parts: Sequence[Lists]) -> Lists:
    """The lists of all fields, from parts that hold some fields of the same rows."""
    values, offsets = _joined(parts)
    return Lists(values, torch.cat(offsets, 1), torch.cat([part.lengths for part in parts], 1))


def _joined(parts: Sequence[Lists]) -> tuple[Tensor, list[Tensor]]:
    """The values of all parts, and where the lists of each then begin."""
    starts = torch.tensor([0, *(len(part.values) for part in parts)]).cumsum(0).tolist()
    offsets = [part.offsets + start for part, start in zip(parts, starts, strict=False)]
    return torch.cat([part.values for part in parts]), offsets
