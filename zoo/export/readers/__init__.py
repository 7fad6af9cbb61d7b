"""Readers of raw rows, which an exported folder takes along: they import nothing of zoo."""
