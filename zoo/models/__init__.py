"""What all models share: training steps, tabular rows, sessions, metrics."""
