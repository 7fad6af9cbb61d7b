"""What `train.py export` does."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from zoo.run.parser import ZooParser

SUMMARY = "Write a model, and what turns raw rows into its input, as a folder that serves alone."


def parser() -> ZooParser:
    """The options of the subcommand."""
    made = ZooParser(prog=f"{Path(sys.argv[0]).name} export", description=SUMMARY)
    made.add_argument(
        "--ckpt_path",
        required=True,
        help="the checkpoint, in its run directory, or a run directory, whose best is taken",
    )
    made.add_argument("--output", required=True, help="folder to write, which must not exist")
    made.add_argument(
        "--format",
        default="onnx",
        choices=["onnx", "torch_export"],
        help="form of the graph: ONNX, or an ExportedProgram of PyTorch",
    )
    made.add_argument(
        "--outputs",
        nargs="+",
        default=["probability"],
        choices=["probability", "logit", "attribution"],
        help="what the model gives; attribution is that of a mixture of experts",
    )
    made.add_argument(
        "--embeddings",
        default="float32",
        choices=["float32", "float16", "int8"],
        help="type that embeddings are stored in; int8 has a scale for each id; what this saves "
        "and costs is printed, the latter where the data of the run are there",
    )
    return made


def run(arguments: Sequence[str]) -> None:
    """Writes the folder.

    Raises:
        ZooError: where the checkpoint lies in no run, the model or its data cannot be exported, or
            the folder exists.
    """
    options = parser().parse_args([*arguments])
    start, folder = time.monotonic(), Path(options.output)
    from zoo.export.cost import cost_of  # all of which need torch, which takes seconds to import
    from zoo.export.folder import write_folder
    from zoo.export.quantized import quantized
    from zoo.run.loaded import load

    run, console = load(options.ckpt_path), Console(highlight=False)
    model = quantized(run.model, options.embeddings)
    write_folder(folder, model, run.data.serving(), options.outputs, options.format)
    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    seconds = time.monotonic() - start
    said = f"{folder}: {type(run.model).__name__}, {size:,.1f} MB, checked, {seconds:.0f} s"
    console.print(said, soft_wrap=True)
    if model is not run.model:
        for line in cost_of(run.model, model, options.embeddings, run.data):
            console.print(line, soft_wrap=True)
