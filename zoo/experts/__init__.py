"""Models that are interpretable by design: mixtures of experts that see parts of the input."""

from zoo.experts.mlp import InterpretableMLP

__all__ = ["InterpretableMLP"]
