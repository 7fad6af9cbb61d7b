"""The server of examples/server.py: rows as JSON in, outputs as JSON out, by HTTP."""

import json
import os
import re
import subprocess
import sys
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import torch
from support.preparation import ready
from support.running import ROOT

import zoo
from zoo.export.folder import write_folder


@pytest.fixture
def served(movielens, planted_ratings, tmp_path):
    """The address of a server, the model of pairs that it serves, and its data."""
    data = ready(movielens(planted_ratings))
    model = zoo.DeepFM(data.schema, hidden_units=[8], embedding_dim=4).eval()
    write_folder(tmp_path / "model", model, data.serving(), ["probability", "logit"])
    line = ["-m", "uvicorn", "server:app", "--port", "0", "--no-use-colors", "--app-dir"]
    process = subprocess.Popen(
        [sys.executable, *line, str(ROOT / "examples")],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "MODEL": str(tmp_path / "model")},
    )
    with process:
        said = []
        for text in process.stderr or ():
            said.append(text)
            if address := re.search(r"running on (http://\S+)", text):
                yield address[1], model, data
                break
        else:
            pytest.fail("".join(said))
        process.kill()


def ask(address, content=None):
    """Status and JSON of an answer; content is posted."""
    body = None if content is None else content.encode()
    request = Request(address, body, {"content-type": "application/json"})
    try:
        with urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, json.load(error)


def test_a_server_gives_what_the_model_gives(served):
    address, model, data = served
    status, lines = ask(f"{address}/predict", json.dumps(data.serving().examples))
    assert status == 200
    (batch,) = data.serving().batches
    with torch.inference_mode():
        logit = model(batch)
    scored = [line for line in lines if line["problem"] is None]
    assert [line["logit"] for line in scored] == pytest.approx(logit.tolist(), abs=1e-5)
    probability = logit.sigmoid().tolist()
    assert [line["probability"] for line in scored] == pytest.approx(probability, abs=1e-5)
    assert lines[-1] == {"problem": "movie cannot be 'a title'"}
    assert [*ask(f"{address}/signature")[1]] == ["model", "columns", "keys", "outputs"]
    assert ask(f"{address}/predict", "[]") == (422, {"detail": "there are no rows"})
    refused = (422, {"detail": "no row has the column 'movie'"})
    assert ask(f"{address}/predict", '[{"user": 1}]') == refused
    for content in ('{"user": 1}', "{"):
        assert ask(f"{address}/predict", content)[0] == 422
