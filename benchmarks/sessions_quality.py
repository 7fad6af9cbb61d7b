"""What models of listening sessions predict, and whether their attribution is true.

    python benchmarks/sessions_quality.py --seeds 1
    python benchmarks/sessions_quality.py --sessions 100000 --seeds 3 --folder sessions_quality
    python benchmarks/sessions_quality.py --sessions 100000 --config sufficiency
    python benchmarks/sessions_quality.py --config deezer --models last "interpretable GRU"

Generated sessions with planted mechanisms (`datamodules/synthetic/mechanisms.py`), the settings of
a config of configs/sessions; a seed decides sessions, split and weights. Accuracy, accuracy on the
first track and mean average accuracy on the test sessions, beside those of the true probabilities.

The right expert of a mechanism is the smallest subset that holds what decides it: interaction
of persistence, general of popularity, all of taste (whose sign needs the skips); where there are
users (deezer), user of habits, and affinity of favourites. What the expert of the interactions says
of each track is averaged by the track's place in the second half.
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml
from common import PROJECT, console, fit_ours, make_table, mean_and_deviation, print_machine
from rich.progress import track

from datamodules import SyntheticSkipSessions
from datamodules.synthetic.mechanisms import GROUPS, MECHANISMS
from datamodules.synthetic.sessions import LOGS, TRACKS, USERS, PlantedSessions
from zoo import InterpretableGRU, InterpretableTransformer
from zoo.experts.sessions import SessionMixture

CONFIGS = PROJECT / "configs/sessions"
TRANSFORMER = (  # of configs/sessions/demo.yaml
    "--model=zoo.InterpretableTransformer",
    "--model.init_args.blocks=1",
    "--model.init_args.feed_forward=128",
)
MODELS: dict[str, tuple[str, ...]] = {
    "last": (),
    "mean": (),
    "Transformer": (*TRANSFORMER, "--model.init_args.subsets=null"),
    "GRU": ("--model=zoo.InterpretableGRU", "--model.init_args.subsets=null"),
    "interpretable Transformer": TRANSFORMER,
    "interpretable GRU": ("--model=zoo.InterpretableGRU",),
}
MIXTURES: dict[str, type[SessionMixture]] = {
    "interpretable Transformer": InterpretableTransformer,
    "interpretable GRU": InterpretableGRU,
}
METRICS = ("acc", "acc@1", "maa")


@dataclass(frozen=True)
class Study:
    """What is compared, and where.

    Attributes:
        config: Name of a config of configs/sessions.
        sessions: Number of sessions of a seed.
        folder: Folder of data and runs.
        gate: Gate of the mixtures in place of the config's; empty is the config's.
    """

    config: str
    sessions: int
    folder: Path
    gate: str = ""

    def planted(self, seed: int) -> PlantedSessions:
        """The generator of a seed's sessions."""
        content = yaml.safe_load((CONFIGS / f"{self.config}.yaml").read_text())
        users = content["data"]["init_args"]["synthetic"].get("users", 0)
        return PlantedSessions(self.sessions, seed=seed, users=users)

    def places(self, seed: int) -> dict[str, str]:
        """The folders of a seed's sessions, tracks and users, as options of the data."""
        root = self.folder / f"sessions_{seed}"
        users = {"users": str(root / USERS)} if self.planted(seed).users else {}
        return {"path": str(root / LOGS), "tracks": str(root / TRACKS), **users}

    def fit(self, name: str, seed: int) -> dict[str, float]:
        """Metrics of a model on the sessions of a seed."""
        given = self.places(seed) | {"prepared": str(self.folder / "prepared")}
        given |= {"split_seed": str(seed), "synthetic.sessions": str(self.sessions)}
        given |= {"synthetic.seed": str(seed), "synthetic.users": str(self.planted(seed).users)}
        options = ["--data=datamodules.SyntheticSkipSessions"]
        options += [f"--data.{option}={value}" for option, value in given.items()]
        if self.gate and name in MIXTURES:
            options.append(f"--model.init_args.gate={self.gate}")
        file = CONFIGS / f"{name if name in ('last', 'mean') else self.config}.yaml"
        here = self.folder / name.replace(" ", "_")
        metrics, _ = fit_ours(file, None, seed, here, *MODELS[name], *options)
        return metrics

    def best(self, name: str, seed: int) -> SessionMixture:
        """The best checkpoint of a mixture."""
        run = self.folder / name.replace(" ", "_") / "runs" / f"{self.config}_{seed}/version_0"
        file = run / "checkpoints/best.ckpt"
        return MIXTURES[name].load_from_checkpoint(file, weights_only=True).eval()

    def data(self, seed: int) -> SyntheticSkipSessions:
        """The sessions of a seed, ready to be tested on."""
        data = SyntheticSkipSessions(
            **self.places(seed),
            synthetic=self.planted(seed),
            prepared=str(self.folder / "prepared"),
            split_seed=seed,
        )
        data.prepare_data()
        data.setup("test")
        return data


