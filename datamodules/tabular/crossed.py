"""Rows whose interacting fields become cross fields: which, from which file, in which folders."""

import re
import shutil
from functools import cached_property
from pathlib import Path
from typing import Any

from datamodules.prepared.encoder import Encoder
from datamodules.prepared.folder import Manifest
from datamodules.prepared.module import PreparedDataModule
from datamodules.tabular.cross_folders import (
    build_crosses,
    cross_folder,
    encoded_cross_folder,
    encoded_crosses,
    fitted_crosses,
)
from datamodules.tabular.cross_options import CrossFields, CrossOptions, report
from datamodules.tabular.crosses import Cross
from datamodules.tabular.source import RawField
from zoo.data.checksums import combined
from zoo.data.errors import ZooError, missing
from zoo.data.schema import Schema


class CrossedDataModule(PreparedDataModule):
    """Rows with cross fields.

    Args:
        memory_limit: Bound of the memory that preparation uses, such as `1GB`.
        crosses: File interactions.json; its interactions become cross fields behind the
            categorical ones (see `datamodules.tabular.crosses`).
            Where the file says which pay (see the command `gains`), the others are left out.
        top_k: Number of interactions to cross, in the order of the file; null crosses all.
        cross_bins: Largest number of quantile bins of a numerical field in a cross; null takes what
            the file says of each interaction, and else 100.
        cross_min_share: Share of the training rows that the count of a combination must exceed
            to get an id of its own.
        cross_all: Whether to cross all interactions of a file that says which pay.
        shared: Options of `PreparedDataModule`; an encoder brings its crosses along.
    """

    def __init__(
        self,
        memory_limit: str = "1GB",
        crosses: str | None = None,
        top_k: int | None = None,
        cross_bins: int | None = None,
        cross_min_share: float = 1e-4,
        cross_all: bool = False,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        if not re.fullmatch(r"\d+(\.\d+)? *[KMGT]i?B", memory_limit):
            raise ZooError(f"data.memory_limit {memory_limit!r} is not a size such as 1GB")
        file = Path(crosses) if crosses else None
        self.crossing = CrossOptions(file, top_k, cross_bins, cross_min_share, cross_all)
        self.memory_limit = memory_limit

    def raw_fields(self) -> list[RawField]:
        """The fields, in the order of the schema."""
        missing(self, "raw_fields", "fields")

    def further_folders(self) -> list[Path]:
        """One for each cross field."""
        if self._is_fitted_here:
            return self._fitted_crosses
        return [encoded_cross_folder(self.folder, encoder) for encoder in self._cross_encoders]

    def encoded_schema(self, encoder: Path) -> Schema:
        """The fields of an encoder, then its crosses."""
        crosses = [Cross.load(cross).field for cross in self._cross_encoders]
        return Schema((*Encoder.load(encoder).schema.fields, *crosses))

    def save_encoder(self, folder: Path) -> None:
        """Writes a new folder that `encoder` can name, the crosses included."""
        super().save_encoder(folder)
        for i, encoder in enumerate(self._cross_encoders):
            shutil.copytree(encoder, folder / f"crosses/{i:04}", dirs_exist_ok=True)

    def prepare_data(self) -> None:
        """Prepares the rows, then the crosses that are missing."""
        if not self.encoder:
            _ = self._interactions  # first of all: their file may be wrong
        super().prepare_data()

    def prepare(self) -> None:
        """Prepares the rows, then the crosses that are missing."""
        super().prepare()
        if self._is_fitted_here:
            crosses = fitted_crosses(
                self.folder, self._interactions, self.crossing, self.memory_limit
            )
            self._check_gains()
        else:
            crosses = encoded_crosses(self.folder, self._cross_encoders, self.memory_limit)
        build_crosses(self.folder, crosses, how=self.verify)

    @cached_property
    def _interactions(self) -> list[CrossFields]:
        return self.crossing.interactions([field.name for field in self.raw_fields()])

    def _check_gains(self) -> None:
        """Says so where the gains in the file of interactions are of other rows than these."""
        file = self.crossing.read([field.name for field in self.raw_fields()])
        of = file.gains_of if file and not self.crossing.all else {}
        if of:
            manifest = Manifest.load(self._fitted_folder)
            if any(combined(manifest.below(split)) != checksum for split, checksum in of.items()):
                report(
                    f"{self.crossing.path}: its gains were measured on other rows than these: "
                    "measure them again with the command gains, or set data.cross_all to true"
                )

    @property
    def _fitted_crosses(self) -> list[Path]:
        base = self._fitted_folder
        return [cross_folder(base, cross, self.crossing) for cross in self._interactions]

    def _fitted(self) -> dict[str, str]:
        """The checksums of the rows' encoder and of the crosses; none unless all are prepared."""
        try:
            crosses = self._fitted_crosses
        except ZooError:  # the encoder of a run needs the file of its interactions no more
            return {}
        found = super()._fitted()
        if not found or not all(folder.is_dir() for folder in crosses):
            return {}
        for folder in crosses:
            manifest = Manifest.load(folder)
            (field,) = Schema.from_dict(manifest.schema).fields
            found[f"encoder/{field.name}"] = combined(manifest.below("encoder"))
        return found

    @property
    def _cross_encoders(self) -> list[Path]:
        if self.encoder:
            return sorted(self.encoder.glob("crosses/*"))
        return [folder / "encoder" for folder in self._fitted_crosses]
