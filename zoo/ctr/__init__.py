"""Click-through-rate models, one file per architecture."""
