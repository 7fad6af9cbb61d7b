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
from datamodules.tabular.cross_options import CrossOptions
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
        top_k: Number of interactions to cross, in the order of the file; null crosses all.
        cross_bins: Largest number of quantile bins of a numerical field in a cross.
        cross_min_share: Share of the training rows that the count of a combination must exceed
            to get an id of its own.
        shared: Options of `PreparedDataModule`; an encoder brings its crosses along.
    """

    def __init__(
        self,
        memory_limit: str = "1GB",
        crosses: str | None = None,
        top_k: int | None = None,
        cross_bins: int = 100,
        cross_min_share: float = 1e-4,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        if not re.fullmatch(r"\d+(\.\d+)? *[KMGT]i?B", memory_limit):
            raise ZooError(f"data.memory_limit {memory_limit!r} is not a size such as 1GB")
        file = Path(crosses) if crosses else None
        self.crossing = CrossOptions(file, top_k, cross_bins, cross_min_share)
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
        else:
            crosses = encoded_crosses(self.folder, self._cross_encoders, self.memory_limit)
        build_crosses(self.folder, crosses, verify=self.verify)

    @cached_property
    def _interactions(self) -> list[tuple[str, ...]]:
        return self.crossing.interactions([field.name for field in self.raw_fields()])

    @property
    def _fitted_crosses(self) -> list[Path]:
        base = self._fitted_folder
        return [cross_folder(base, members, self.crossing) for members in self._interactions]

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
