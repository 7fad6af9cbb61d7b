"""Click-through-rate models, one file per architecture."""

from zoo.ctr.autoint import AutoInt
from zoo.ctr.dcn import DCN
from zoo.ctr.deepfm import DeepFM
from zoo.ctr.wide_deep import WideDeep
from zoo.ctr.xdeepfm import xDeepFM

__all__ = ["DCN", "AutoInt", "DeepFM", "WideDeep", "xDeepFM"]
