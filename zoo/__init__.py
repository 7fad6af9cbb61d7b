"""Models whose predictions can be explained, and what explains them."""

from zoo.ctr import DeepFM
from zoo.schema import Batch, Field, Schema, ZooError

__all__ = ["Batch", "DeepFM", "Field", "Schema", "ZooError"]
