"""Raw files -> prepared arrays -> batches."""

from datamodules.implicit.movielens import MovieLens
from datamodules.sessions.skip_sessions import SkipSessions
from datamodules.synthetic.clusters import GaussianClusters
from datamodules.synthetic.criteo import SyntheticCriteo
from datamodules.synthetic.movielens import SyntheticMovieLens
from datamodules.synthetic.skip_sessions import SyntheticSkipSessions
from datamodules.tabular.avazu import Avazu
from datamodules.tabular.criteo import Criteo

__all__ = [
    "Avazu",
    "Criteo",
    "GaussianClusters",
    "MovieLens",
    "SkipSessions",
    "SyntheticCriteo",
    "SyntheticMovieLens",
    "SyntheticSkipSessions",
]
