"""Raw files -> prepared arrays -> batches."""

from datamodules.avazu import Avazu
from datamodules.criteo import Criteo
from datamodules.movielens import MovieLens

__all__ = ["Avazu", "Criteo", "MovieLens"]
