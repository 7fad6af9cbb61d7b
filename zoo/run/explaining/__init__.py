"""Why a prediction is what it is: the command `explain`, and the same from Python."""
