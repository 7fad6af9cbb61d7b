"""MovieLens's format with planted tastes."""

from typing import Any

from datamodules.implicit.movielens import MovieLens
from datamodules.prepared.folder import locked
from datamodules.synthetic.ratings import PlantedRatings


class SyntheticMovieLens(MovieLens):
    """Generated ratings, read as `MovieLens` reads the real ones; it shares its prepared folders.

    Args:
        path: Zip file to write where it does not exist.
        synthetic: Options of the generator; null takes its defaults.
        shared: Options of `MovieLens`.
    """

    def __init__(self, path: str, synthetic: PlantedRatings | None = None, **shared: Any) -> None:
        super().__init__(path, **shared)
        self.synthetic = synthetic or PlantedRatings()

    @property
    def dataset(self) -> str:
        """The raw files are those of `MovieLens`."""
        return MovieLens.__name__

    def make_source(self) -> None:
        """Generates the file unless this very generator has written it before."""
        with locked(self.path):
            self.synthetic.write_once(self.path)
