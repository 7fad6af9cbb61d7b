"""Criteo's format with planted interactions: rows whose true logits are known."""

from pathlib import Path
from typing import Any

import numpy as np

from datamodules.prepared.arrays import Arrays
from datamodules.prepared.folder import locked
from datamodules.synthetic.click_truth import ceiling
from datamodules.synthetic.clicks import PlantedClicks, logits_path
from datamodules.tabular.criteo import Criteo


class SyntheticCriteo(Criteo):
    """Generated clicks, read as `Criteo` reads the real ones; it shares its prepared folders.

    Args:
        path: Raw file to write where it does not exist; it must not end in .gz.
        synthetic: Options of the generator; null takes its defaults.
        shared: Options of `Criteo`.
    """

    def __init__(self, path: str, synthetic: PlantedClicks | None = None, **shared: Any) -> None:
        super().__init__(path, **shared)
        self.file = Path(path)
        self.synthetic = synthetic or PlantedClicks()

    @property
    def dataset(self) -> str:
        """The raw files are those of `Criteo`."""
        return Criteo.__name__

    def make_source(self) -> None:
        """Generates the file unless this very generator has written it before."""
        if self.file.exists():
            self.synthetic.write_once(self.file)
        else:
            with locked(self.file):
                self.synthetic.write_once(self.file)

    def ceiling(self) -> dict[str, float]:
        """`auc` and `logloss` of the true logits over the test split."""
        test = Arrays.open(self.folder / "test")
        logits = np.load(logits_path(self.file), mmap_mode="r")
        return ceiling(np.asarray(test.label), logits[np.asarray(test.row)])
