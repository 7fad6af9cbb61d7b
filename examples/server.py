"""Serves an exported model, with neither PyTorch nor this project: rows in, probabilities out.

pip install fastapi uvicorn numpy onnxruntime
MODEL=model uvicorn server:app --app-dir examples --port 8000
curl localhost:8000/predict --json '[{"user": 1, "movie": 1193}]'
"""

import gc
import os
import sys
from typing import Any

from fastapi import FastAPI, HTTPException

sys.path.insert(0, os.environ["MODEL"])
from reader import Model  # of the folder

app, model = FastAPI(), Model(threads=1)  # which first scores the rows of check.json
gc.freeze()  # what is loaded stays: else each large request may have all of it looked through
keys = [key["name"] for key in model.signature["keys"]]


@app.get("/signature")
def signature() -> dict[str, Any]:
    """The columns and the outputs, and what they mean."""
    return {name: model.signature[name] for name in ("model", "columns", "keys", "outputs")}


@app.post("/predict")
def predict(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The outputs of each row, or the problem that it has."""
    try:
        found = model(rows)
    except (KeyError, ValueError) as error:  # no rows, or none has a column that is read
        raise HTTPException(422, error.args[0]) from error
    problems = found.pop("problem")
    return [
        {n: found[n][i].tolist() for n in (keys if problem else found)} | {"problem": problem}
        for i, problem in enumerate(problems)
    ]
