"""Models that are interpretable by design: mixtures of experts that see parts of the input."""
