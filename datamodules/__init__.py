"""Raw files -> prepared arrays -> batches."""

from datamodules.avazu import Avazu
from datamodules.criteo import Criteo
from datamodules.movielens import MovieLens
from datamodules.skip_sessions import SkipSessions
from datamodules.toy import GaussianClusters

__all__ = ["Avazu", "Criteo", "GaussianClusters", "MovieLens", "SkipSessions"]
