"""Walsh regression: main effects and interactions of on/off features, by least squares."""

from zoo.glider.walsh.regression import Coefficient, SharedMasks, WalshExplanation, WalshFit, walsh
from zoo.glider.walsh.search import WalshConfig

__all__ = ["Coefficient", "SharedMasks", "WalshConfig", "WalshExplanation", "WalshFit", "walsh"]
