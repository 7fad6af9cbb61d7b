"""Interpretable experts: what they cost, and what they find where the truth is known.

    python benchmarks/experts.py toy --seeds 10
    python benchmarks/experts.py toy --seeds 20 --together
    python benchmarks/experts.py toy --fit data.task=a
    python benchmarks/experts.py movielens --path ml-1m.zip --test_list lists.tsv.gz --seeds 3
    python benchmarks/experts.py planted --seeds 3
    python benchmarks/experts.py sufficiency --seeds 5
    python benchmarks/experts.py cost

- toy: test rows of toy task (b) of Afchar & Hennequin (RecSys 2020): accuracy of the label, and of
  the most selected expert, which should be the one over the smallest subset that decides the label.
- movielens: Table 1 there, the experts' shares of the test items (Figure 6), and how each expert
  ranks alone and all of them by the tolerance (or the power of another inference gate). Without
  `--test_list` each user's last movie is ranked among 99 that are drawn. `--models` takes some;
  `--precision bf16-mixed` is 1.5 to 2.5 times as fast where the processor multiplies bfloat16.
- planted: clicks in Criteo's format with one strong planted cross. An expert sees its two fields,
  another two fields that do not interact, the third all. Test AUC beside DeepFM's, and shares.
- sufficiency: tasks whose smallest sufficient subset is known for every row. By each setting of
  the gates the share of test rows in which it has most to say (mean, and the worst seed), the
  largest mean attribution that an irrelevant subset has with any seed, and the AUC beside those of
  a plain network of all fields and of the true probabilities. `--tasks`, `--settings` take some.
- cost: a training step of the experts beside the plain network of equal parameter count, and beside
  equation 14 at its plainest: a dense matrix times a mask in each layer. With the stops between
  parents and children, it takes a second product; without, it trains children for their parents.
"""

import argparse
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from common import (
    PROJECT,
    console,
    fit_ours,
    make_table,
    mean_and_deviation,
    open_data,
    print_machine,
)
from experts_cost import run_cost
from experts_tasks import SETTINGS, TASKS, run_sufficiency
from plotly import graph_objects as go
from plotly.subplots import make_subplots
from rich.progress import track
from torch import Tensor
from toy_together import train_together

from zoo import InterpretableMLP
from zoo.experts.mixture import mixture_logit
from zoo.models.metrics import RankingMetrics

CONFIGS = PROJECT / "configs"
POINTS = 4000  # of the picture
POWERS = (4, 8, 16, 32, 64)  # of the inference gate
TOLERANCES = (0.005, 0.01, 0.012, 0.02, 0.05)  # of the gate of sufficiency, nats
CONTENT = (
    "--model.init_args.subsets={content: [user_profile, item_profile]}",
    "--model.init_args.embedding_dim=16",
    "--model.init_args.hidden_units=[256, 128, 64]",
    "--trainer.max_epochs=2",
    "--data.balance_users=true",
)
MOVIELENS = {"control": ("ncf_mlp", ()), "content alone": ("interpretable_mlp", CONTENT)}
MOVIELENS |= {"experts": ("interpretable_mlp", ())}
PLANTED = ("--data.synthetic.crosses=[[C6, C14]]", "--data.synthetic.cross_strength=3")
# the expert of all learns from every row and is selected where the pair is not confident
PLANTED_EXPERTS = tuple(
    f"--model.init_args.{option}" for option in ("fallback=true", "auxiliary=1", "power=4")
)


def trained(folder: Path, name: str) -> InterpretableMLP:
    """The best model of a run of `fit_ours`."""
    checkpoint = folder / "runs" / name / "version_0/checkpoints/best.ckpt"
    return InterpretableMLP.load_from_checkpoint(checkpoint, weights_only=True).eval()


