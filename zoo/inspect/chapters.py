"""The chapters of the report of a checkpoint, in their order."""

QUALITY, USES, TERMS, ROWS, MODEL, TRAINING = CHAPTERS = (
    "quality",
    "what it uses",
    "what each term adds",
    "single predictions",
    "the model",
    "training",
)
