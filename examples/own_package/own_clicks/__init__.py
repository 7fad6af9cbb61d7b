"""A model and a dataset of one's own."""
