"""What all readers of exported models share; `zoo.export.folder` makes one file of both."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def is_missing(value: Any) -> bool:
    """Whether a value is None, NaN, NaT or NA of pandas."""
    return value is None or type(value).__name__ == "NAType" or value != value


class Served:
    """A model in a folder, which is compared with what it gave when it was exported.

    `threads` is the number that onnxruntime takes for a call; 0 is as many as there are cores.
    """

    def __init__(self, folder: str | Path = Path(__file__).parent, threads: int = 0) -> None:
        folder = Path(folder)
        self.signature = json.loads((folder / "signature.json").read_text(encoding="utf-8"))
        self.plan = self.signature["plan"]
        for name, digest in self.signature["files"].items():
            with open(folder / name, "rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                    raise RuntimeError(f"{folder / name} is damaged: copy or export it again")
        self.arrays = {path.stem: np.load(path, mmap_mode="r") for path in folder.glob("*.npy")}
        if (folder / "model.onnx").exists():
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            session = onnxruntime.InferenceSession(folder / "model.onnx", options)
            used = [i.name for i in session.get_inputs()]
            self.graph = lambda given: session.run(None, {name: given[name] for name in used})
        else:
            import torch

            run = torch.inference_mode()(torch.export.load(folder / "model.pt2").module().forward)
            self.graph = lambda given: [o.numpy() for o in run(*map(torch.tensor, given.values()))]
        check = json.loads((folder / "check.json").read_text(encoding="utf-8"))
        found = self(check["rows"])
        usable = [reason is None for reason in found["problem"]]
        for name, expected in check["outputs"].items():
            mine, expected = found[name][usable], np.array(expected, float)
            if mine.shape != expected.shape or not np.allclose(mine, expected, 1e-4, 1e-4):
                raise RuntimeError(f"{folder} gives another {name} than when it was exported")

    def __call__(self, rows: Any) -> dict[str, Any]:
        """The outputs of raw rows."""
        raise NotImplementedError

    def columns(self, rows: Any) -> tuple[Mapping[str, Any], list[str | None]]:
        """The columns that are read of rows, and what is wrong with each row, nothing so far."""
        wanted = self.plan["columns"]
        if hasattr(rows, "columns"):  # a frame
            rows = {name: rows[name] for name in wanted if name in rows.columns}
        elif not isinstance(rows, Mapping):
            rows = [*rows]
            named = {name for row in rows for name in row}
            if not rows:
                raise ValueError("there are no rows")
            rows = {name: [row.get(name) for row in rows] for name in wanted if name in named}
        if absent := [name for name in wanted if name not in rows]:
            raise KeyError(f"no row has the column {absent[0]!r}")
        values = [rows[name] for name in wanted]
        each = {len(x) if hasattr(x, "__len__") and not isinstance(x, str) else -1 for x in values}
        if len(each) > 1 or min(each) < 1:
            raise ValueError("columns must have as many values each, at least one; a row is [row]")
        return rows, [None] * each.pop()

    def ids(self, keys: Sequence[str]) -> np.ndarray:
        """int64 [n] the ids of keys: the name of a vocabulary, a NUL and a value; else 0."""
        encoded = (key.encode("utf-8", "surrogatepass") for key in keys)
        hashes = b"".join(hashlib.blake2b(key, digest_size=8).digest() for key in encoded)
        wanted, known = np.frombuffer(hashes, "<u8"), self.arrays["vocabulary"]
        place = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        return np.where(known[place] == wanted, self.arrays["ids"][place], 0).astype(np.int64)

    def scored(self, inputs: dict[str, np.ndarray], problem: list[str | None]) -> dict[str, Any]:
        """What the graph gives, NaN for rows that have a problem, and the problems."""
        names = [output["name"] for output in self.signature["outputs"]]
        found: dict[str, Any] = dict(zip(names, self.graph(inputs), strict=True))
        for values in found.values():
            values[[reason is not None for reason in problem]] = np.nan
        return {**found, "problem": problem}
