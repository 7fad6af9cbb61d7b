"""Folders of cross fields: fitted on prepared rows, or made by the crosses of a run.

    <name>-<key>-cross-<key>/manifest.json
                             encoder/          cross.json vocabulary.parquet (m0, m1, .., id, count)
                             train/ val/ test/ ids.npy

Each interaction has a folder of its own, keyed by the prepared data it belongs to, its members
and options: another choice of interactions prepares only what is new.
"""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from datamodules.prepared.arrays import Arrays
from datamodules.prepared.engine import Engine
from datamodules.prepared.folder import SPLITS, Manifest, build_once, key
from datamodules.prepared.verified import Verify, verify
from datamodules.tabular.cross_options import CrossFields, CrossOptions
from datamodules.tabular.crosses import Cross, fit_cross, member_columns
from datamodules.tabular.vocabularies import load_vocabulary
from zoo.data.checksums import checksums, combined
from zoo.data.schema import JOINER, Schema

Crosses = dict[Path, Callable[[Path], None]]  # by its folder, what fills it


def cross_folder(base: Path, cross: CrossFields, crossing: CrossOptions) -> Path:
    """Where the cross field that was fitted on the prepared data in `base` lies."""
    return _keyed(base, crossing.options(cross))


def encoded_cross_folder(base: Path, encoder: Path) -> Path:
    """Where the ids lie that the cross of a run gives the prepared data in `base`."""
    return _keyed(base, _options(encoder))


def _keyed(base: Path, options: dict[str, Any]) -> Path:
    return base.with_name(f"{base.name}-cross-{key({'prepared': base.name}, options)}")


def _options(encoder: Path) -> dict[str, Any]:
    return {"encoder": combined(checksums(encoder))}


def fitted_crosses(
    base: Path, wanted: list[CrossFields], crossing: CrossOptions, memory_limit: str
) -> Crosses:
    """The cross fields to be fitted on the prepared data in `base`.

    Args:
        base: Folder of the prepared rows.
        wanted: The fields of each cross, and their bins.
        crossing: How crosses are fitted.
        memory_limit: Bound of the memory that the preparation uses, such as `1GB`.
    """
    return {
        cross_folder(base, cross, crossing): partial(
            prepare_cross, base=base, wanted=cross, crossing=crossing, memory_limit=memory_limit
        )
        for cross in wanted
    }


def encoded_crosses(base: Path, encoders: list[Path], memory_limit: str) -> Crosses:
    """The cross fields that the saved crosses of a run make of the prepared data in `base`."""
    return {
        encoded_cross_folder(base, encoder): partial(
            _encode, base=base, encoder=encoder, memory_limit=memory_limit
        )
        for encoder in encoders
    }


def build_crosses(base: Path, crosses: Crosses, *, how: Verify) -> None:
    """Makes those cross fields that have not been made before.

    Args:
        base: Folder of the prepared rows.
        crosses: The cross fields.
        how: Whether to compare the prepared rows with their checksums first, so that no cross
            field is made of damaged rows; see `verify`.
    """
    missing = {folder: fill for folder, fill in crosses.items() if not folder.exists()}
    if missing:
        verify(base, Manifest.load(base), how)
    for folder, fill in missing.items():
        build_once(folder, fill)


def prepare_cross(
    folder: Path, *, base: Path, wanted: CrossFields, crossing: CrossOptions, memory_limit: str
) -> None:
    """Fills an empty folder with a cross field fitted on the prepared data in `base`."""
    manifest = Manifest.load(base)
    schema = Schema.from_dict(manifest.schema)
    min_count = crossing.min_count(manifest.splits["train"]["rows"])
    with Engine(folder / "work", memory_limit) as engine:
        train = Arrays.open(base / "train")
        cross = fit_cross(
            engine, train, schema, wanted.members, bins=wanted.bins, min_count=min_count
        )
        cross.save(engine, folder / "encoder")
        _write_splits(engine, cross, base, folder)
    _save_manifest(folder, base, crossing.options(wanted), cross)


def _encode(folder: Path, *, base: Path, encoder: Path, memory_limit: str) -> None:
    """Fills an empty folder with the ids that a saved cross gives the prepared data in `base`."""
    cross = Cross.load(encoder)
    shutil.copytree(encoder, folder / "encoder")
    with Engine(folder / "work", memory_limit) as engine:
        load_vocabulary(engine, encoder, f"{member_columns(cross.members)}, id")
        _write_splits(engine, cross, base, folder)
    _save_manifest(folder, base, _options(encoder), cross)


def _write_splits(engine: Engine, cross: Cross, base: Path, folder: Path) -> None:
    schema = Schema.from_dict(Manifest.load(base).schema)
    task = f"cross {JOINER.join(cross.members)}"
    for split in engine.progress.track(SPLITS, description=task):
        cross.write(engine, Arrays.open(base / split), schema, folder / split)


def _save_manifest(folder: Path, base: Path, options: dict[str, Any], cross: Cross) -> None:
    fields = Schema((cross.field,)).to_dict()
    splits = Manifest.load(base).splits
    source = {"prepared": base.name}
    Manifest(source, options, fields, splits, {}, [], checksums(folder)).save(folder)


def encode_crosses(
    folder: Path, encoders: list[Path], schema: Schema, memory_limit: str
) -> list[Path]:
    """Encodes the rows of `folder`/rows by saved crosses; returns the folders of their ids.

    Args:
        folder: Folder for the ids, which holds the rows.
        encoders: Folders of the saved crosses.
        schema: Schema of the rows, without crosses.
        memory_limit: Bound of the memory that is used, such as `1GB`.
    """
    targets = [folder / f"cross-{i}" for i in range(len(encoders))]
    if not encoders:
        return targets
    rows = Arrays.open(folder / "rows")
    with Engine(folder / "work", memory_limit) as engine:
        pairs = list(zip(encoders, targets, strict=True))
        for encoder, target in engine.progress.track(pairs, description="encode crosses"):
            cross = Cross.load(encoder)
            load_vocabulary(engine, encoder, f"{member_columns(cross.members)}, id")
            cross.write(engine, rows, schema, target)
    return targets
