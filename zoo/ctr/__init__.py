"""Click-through-rate models, one file per architecture."""

from zoo.ctr.deepfm import DeepFM

__all__ = ["DeepFM"]
