"""The folder that a model is exported to.

    model.onnx           the graph, or model.pt2 of torch.export
    reader.py            raw rows -> outputs; needs NumPy and onnxruntime (or torch) alone
    signature.json       raw columns, outputs, inputs of the graph, and the plan of the reader
    check.json           raw rows, and what the model says of those that can be used
    *.npy                what values are looked up in

Shapes: B rows or sessions, N numerical fields, C categorical fields, L values of the lists of a
field, H experts, T past events, T' tracks to predict.
"""

import importlib.util
import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from zoo.data.batch import SessionBatch
from zoo.data.checksums import checksum
from zoo.data.errors import ZooError
from zoo.data.files import atomic_folder
from zoo.data.serving import Serving
from zoo.export.graph import Output, exported, input_names, write_onnx
from zoo.models.base import ZooModule

Format = Literal["onnx", "torch_export"]
FOLDER_FORMAT = 1
HEAD = '''"""Scores raw rows by the model in this folder; needs NumPy and onnxruntime alone.

    model = Model()  # which first scores the rows of check.json
    model([{"column": "value"}])["probability"]
"""
'''
MEANINGS: dict[Output, str] = {
    "probability": "probability that the label is 1",
    "logit": "its logit, log(p / (1 - p))",
    "attribution": "share of each expert in the prediction, which sum to one",
}
GRAPH = {
    "numerical": ("float32 [B, N]", "numbers, after their transforms"),
    "categorical": ("int64 [B, C]", "ids"),
    "values": ("int64 [L]", "ids of the lists of a field, those of all rows"),
    "rows": ("int64 [L]", "number of the row that each of these belongs to, rising"),
    "past": ("float32 [B, T, N]", "past events"),
    "past_mask": ("bool [B, T]", "where there is one"),
    "future": ("float32 [B, T', M]", "what is known of the tracks to predict"),
    "future_mask": ("bool [B, T']", "where there is one"),
}


def write_folder(
    folder: Path,
    model: ZooModule,
    serving: Serving,
    outputs: Sequence[Output] = ("probability",),
    form: Format = "onnx",
) -> None:
    """Writes a model and what turns raw rows into its input; it appears when it is complete.

    Args:
        folder: The folder, which must not exist.
        model: The model, in evaluation, on the CPU.
        serving: How raw rows become its inputs.
        outputs: What it is to give.
        form: Form of the graph.

    Raises:
        ZooError: where the folder exists, the model cannot be exported, or what was written does
            not give what the model gives.
    """
    if folder.exists():
        raise ZooError(f"{folder} exists: name another folder, or delete it")
    if "attribution" in outputs and not model.experts:
        raise ZooError(f"{type(model).__name__} has no experts that a prediction is attributed to")
    batches = [*serving.batches]
    program = exported(model, outputs, _lengths(batches[0]))
    with atomic_folder(folder) as partial:
        partial.mkdir()
        if form == "onnx":
            write_onnx(program, partial / "model.onnx", input_names(model), outputs)
        else:
            torch.export.save(program, partial / "model.pt2")
        for name, array in serving.arrays.items():
            np.save(partial / f"{name}.npy", array, allow_pickle=False)
        files = {path.name: checksum(path) for path in sorted(partial.iterdir())}
        signature = {**_signature(model, serving, outputs, form), "files": files}
        _write_json(partial / "signature.json", signature)
        check = {"rows": serving.examples, "outputs": expected(model, batches, outputs)}
        _write_json(partial / "check.json", check)
        (partial / "reader.py").write_text(reader_text(serving.reader), encoding="utf-8")
        _check(partial, folder)


def expected(
    model: ZooModule, batches: Sequence[Any], outputs: Sequence[Output]
) -> dict[Output, list[Any]]:
    """What a model says of examples, those left out that cannot be used; of sessions, of each
    track to predict."""
    found: dict[Output, list[Any]] = {name: [] for name in outputs}
    with torch.inference_mode():
        for batch in batches:
            logit, attribution = model.explain(batch)
            said = {"logit": logit, "attribution": attribution, "probability": logit.sigmoid()}
            real = batch.future_mask if isinstance(batch, SessionBatch) else slice(None)
            for name in outputs:
                found[name] += said[name][real].tolist()
    return found


def _lengths(batch: Any) -> tuple[int, int] | None:
    """T and T' of sessions, which are those of all batches."""
    is_session = isinstance(batch, SessionBatch)
    return (batch.past.shape[1], batch.future.shape[1]) if is_session else None


def reader_text(name: str) -> str:
    """The reader of a kind of data, in one file: `common.py` and its own, behind all imports."""
    folder = files("zoo.export.readers")
    imports, code = {"import numpy as np": None}, ""
    for part in ("common", name):
        text = (folder / f"{part}.py").read_text("utf-8").partition('"""\n')[2]
        head = [line for line in text.splitlines() if line.startswith(("import ", "from "))]
        imports |= dict.fromkeys(line for line in head if "zoo." not in line)
        code += text.partition(head[-1])[2].rstrip() + "\n"
    own = sorted({*imports} - {"import numpy as np"}, key=lambda line: line.split()[1])
    return "\n".join([HEAD, *own, "", "import numpy as np", code])


def _signature(
    model: ZooModule, serving: Serving, outputs: Sequence[Output], form: Format
) -> dict[str, Any]:
    return {
        "format": FOLDER_FORMAT,
        "graph": form,
        "model": type(model).__name__,
        "columns": [asdict(column) for column in serving.columns],
        "keys": [asdict(key) for key in serving.keys],
        "outputs": [
            {"name": name, "type": "float32", "meaning": MEANINGS[name]} for name in outputs
        ],
        "experts": [*model.experts],
        "inputs": [
            {"name": name, "type": kind, "meaning": meaning}
            for name in input_names(model)
            for kind, meaning in [GRAPH[name.rstrip("0123456789").removesuffix("_")]]
        ],
        "torch": torch.__version__,
        "plan": serving.plan,
    }


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")


def _check(partial: Path, folder: Path) -> None:
    """Lets the reader check what was written, as it does whenever a folder is loaded."""
    spec = importlib.util.spec_from_file_location("reader", partial / "reader.py")
    assert spec is not None
    assert spec.loader is not None
    reader = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reader)
    try:
        reader.Model(partial)
    except ImportError as error:
        raise ZooError(
            f'what is exported is checked by {error.name}: pip install "interpretable-zoo[serve]"'
        ) from error
    except RuntimeError as error:
        raise ZooError(f"{folder} is not written: {error}") from error