def right_expert(model: SessionMixture, mechanism: str) -> int:
    """The number of the expert of the fewest fields that sees all which decide a mechanism."""
    groups = set(GROUPS[mechanism])
    needed = {field.name for field in model.schema.fields if field.group in groups}
    seen = [set(fields) for fields in model.lattice.fields]
    return min((i for i in range(len(seen)) if needed <= seen[i]), key=lambda i: len(seen[i]))


def attributed(
    model: SessionMixture, data: SyntheticSkipSessions
) -> tuple[dict[str, float], list[float]]:
    """What the experts say of the test tracks.

    Returns:
        share of each mechanism's tracks in which its right expert has the largest attribution, and
        the mean attribution of the expert of the interactions at each place of the second half.
    """
    with torch.no_grad():
        parts = [(model.explain(batch)[1], batch.future_mask) for batch in data.test_dataloader()]
    said, real = (torch.cat(part) for part in zip(*parts, strict=True))
    mechanism = torch.from_numpy(data.truth("test")["mechanism"].astype("int64"))
    found = {}
    for code, name in enumerate(MECHANISMS):
        rows = (mechanism == code) & real
        if GROUPS[name] and rows.any():
            right = said[rows].argmax(1) == right_expert(model, name)
            found[name] = right.double().mean().item()
    interaction = said[:, :, model.lattice.names.index("interaction")].double()
    return found, ((interaction * real).sum(0) / real.sum(0)).tolist()


def run(study: Study, models: list[str], first_seed: int, seeds: int) -> None:
    """Trains the models with every seed, and prints the tables."""
    mixtures = [name for name in models if name in MIXTURES]
    found: dict[str, list[dict[str, float]]] = {name: [] for name in models}
    shares: dict[str, list[dict[str, float]]] = {name: [] for name in mixtures}
    places: dict[str, list[list[float]]] = {name: [] for name in mixtures}
    for seed in track(range(first_seed, first_seed + seeds), "seeds", console=console):
        for name in models:
            metrics = study.fit(name, seed)
            found[name].append(metrics)
            console.print(name, seed, {m: round(metrics[f"test/{m}"], 4) for m in METRICS})
        for name in mixtures:
            share, place = attributed(study.best(name, seed), study.data(seed))
            shares[name].append(share)
            places[name].append(place)
            console.print(name, seed, {k: round(v, 4) for k, v in share.items()})
    table = make_table(f"{study.sessions:,} sessions, {seeds} seeds", "", *METRICS)
    for name, results in found.items():
        cells = [mean_and_deviation([100 * r[f"test/{m}"] for r in results]) for m in METRICS]
        table.add_row(name, *cells)
    ceiling = [[100 * r[f"ceiling/{m}"] for r in found[models[0]]] for m in METRICS]
    table.add_row("true probabilities", *map(mean_and_deviation, ceiling))
    console.print(table)
    if not mixtures:
        return
    table = make_table("the right expert has the largest attribution", "of tracks that", *mixtures)
    for name in shares[mixtures[0]][0]:
        cells = [mean_and_deviation([share[name] for share in shares[m]]) for m in mixtures]
        table.add_row(f"{name} decided", *cells)
    console.print(table)
    table = make_table("attribution of the interactions", "track of the second half", *mixtures)
    for place in range(len(places[mixtures[0]][0])):
        cells = [mean_and_deviation([p[place] for p in places[m]]) for m in mixtures]
        table.add_row(str(place + 1), *cells)
    console.print(table)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sessions", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first_seed", type=int, default=0)
    parser.add_argument("--config", default="demo", help="of configs/sessions, such as sufficiency")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--gate", default="", help="of the mixtures, in place of the config's")
    parser.add_argument("--folder", type=Path, help="new folder, to keep data and runs in")
    options = parser.parse_args()
    if options.folder and options.folder.exists():
        # the metrics of what lies there would be taken for those of this run
        parser.error(f"--folder: {options.folder} exists already")
    print_machine("torch", "pytorch-lightning")
    with tempfile.TemporaryDirectory() as folder:
        place = options.folder or Path(folder)
        study = Study(options.config, options.sessions, place, options.gate)
        run(study, options.models, options.first_seed, options.seeds)


if __name__ == "__main__":
    main()