def explained(model: InterpretableMLP, data: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Logits [n], attributions [n, H] and labels [n] of all test rows."""
    data.setup("test")
    with torch.no_grad():
        parts = [(*model.explain(batch), batch.label) for batch in data.test_dataloader()]
    logits, attributed, labels = (torch.cat(part) for part in zip(*parts, strict=True))
    return logits, attributed, labels


def ranked(model: InterpretableMLP, data: Any) -> dict[str, list[float]]:
    """HR@10 and NDCG@10 of each expert alone, and of all by what can be chosen after training.

    That is the tolerance of the gate of sufficiency, or the power of another inference gate. Beside
    it the share of all test rows, and of the positives, in which each expert's attribution is
    largest.
    """
    data.setup("test")
    with torch.no_grad():
        parts = [(model.judged_outputs(b), b.label, b.query) for b in data.test_dataloader()]
    judged, *rest = zip(*parts, strict=True)
    z, missed = ([*part] for part in zip(*judged, strict=True))
    z, missed = torch.cat(z), None if missed[0] is None else torch.cat(missed)
    label, query = map(torch.cat, rest)

    def measure(logits: Tensor) -> list[float]:
        metric = RankingMetrics()
        metric.update(logits, label, query)
        return [value.item() for value in metric.compute().values()]

    def largest(log_alpha: Tensor) -> list[float]:
        return (torch.bincount(log_alpha.argmax(1), minlength=z.shape[1]) / len(log_alpha)).tolist()

    found = {f"{name} alone": measure(z[:, i]) for i, name in enumerate(model.lattice.names)}
    sufficiency = model.inference_gate == "sufficiency"
    option = "tolerance" if sufficiency else "inference_power"
    for value in TOLERANCES if sufficiency else POWERS:
        setattr(model, option, value)
        log_alpha = model.log_selection(z, missed)
        logits = mixture_logit(z + model.prior_output, log_alpha)
        shares = largest(log_alpha) + largest(log_alpha[label > 0.5])
        found[f"{option.replace('_', ' ')} {value}"] = measure(logits) + shares
    return found


def toys(
    options: argparse.Namespace, seeds: Sequence[int], folder: Path
) -> Iterator[tuple[InterpretableMLP, Any]]:
    """The trained model and the data of each seed."""
    config = CONFIGS / "toy/interpretable_mlp.yaml"
    if options.together:
        yield from train_together(config, seeds, options.fit)
        return
    more = [f"--{option}" for option in options.fit]
    for seed in track(seeds, "seeds", console=console):
        _, resolved = fit_ours(config, None, seed, folder, f"--data.seed={seed}", *more)
        yield trained(folder, f"interpretable_mlp_{seed}"), open_data(resolved)


def run_toy(options: argparse.Namespace, folder: Path) -> None:
    """Toy task (b), or another (`--fit data.task=a`)."""
    labels, experts = [], []
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    for seed, (model, data) in zip(seeds, toys(options, seeds, folder), strict=True):
        logits, attributed, label = explained(model, data)
        labels.append(((logits > 0) == (label > 0.5)).double().mean().item())
        truth = torch.from_numpy(data.truth["test"])
        experts.append((attributed.argmax(1) == truth).double().mean().item())
        console.print(f"seed {seed}: label {labels[-1]:.4f}, expert {experts[-1]:.4f}")
    if options.picture:
        x = torch.from_numpy(data.arrays["test"].numerical)
        draw_toy(options.picture, x[:POINTS], logits[:POINTS], attributed[:POINTS])
    task = " ".join(["toy task", *options.fit])
    table = make_table(f"{task}, {options.seeds} seeds", "accuracy of", "mean", "worst")
    for name, values in (("the label", labels), ("the most selected expert", experts)):
        table.add_row(name, mean_and_deviation(values), f"{min(values):.4f}")
    console.print(table)


def draw_toy(path: Path, x: Tensor, logits: Tensor, attributed: Tensor) -> None:
    """The test rows by predicted label and by attribution, as Figure 5: an HTML file."""
    titles = ("predicted label", "attribution: x1 red, x2 green, both blue")
    figure = make_subplots(cols=2, subplot_titles=titles)
    labels = ["#d62728" if logit > 0 else "#1f77b4" for logit in logits.tolist()]
    shares = [f"rgb({r:.0f},{g:.0f},{b:.0f})" for r, g, b in (255 * attributed).tolist()]
    for column, colors in enumerate((labels, shares), 1):
        points = {"x": x[:, 0].tolist(), "y": x[:, 1].tolist(), "mode": "markers"}
        figure.add_scattergl(**points, marker={"size": 3, "color": colors}, row=1, col=column)
        figure.update_xaxes(title="x1", row=1, col=column)
        figure.update_yaxes(title="x2", row=1, col=column)
    figure.update_layout(showlegend=False, template="plotly_white", width=900, height=450)
    figure.write_html(path, config={"displayModeBar": False})


def run_movielens(options: argparse.Namespace, folder: Path) -> None:
    """Table 1 and Figure 6."""
    same = [f"--trainer.precision={options.precision}"]
    same += [f"--data.test_list={options.test_list.resolve()}"] if options.test_list else []
    metrics = ("test/hr@10", "test/ndcg@10", "epochs", "seconds")
    table = make_table(
        f"{options.path.name}, {options.seeds} seeds", "", *metrics, "parameters", "network's"
    )
    shares: dict[str, list[Tensor]] = {"most selected": [], "mean attribution": []}
    rankings: list[dict[str, list[float]]] = []
    for name, (config, more) in MOVIELENS.items():  # the experts last
        if name not in options.models:
            continue
        found = []
        for seed in track(range(options.seeds), name, console=console):
            here = folder / name.replace(" ", "_")
            fitted = [f"--{option}" for option in options.fit] if name == "experts" else []
            file = CONFIGS / f"movielens/{config}.yaml"
            result, resolved = fit_ours(file, options.path, seed, here, *same, *more, *fitted)
            found.append(result)
            model = trained(here, f"{config}_{seed}")
            if name == "experts":
                data = open_data(resolved)
                _, attributed, label = explained(model, data)
                items = attributed[label > 0.5]
                most = torch.bincount(items.argmax(1), minlength=items.shape[1]) / len(items)
                shares["most selected"].append(most)
                shares["mean attribution"].append(items.mean(0))
                rankings.append(ranked(model, data))
        sizes = (sum(p.numel() for p in m.parameters()) for m in (model, model.embedding))
        total, embedding = sizes
        cells = [mean_and_deviation([f[metric] for f in found]) for metric in metrics[:2]]
        cells += [f"{statistics.mean(f[metric] for f in found):,.0f}" for metric in metrics[2:]]
        table.add_row(name, *cells, f"{total:,}", f"{total - embedding:,}")
        console.print(table)
    if not shares["most selected"]:  # no experts among the models
        return
    stacked = {name: torch.stack(values) for name, values in shares.items()}
    names = model.lattice.names
    figure = make_table("share of the users' last movies", "", *names)
    for name, values in stacked.items():
        figure.add_row(name, *(mean_and_deviation(column) for column in values.T.tolist()))
    console.print(figure)
    columns = ("hr@10", "ndcg@10", *names, *(f"{name}, positives" for name in names))
    table = make_table("the same models; largest in", "ranked by", *columns)
    for name in rankings[0]:
        values = zip(*(ranking[name] for ranking in rankings), strict=True)
        table.add_row(name, *(f"{statistics.mean(value):.3f}" for value in values))
    console.print(table)
    if options.picture:
        draw_shares(options.picture, names, stacked)


def draw_shares(path: Path, names: Sequence[str], shares: dict[str, Tensor]) -> None:
    """Mean over the seeds of each [seeds, experts], as Figure 6: an HTML file."""
    figure = go.Figure()
    for (name, values), color in zip(shares.items(), ("#1f77b4", "#ff7f0e"), strict=True):
        figure.add_bar(name=name, x=list(names), y=values.mean(0).tolist(), marker_color=color)
    figure.update_yaxes(title="share of the users' last movies", range=[0, 1])
    figure.update_layout(barmode="group", template="plotly_white", width=700, height=400)
    figure.update_layout(margin={"t": 30, "b": 40})
    figure.write_html(path, config={"displayModeBar": False})


def run_planted(options: argparse.Namespace, folder: Path) -> None:
    """One planted cross among Criteo's fields."""
    names = ("planted", "other", "all")  # of configs/demo/interpretable_mlp.yaml
    found: dict[str, list[float]] = {"DeepFM": [], "experts": [], "ceiling": []}
    shares: dict[str, list[float]] = {name: [] for name in names}
    for seed in track(range(options.seeds), "seeds", console=console):
        path = folder / f"{seed}.txt"
        same = (*PLANTED, f"--data.synthetic.rows={options.rows}", f"--data.synthetic.seed={seed}")
        deepfm, _ = fit_ours(CONFIGS / "demo/deepfm.yaml", path, seed, folder, *same)
        ours, _ = fit_ours(
            CONFIGS / "demo/interpretable_mlp.yaml", path, seed, folder, *same, *PLANTED_EXPERTS
        )
        found["DeepFM"].append(deepfm["test/auc"])
        found["experts"].append(ours["test/auc"])
        found["ceiling"].append(ours["ceiling/auc"])
        for name in names:
            shares[name].append(ours[f"test/largest/{name}"])
    table = make_table(f"{options.rows:,} rows, {options.seeds} seeds", "test AUC", *found)
    table.add_row("", *(mean_and_deviation(values) for values in found.values()))
    console.print(table)
    table = make_table("most selected expert, share of the test rows", "", *names)
    table.add_row("", *(mean_and_deviation(values) for values in shares.values()))
    console.print(table)


COMMANDS = {
    "toy": run_toy,
    "movielens": run_movielens,
    "planted": run_planted,
    "sufficiency": run_sufficiency,
    "cost": run_cost,
}


def main() -> None:
    """Runs one of the benchmarks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("benchmark", choices=COMMANDS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first_seed", type=int, default=0, help="of the toy")
    parser.add_argument(
        "--fit", nargs="+", default=[], help="of the toy and MovieLens' experts: model.silence=0"
    )
    parser.add_argument(
        "--together", action="store_true", help="the toy's seeds as one network, ten times as fast"
    )
    parser.add_argument(
        "--picture", type=Path, help="HTML file: the toy's last seed, or MovieLens' shares"
    )
    parser.add_argument(
        "--models", nargs="+", choices=MOVIELENS, default=list(MOVIELENS), help="of MovieLens"
    )
    parser.add_argument("--path", type=Path, help="MovieLens' zip or folder")
    parser.add_argument("--test_list", type=Path, help="published lists to test on")
    parser.add_argument("--precision", default="32-true", help="in which MovieLens is trained")
    parser.add_argument(
        "--rows", type=int, help="planted clicks (200,000), rows of a task's splits (20,000)"
    )
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--batch_size", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=20, help="a repeat")
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    options.rows = options.rows or (20_000 if options.benchmark == "sufficiency" else 200_000)
    print_machine("torch", "pytorch-lightning")
    with tempfile.TemporaryDirectory() as folder:
        COMMANDS[options.benchmark](options, Path(folder))


if __name__ == "__main__":
    main()
