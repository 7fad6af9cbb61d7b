"""Generators with known truths, and the datamodules that are planted with them."""
