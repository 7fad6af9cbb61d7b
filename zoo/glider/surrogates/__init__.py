"""Surrogate networks around a row, and the interactions read off their weights (GLIDER)."""
