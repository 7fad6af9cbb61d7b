"""Switches terms of a glass box, and measures what that changes."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from zoo.data.errors import ZooError
from zoo.data.module import ZooDataModule
from zoo.inspect.edited import Edited
from zoo.inspect.inspection import load
from zoo.inspect.scores import check_schema, model_of
from zoo.inspect.with_data.quality import score_rows
from zoo.inspect.with_data.source import batches_of
from zoo.models.base import ZooModule
from zoo.run.editing.measured import changes, costs, renamed, shift_to_mean
from zoo.run.editing.names import named
from zoo.run.editing.written import check_output, write


@dataclass(frozen=True)
class Wanted:
    """What is to be edited.

    Attributes:
        off: Terms to switch off, as a user names them.
        on: Terms to switch on.
        keep_mean: Whether to move the constant so that the mean probability stays.
        each: Whether to measure what each term costs that is on.
        output: Where the edited model is written; None writes nothing.
    """

    off: tuple[str, ...] = ()
    on: tuple[str, ...] = ()
    keep_mean: bool = False
    each: bool = False
    output: Path | None = None

    def __post_init__(self) -> None:
        if not (self.off or self.on or self.each):
            raise ZooError("edit has nothing to do: name terms (off, on), or ask for each")
        if self.output is not None and not (self.off or self.on):
            raise ZooError("output: nothing is edited that could be written: name terms (off, on)")


def edit(checkpoint: Path, wanted: Wanted, data: ZooDataModule | None, split: str) -> Edited:
    """Switches terms of a checkpoint's model, which stays as it is.

    Args:
        checkpoint: The checkpoint.
        wanted: What is to be edited.
        data: Data of its schema, to measure it on; None measures nothing.
        split: `val`, `test`, or `predict`: the labelled rows of the data's `predict_path`.

    Raises:
        ZooError: where its model has no terms, or not these; where the data do not suit it, or are
            needed; where the output cannot be written.
    """
    found = load(checkpoint)
    model = model_of(found)
    off, on = _switches(model, wanted, checkpoint)
    if data is None and (wanted.keep_mean or wanted.each):
        raise ZooError(f"{'keep_mean' if wanted.keep_mean else 'each'} needs rows: choose a split")
    if wanted.output is not None:
        check_output(wanted.output, checkpoint)
    batches = None
    if data is not None:
        batches = batches_of(data, split)
        check_schema(found, data)
    name, count = type(model).__name__, len(model.terms)
    edited = Edited(str(checkpoint), name, off, on, count, 0)
    edited = replace(_measured(edited, model, batches, wanted), split=split if batches else "")
    edited = replace(edited, terms_on=sum(term.on for term in model.terms))
    if wanted.output is not None:
        write(model, checkpoint, wanted.output, _metrics(edited))
        edited = replace(edited, output=str(wanted.output))
    return edited


def _switches(
    model: ZooModule, wanted: Wanted, checkpoint: Path
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of the terms to switch off and on, which are not so yet."""
    if not model.terms:
        raise ZooError(
            f"{checkpoint}: {type(model).__name__} is no sum of terms, of which some could be "
            "switched off: zoo.AdditiveNetwork is one"
        )
    off, on = (named(getattr(wanted, how), model.terms, how) for how in ("off", "on"))
    if both := [name for name in off if name in on]:
        raise ZooError(f"off and on both name {both[0]}")
    are_on = {term.name: term.on for term in model.terms}
    changed = (
        tuple(name for name in off if are_on[name]),
        tuple(name for name in on if not are_on[name]),
    )
    if (off or on) and not any(changed):
        how = "off" if off else "on"
        raise ZooError(f"{how}: {', '.join(off or on)} of {checkpoint} is {how} already")
    return changed


def _measured(
    edited: Edited, model: ZooModule, batches: Iterable[Any] | None, wanted: Wanted
) -> Edited:
    """Switches the terms; the quality before and after."""
    before = None if batches is None else score_rows(model, batches, ())
    model.switch(edited.off, False)
    model.switch(edited.on, True)
    if before is None or batches is None:
        return edited
    after = score_rows(model, batches, ()) if edited.off or edited.on else before
    shift = 0.0
    if wanted.keep_mean and after is not before:
        shift = shift_to_mean(after, before.overall().predicted)
        model.shift(shift)
        after = score_rows(model, batches, ())
    return replace(
        edited,
        shift=shift,
        before=renamed(before, "before" if after is not before else "now"),
        after=renamed(after, "after"),
        changes=None if after is before else changes(before, after.logits),
        each=costs(model, batches, after) if wanted.each else (),
    )


def _metrics(edited: Edited) -> dict[str, float | None]:
    """What was measured of the edited model, by the names of metrics of a fit."""
    if edited.after is None or edited.split not in ("val", "test"):
        return {}
    measured = {"auc": edited.after.auc, "logloss": edited.after.logloss}
    return {f"{edited.split}/{name}": value for name, value in measured.items()}
