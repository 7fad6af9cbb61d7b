"""The chapters of the report of a checkpoint, in their order."""

QUALITY, USES, ROWS, MODEL, TRAINING = CHAPTERS = (
    "quality",
    "what it uses",
    "single predictions",
    "the model",
    "training",
)
