"""Raw files -> prepared arrays -> batches."""

from datamodules.avazu import Avazu
from datamodules.criteo import Criteo

__all__ = ["Avazu", "Criteo"]
