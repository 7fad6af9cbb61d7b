"""Models that are interpretable by design: mixtures of experts that see parts of the input."""

from zoo.experts.gru import InterpretableGRU
from zoo.experts.mlp import InterpretableMLP
from zoo.experts.transformer import InterpretableTransformer

__all__ = ["InterpretableGRU", "InterpretableMLP", "InterpretableTransformer"]
