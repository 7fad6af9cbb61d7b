"""Validation logloss of large batches beside that of small ones, by the rule that scales the rate.

    python benchmarks/large_batches.py                         # DeepFM; 12 minutes, one thread
    python benchmarks/large_batches.py --optimizers lazy_adam --times 16 --rules none --seeds 1
    python benchmarks/large_batches.py --deep 400 400 400 --rows 300000 --times 16 --epochs 8
    python benchmarks/large_batches.py --quick                 # a minute: whether it runs

Generated clicks in Criteo's format. Each optimizer has a batch of 512 with the rate that suits it
there (adagrad that of the demo), and batches `--times` as large: with the same rate (`none`), or,
for a batch k times as large, with that times sqrt(k) or times k (`linear`), to which it rises over
as many steps as the first epoch has. A fit ends where the validation logloss does not fall for
three epochs, or after `--epochs`; figures are of its best epoch. Mean and standard error over the
seeds, which decide initialisation and order. The difference is to the small batch of the same
optimizer, which is reached where it is at most one standard error of the difference.
"""

import argparse
import logging
import math
import statistics
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from common import console, make_table, print_machine

import zoo
from datamodules import SyntheticCriteo
from datamodules.synthetic.clicks import PlantedClicks

SMALL = 512
RATES = {"adagrad": 0.02, "lazy_adam": 0.001}  # of small batches
RULES = {"none": lambda k: 1.0, "sqrt": math.sqrt, "linear": lambda k: k}
PATIENCE = 3


@dataclass(frozen=True)
class Setting:
    """How a model is trained."""

    optimizer: str
    times: int = 1  # the small batch
    rule: str = ""

    @property
    def rate(self) -> float:
        """The learning rate."""
        return RATES[self.optimizer] * RULES.get(self.rule, RULES["none"])(self.times)

    def warm_up(self, rows: int) -> int:
        """The number of steps over which the rate rises."""
        return -(-rows // (SMALL * self.times)) if self.rule in ("sqrt", "linear") else 0


class Best(pl.Callback):
    """The metrics of the best epoch; ends the fit where there is no progress."""

    def __init__(self) -> None:
        self.logloss, self.auc, self.epoch = math.inf, 0.0, 0

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compares an epoch with the best so far."""
        found = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if found["val/logloss"] < self.logloss:
            self.logloss, self.auc = found["val/logloss"], found["val/auc"]
            self.epoch = trainer.current_epoch + 1
        trainer.should_stop = trainer.current_epoch + 1 - self.epoch >= PATIENCE


def trained(model: str, setting: Setting, seed: int, options: Any, folder: Path) -> Best:
    """The best epoch of a fit."""
    pl.seed_everything(seed, verbose=False)
    data = SyntheticCriteo(
        path=str(folder / "train.txt"),
        synthetic=PlantedClicks(rows=options.rows, seed=options.data_seed),
        min_count=100,
        scaling="log",
        batch_size=SMALL * setting.times,
        shuffle_seed=seed,
        prepared=str(folder / "prepared"),
    )
    data.prepare_data()
    network = getattr(zoo, model)(
        data.schema,
        optimizer=setting.optimizer,
        learning_rate=setting.rate,
        warmup_steps=setting.warm_up(data.size("train").rows),
        train_metrics=False,
        hidden_units=options.deep,
    )
    best = Best()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=options.epochs,
        callbacks=[best],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )
    trainer.fit(network, data)
    return best


def mean(values: list[float]) -> tuple[float, float]:
    """Mean and standard error; of one value, NaN."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return statistics.mean(values), error


def report(model: str, found: dict[Setting, list[Best]]) -> None:
    """Prints what there is of a model."""
    columns = ("batch", "rate", "epochs", "val/logloss", "to the small batch", "reached", "val/auc")
    table = make_table(model, "optimizer, rule", *columns)
    for setting, fits in found.items():
        logloss, error = mean([fit.logloss for fit in fits])
        small, its_error = mean([fit.logloss for fit in found[Setting(setting.optimizer)]])
        wide = math.hypot(error, its_error)
        large = setting.times > 1
        table.add_row(
            f"{setting.optimizer}{setting.rule and ', '}{setting.rule}",
            f"{SMALL * setting.times:,}",
            f"{setting.rate:.4g}",
            f"{statistics.mean(fit.epoch for fit in fits):.1f}",
            f"{logloss:.4f} ± {error:.4f}",
            f"{logloss - small:+.4f} ± {wide:.4f}" if large else "",
            ("yes" if logloss - small <= wide else "no") if large else "",
            "{:.4f} ± {:.4f}".format(*mean([fit.auc for fit in fits])),
        )
    console.print(table)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["DeepFM"])
    parser.add_argument("--optimizers", nargs="+", choices=RATES, default=[*RATES])
    parser.add_argument("--rules", nargs="+", choices=RULES, default=[*RULES])
    parser.add_argument(
        "--times", nargs="+", type=int, default=[8], help="batches of so many times 512"
    )
    parser.add_argument("--deep", nargs="+", type=int, default=[128, 64], help="hidden units")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--epochs", type=int, default=12, help="most of a fit")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first_seed", type=int, default=0)
    parser.add_argument("--data_seed", type=int, default=0, help="of the generated rows")
    parser.add_argument("--quick", action="store_true", help="few rows, one seed, two epochs")
    options = parser.parse_args()
    if options.quick:
        options.rows, options.epochs, options.seeds = 60_000, 2, 1
    warnings.filterwarnings("ignore", ".*(does not have many workers|LeafSpec).*")
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(1)
    print_machine("torch", "pytorch-lightning")
    with tempfile.TemporaryDirectory() as folder:
        for model in options.models:
            found: dict[Setting, list[Best]] = {}
            for optimizer in options.optimizers:
                large = [Setting(optimizer, k, r) for k in options.times for r in options.rules]
                for setting in (Setting(optimizer), *large):
                    found[setting] = [
                        trained(model, setting, seed, options, Path(folder))
                        for seed in range(options.first_seed, options.first_seed + options.seeds)
                    ]
            report(model, found)


if __name__ == "__main__":
    main()
