"""What models of listening sessions predict, and whether their attribution is true.

    python benchmarks/sessions_quality.py --seeds 1
    python benchmarks/sessions_quality.py --sessions 100000 --seeds 3

Generated sessions with planted mechanisms (`datamodules/synthetic_mechanisms.py`), the settings of
configs/sessions/demo.yaml; a seed decides sessions, split and weights. Accuracy, accuracy on the
first track and mean average accuracy on the test sessions, beside those of the true probabilities.

The right expert of a mechanism is the smallest subset that holds what decides it: interaction
of persistence, general of popularity, all of taste (whose sign needs the skips).
"""

import argparse
import tempfile
from pathlib import Path

import torch
from common import PROJECT, console, fit_ours, make_table, mean_and_deviation, print_machine
from rich.progress import track

from datamodules import SkipSessions
from datamodules.synthetic_sessions import LOGS, TRACKS, PlantedSessions
from zoo import InterpretableTransformer

CONFIGS = PROJECT / "configs/sessions"
MODELS: dict[str, tuple[str, ...]] = {
    "last": (),
    "mean": (),
    "Transformer": ("--model.init_args.subsets=null",),
    "interpretable Transformer": (),
}
METRICS = ("acc", "acc@1", "maa")
RIGHT = {"persistence": "interaction", "taste": "all", "popularity": "general"}
CODES = {"persistence": 1, "taste": 2, "popularity": 3}


def fit(name: str, seed: int, sessions: int, folder: Path) -> dict[str, float]:
    """Metrics of a model on the sessions of a seed."""
    root = folder / f"sessions_{seed}"
    options = [f"--data.path={root / LOGS}", f"--data.tracks={root / TRACKS}"]
    options += [f"--data.synthetic.sessions={sessions}", f"--data.synthetic.seed={seed}"]
    options += [f"--data.prepared={folder / 'prepared'}", f"--data.split_seed={seed}"]
    file = CONFIGS / f"{name if name in ('last', 'mean') else 'demo'}.yaml"
    here = folder / name.replace(" ", "_")
    metrics, _ = fit_ours(file, None, seed, here, *options, *MODELS[name])
    return metrics


def attributed(run: Path, root: Path, sessions: int, seed: int, prepared: Path) -> dict[str, float]:
    """Share of each mechanism's test tracks in which its right expert has most to say."""
    model = InterpretableTransformer.load_from_checkpoint(
        run / "checkpoints/best.ckpt", weights_only=True
    ).eval()
    data = SkipSessions(
        str(root / LOGS),
        str(root / TRACKS),
        synthetic=PlantedSessions(sessions=sessions, seed=seed),
        prepared=str(prepared),
        split_seed=seed,
    )
    data.setup("test")
    with torch.no_grad():
        parts = [
            (model.explain(batch)[1].argmax(2), batch.future_mask)
            for batch in data.test_dataloader()
        ]
    most, real = (torch.cat(part) for part in zip(*parts, strict=True))
    mechanism = torch.from_numpy(data.truth("test")["mechanism"].astype("int64"))
    found = {}
    for name, expert in RIGHT.items():
        rows = (mechanism == CODES[name]) & real
        right = most[rows] == model.lattice.names.index(expert)
        found[name] = right.double().mean().item()
    return found


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    print_machine("torch", "pytorch-lightning")
    found: dict[str, list[dict[str, float]]] = {name: [] for name in MODELS}
    shares: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seed in track(range(options.seeds), "seeds", console=console):
            for model in MODELS:
                found[model].append(fit(model, seed, options.sessions, folder))
            run = folder / "interpretable_Transformer" / "runs" / f"demo_{seed}" / "version_0"
            root = folder / f"sessions_{seed}"
            shares.append(attributed(run, root, options.sessions, seed, folder / "prepared"))
    table = make_table(f"{options.sessions:,} sessions, {options.seeds} seeds", "", *METRICS)
    for model, results in found.items():
        cells = [mean_and_deviation([100 * r[f"test/{m}"] for r in results]) for m in METRICS]
        table.add_row(model, *cells)
    ceiling = [
        mean_and_deviation([100 * r[f"ceiling/{m}"] for r in found["last"]]) for m in METRICS
    ]
    table.add_row("true probabilities", *ceiling)
    console.print(table)
    table = make_table("the right expert has most to say", "of tracks that", "share")
    for name in RIGHT:
        table.add_row(f"{name} decided", mean_and_deviation([share[name] for share in shares]))
    console.print(table)


if __name__ == "__main__":
    main()
