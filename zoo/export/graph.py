"""A model as one graph of plain arrays: torch.export's, and of it ONNX.

Shapes: B rows or sessions, N numerical fields, C categorical fields, M fields of lists, L values of
the lists of a field, H experts, T past events, T' tracks to predict.
"""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from zoo.data.batch import Batch, SessionBatch
from zoo.data.errors import ZooError
from zoo.data.schema import Field
from zoo.models.base import ZooModule
from zoo.models.sessions import SessionModule

Output = Literal["probability", "logit", "attribution"]
OUTPUTS: tuple[Output, ...] = ("probability", "logit", "attribution")
SESSION = ("past", "past_mask", "future", "future_mask")
# of the traced batch, all different; to torch.export, 0 and 1 are special
ROWS, VALUES, PAST, FUTURE = 3, 7, 5, 4


@dataclass(frozen=True)
class ListInputs:
    """Lists as inputs of a graph, which a batch holds in place of `Lists`.

    Attributes:
        values: [L] ids of each field.
        rows: [L] of each field, the number of the row that each id belongs to, rising.
        count: Number of rows, B.
    """

    values: Sequence[Tensor]
    rows: Sequence[Tensor]
    count: int

    def columns(self, wanted: Sequence[int]) -> "ListInputs | None":
        """The lists of some fields, by number; None of no field."""
        if not wanted:
            return None
        values, rows = ([part[i] for i in wanted] for part in (self.values, self.rows))
        return ListInputs(values, rows, self.count)

    @property
    def lengths(self) -> Tensor:
        """[B, M] lengths of the lists."""
        none = self.rows[0].new_zeros(self.count)
        return torch.stack([none.index_add(0, r, torch.ones_like(r)) for r in self.rows], 1)

    def flat(self) -> tuple[Tensor, Tensor]:
        """The values of all lists, and the number of each one's list; see `Lists.flat`."""
        fields = len(self.rows)
        return torch.cat([*self.values]), torch.cat(
            [r * fields + m for m, r in enumerate(self.rows)]
        )


class Served(nn.Module):
    """What a graph computes of plain arrays.

    Args:
        model: The model.
        outputs: What it gives.
    """

    def __init__(self, model: ZooModule, outputs: Sequence[Output]) -> None:
        super().__init__()
        self.model = model
        self.outputs = outputs

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """The outputs, of inputs as `input_names` lists them."""
        logit, attribution = self.model.explain(_batch(self.model, inputs))
        found = {"logit": logit, "attribution": attribution, "probability": logit.sigmoid()}
        return tuple(found[name] for name in self.outputs)


def input_names(model: ZooModule) -> tuple[str, ...]:
    """The inputs of the graph of a model, in their order.

    Of rows: `numerical` float32 [B, N] and `categorical` int64 [B, C], as `Batch` has them, and of
    field m of lists `values_m` int64 [L], its ids, and `rows_m` int64 [L], the row of each. Of
    sessions the parts of `SessionBatch`.
    """
    if isinstance(model, SessionModule):
        return SESSION
    lists = range(len(model.schema.lists))
    return ("numerical", "categorical", *(f"{p}_{m}" for m in lists for p in ("values", "rows")))


def exported(
    model: ZooModule, outputs: Sequence[Output], lengths: tuple[int, int] | None = None
) -> ExportedProgram:
    """The graph of a model, for batches of any size.

    Args:
        model: The model, in evaluation, on the CPU.
        outputs: What the graph gives: `probability` and `logit` [B], of sessions [B, T'], and
            `attribution` [B, H] or [B, T', H].
        lengths: T and T' of all sessions, shorter ones padded, which a recurrent model needs: its
            graph has nodes for each event. None takes any.

    Raises:
        ZooError: where torch.export cannot take the model.
    """
    served = Served(model, outputs).eval()
    is_session = isinstance(model, SessionModule)
    inputs, shapes = _sessions(model, lengths) if is_session else _rows(model)
    try:
        with _quiet(), torch.no_grad():
            return torch.export.export(served, inputs, dynamic_shapes=(shapes,))
    except Exception as error:  # of many kinds, as the model may be anybody's
        reason = (str(error).strip().splitlines() or [repr(error)])[0]
        raise ZooError(
            f"{type(model).__name__} cannot be exported, for torch.export does not take its "
            f"forward: {reason}"
        ) from error


def write_onnx(
    program: ExportedProgram, path: Path, inputs: Sequence[str], outputs: Sequence[str]
) -> None:
    """Writes a graph as ONNX, with weights beside it where they exceed 2 GB.

    Raises:
        ZooError: where a package is missing that this takes.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ZooError(
            f'ONNX needs the package {error.name}: pip install "interpretable-zoo[serve]", or '
            "export with --format torch_export"
        ) from error
    with _quiet():
        found = torch.onnx.export(
            program,
            dynamo=True,
            input_names=[*inputs],
            output_names=[*outputs],
            verbose=False,
        )
        cast(Any, found).save(path)


def _batch(model: ZooModule, inputs: Sequence[Tensor]) -> Batch | SessionBatch:
    """The batch that inputs are; its labels are not looked at."""
    if isinstance(model, SessionModule):
        past, past_mask, future, future_mask = inputs
        label = torch.zeros_like(future_mask, dtype=past.dtype)
        return SessionBatch(past, past_mask, future, future_mask, label)
    numerical, categorical, *lists = inputs
    count = numerical.shape[0]
    held: Any = ListInputs(lists[::2], lists[1::2], count) if lists else None
    return Batch(numerical, categorical, numerical.new_zeros(count), lists=held)


def _rows(model: ZooModule) -> tuple[tuple[Tensor, ...], tuple[dict[int, Dim], ...]]:
    """Inputs of rows that are traced, and which of their sizes may be any."""
    schema, batch = model.schema, Dim("batch", min=1)
    numbers = torch.zeros(ROWS, len(schema.numerical))
    ids = torch.zeros(ROWS, len(schema.categorical), dtype=torch.int64)
    inputs, shapes = [numbers, ids], [{0: batch}, {0: batch}]
    for m, _ in enumerate(schema.lists):
        values = torch.zeros(VALUES + m, dtype=torch.int64)
        inputs += [values, torch.arange(VALUES + m) % ROWS]
        shapes += [{0: Dim(f"values_{m}", min=0)}] * 2
    return tuple(inputs), tuple(shapes)


def _sessions(
    model: ZooModule, lengths: tuple[int, int] | None
) -> tuple[tuple[Tensor, ...], tuple[dict[int, Dim], ...]]:
    """Inputs of sessions that are traced, and which of their sizes may be any."""
    batch, past, future = (Dim(name, min=1) for name in ("batch", "past", "future"))
    inputs: list[Tensor] = []
    shapes: list[dict[int, Dim]] = []
    fields: tuple[Sequence[Field], ...] = model.schema.numerical, model.schema.future
    sizes = lengths or (PAST, FUTURE)
    for size, length, of in zip(sizes, (past, future), fields, strict=True):
        inputs += [torch.zeros(ROWS, size, len(of)), torch.ones(ROWS, size, dtype=torch.bool)]
        shapes += [{0: batch} if lengths else {0: batch, 1: length}] * 2
    return tuple(inputs), tuple(shapes)


@contextmanager
def _quiet() -> Iterator[None]:
    """A block in which exporters keep their remarks, which no user can act upon, to themselves."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
