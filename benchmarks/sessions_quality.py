"""What models of listening sessions predict, and whether their attribution is true.

    python benchmarks/sessions_quality.py --seeds 1
    python benchmarks/sessions_quality.py --sessions 100000 --seeds 3 --folder sessions_quality

Generated sessions with planted mechanisms (`datamodules/synthetic/mechanisms.py`), the settings of
configs/sessions/demo.yaml; a seed decides sessions, split and weights. Accuracy, accuracy on the
first track and mean average accuracy on the test sessions, beside those of the true probabilities.

The right expert of a mechanism is the smallest subset that holds what decides it: interaction
of persistence, general of popularity, all of taste (whose sign needs the skips). What the
expert of the interactions says of each track is averaged by the track's place in the second half.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from common import PROJECT, console, fit_ours, make_table, mean_and_deviation, print_machine
from rich.progress import track

from datamodules import SyntheticSkipSessions
from datamodules.synthetic.sessions import LOGS, TRACKS, PlantedSessions
from zoo import InterpretableGRU, InterpretableTransformer
from zoo.experts.sessions import SessionMixture

CONFIGS = PROJECT / "configs/sessions"
MODELS: dict[str, tuple[str, ...]] = {
    "last": (),
    "mean": (),
    "Transformer": ("--model.init_args.subsets=null",),
    "interpretable Transformer": (),
    "interpretable GRU": ("--model=zoo.InterpretableGRU",),
}
MIXTURES: dict[str, type[SessionMixture]] = {
    "interpretable Transformer": InterpretableTransformer,
    "interpretable GRU": InterpretableGRU,
}
METRICS = ("acc", "acc@1", "maa")
RIGHT = {"persistence": "interaction", "taste": "all", "popularity": "general"}
CODES = {"persistence": 1, "taste": 2, "popularity": 3}


def fit(name: str, seed: int, sessions: int, folder: Path, gate: str = "abs") -> dict[str, float]:
    """Metrics of a model on the sessions of a seed; the gate is that of the mixtures."""
    root = folder / f"sessions_{seed}"
    options = ["--data=datamodules.SyntheticSkipSessions"]
    options += [f"--data.path={root / LOGS}", f"--data.tracks={root / TRACKS}"]
    options += [f"--data.synthetic.sessions={sessions}", f"--data.synthetic.seed={seed}"]
    options += [f"--data.prepared={folder / 'prepared'}", f"--data.split_seed={seed}"]
    options += [f"--model.init_args.gate={gate}"] if name in MIXTURES else []
    file = CONFIGS / f"{name if name in ('last', 'mean') else 'demo'}.yaml"
    here = folder / name.replace(" ", "_")
    metrics, _ = fit_ours(file, None, seed, here, *MODELS[name], *options)
    return metrics


def attributed(
    model: SessionMixture, root: Path, sessions: int, seed: int, prepared: Path
) -> tuple[dict[str, float], list[float]]:
    """What the experts say of the test tracks.

    Returns:
        share of each mechanism's tracks in which its right expert has the largest attribution, and
        the mean attribution of the expert of the interactions at each place of the second half.
    """
    data = SyntheticSkipSessions(
        str(root / LOGS),
        str(root / TRACKS),
        synthetic=PlantedSessions(sessions=sessions, seed=seed),
        prepared=str(prepared),
        split_seed=seed,
    )
    data.prepare_data()
    data.setup("test")
    with torch.no_grad():
        parts = [(model.explain(batch)[1], batch.future_mask) for batch in data.test_dataloader()]
    said, real = (torch.cat(part) for part in zip(*parts, strict=True))
    mechanism = torch.from_numpy(data.truth("test")["mechanism"].astype("int64"))
    names = model.lattice.names
    found = {}
    for name, expert in RIGHT.items():
        rows = (mechanism == CODES[name]) & real
        right = said[rows].argmax(1) == names.index(expert)
        found[name] = right.double().mean().item()
    interaction = said[:, :, names.index("interaction")].double()
    return found, ((interaction * real).sum(0) / real.sum(0)).tolist()


def best(folder: Path, model_class: type[SessionMixture]) -> SessionMixture:
    """The best checkpoint of a run directory."""
    file = folder / "checkpoints/best.ckpt"
    return model_class.load_from_checkpoint(file, weights_only=True).eval()


def run(sessions: int, seeds: int, folder: Path, gate: str = "abs") -> None:
    """Trains every model with every seed, and prints the tables."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in MODELS}
    shares: dict[str, list[dict[str, float]]] = {name: [] for name in MIXTURES}
    places: dict[str, list[list[float]]] = {name: [] for name in MIXTURES}
    for seed in track(range(seeds), "seeds", console=console):
        for name in MODELS:
            metrics = fit(name, seed, sessions, folder, gate)
            found[name].append(metrics)
            console.print(name, seed, {m: round(metrics[f"test/{m}"], 4) for m in METRICS})
        root = folder / f"sessions_{seed}"
        for name, model_class in MIXTURES.items():
            here = folder / name.replace(" ", "_") / "runs" / f"demo_{seed}" / "version_0"
            model = best(here, model_class)
            share, place = attributed(model, root, sessions, seed, folder / "prepared")
            shares[name].append(share)
            places[name].append(place)
    table = make_table(f"{sessions:,} sessions, {seeds} seeds", "", *METRICS)
    for name, results in found.items():
        cells = [mean_and_deviation([100 * r[f"test/{m}"] for r in results]) for m in METRICS]
        table.add_row(name, *cells)
    ceiling = [[100 * r[f"ceiling/{m}"] for r in found["last"]] for m in METRICS]
    table.add_row("true probabilities", *map(mean_and_deviation, ceiling))
    console.print(table)
    table = make_table("the right expert has the largest attribution", "of tracks that", *MIXTURES)
    for name in RIGHT:
        cells = [mean_and_deviation([share[name] for share in shares[m]]) for m in MIXTURES]
        table.add_row(f"{name} decided", *cells)
    console.print(table)
    table = make_table("attribution of the interactions", "track of the second half", *MIXTURES)
    for place in range(len(places["interpretable GRU"][0])):
        cells = [mean_and_deviation([p[place] for p in places[m]]) for m in MIXTURES]
        table.add_row(str(place + 1), *cells)
    console.print(table)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--gate", default="abs", help="of the mixtures, such as sufficiency")
    parser.add_argument("--folder", type=Path, help="new folder, to keep data and runs in")
    options = parser.parse_args()
    if options.folder and options.folder.exists():
        # the metrics of what lies there would be taken for those of this run
        parser.error(f"--folder: {options.folder} exists already")
    print_machine("torch", "pytorch-lightning")
    with tempfile.TemporaryDirectory() as folder:
        run(options.sessions, options.seeds, options.folder or Path(folder), options.gate)


if __name__ == "__main__":
    main()
