"""Training on a GPU, beside a plain loop, other libraries and what the device allows.

    python benchmarks/gpu.py > gpu.jsonl

Prints a line of JSON for each figure as soon as it is there, the most important first, and ends
after `--seconds`; what was not reached, and what failed, has a line too. Models and settings are
those of `train_throughput.py` (embedding 16, hidden units 400-400, Adagrad), a million ids, random
rows on the device. A figure is the median of `--repeats` epochs, the first of which does not count.

- zoo: `Trainer.fit` with the project's loader and training metrics; steps are recorded as CUDA
  graphs where they can be.
- zoo, steps not recorded: the same with `cuda_graphs=False`.
- plain loop: the same model of `torch.nn` modules in a loop of PyTorch alone, without metrics
  (`plain.py`); its table has dense gradients, or sparse ones.
- deepctr-torch, FuxiCTR: their models, by their own training, where they are installed.
- limit: no contestant; the operations and bytes of a step, counted (`gpu_limit.py`), over what the
  device reaches in a product of two large matrices and in a copy.
- host: what the loop of `Trainer.fit` alone would let through, as a step of it takes on this
  machine's processor when the device takes no time.

Precisions: fp32; tf32, float32 whose products may be rounded to TF32; bf16, mixed. Epochs of DeepFM
are those of the paper's settings (three layers of 400) with training metrics. Mixtures of experts
count rows, or sessions; detection is that of interactions around 512 rows, in seconds.

`python benchmarks/gpu.py --device cpu --quick` shows all of it without a GPU, at toy sizes.
"""

import argparse
import json
import logging
import time
import traceback
import warnings

import torch
from gpu_figures import Figures, Line


def matches(called: Line, only: list[str]) -> bool:
    """Whether a figure is asked for."""
    return not only or any(str(value) in only for value in called.values())


def run(options: argparse.Namespace, begun: float) -> None:
    """Takes the figures, and prints them."""
    device = torch.device(options.device)
    cuda = device.type == "cuda"
    machine = {"device": torch.cuda.get_device_name(device) if cuda else "CPU"}
    machine |= {"torch": torch.__version__}

    def put(line: Line) -> None:
        elapsed = round(time.perf_counter() - begun, 1)
        print(json.dumps({**line, **machine, "elapsed": elapsed}), flush=True)

    left_out = []
    figures = Figures(options)
    for called, take in figures.jobs():
        if called["figure"] != "rates" and not matches(called, options.only):
            continue
        if time.perf_counter() - begun > options.seconds:
            left_out.append(" ".join(map(str, called.values())))
            continue
        try:
            put(called | take())
        except Exception as error:
            put(called | {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"})
            if options.tracebacks:
                traceback.print_exc()
        if cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
    put({"figure": "end", "left_out": left_out})


def main() -> None:
    """Runs the benchmark."""
    begun = time.perf_counter()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="toy sizes: to show the benchmark")
    parser.add_argument("--seconds", type=float, default=215, help="after which no figure begins")
    parser.add_argument("--repeats", type=int, default=3, help="epochs that a figure is taken of")
    parser.add_argument(
        "--only", nargs="+", default=[], help="figures, models, contestants, precisions to take"
    )
    parser.add_argument("--tracebacks", action="store_true", help="of what fails, on stderr")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    for name in ("pytorch_lightning", "lightning.pytorch", "pytorch_lightning.utilities.rank_zero"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if torch.device(options.device).type == "cuda" and not torch.cuda.is_available():
        parser.error(
            "no GPU that PyTorch can use; --device cpu --quick shows the benchmark without"
        )
    run(options, begun)


if __name__ == "__main__":
    main()
