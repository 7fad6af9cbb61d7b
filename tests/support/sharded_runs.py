"""Runs whose processes share their tables; started by `test_sharded_runs`, in an empty folder.

- version_0: three epochs of two processes, with a checkpoint after each in `kept`;
- version_1, 2, 3: the same from the first of these on, by three processes, by two, and by one that
  shares nothing;
- runs/warm/version_0: a warm start of two from version_0, in steps of next to nothing;
- scored_1.parquet, scored_2.parquet: predictions of version_0, by one process and by two.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.forked import forked
from support.running import QUIET, SMALL, command

from datamodules.synthetic.clicks import PlantedClicks
from zoo.run import cli  # noqa: F401  (so that forks need not)

ROWS = 48  # of a step, over all processes
KEPT = "--trainer.callbacks=pytorch_lightning.callbacks.ModelCheckpoint"
FIT = [
    *("fit", "--config=criteo/deepfm", "--data.path=train.txt", "--name=t", *SMALL, *QUIET),
    *("--early_stopping.patience=null", "--trainer.precision=64-true", "--trainer.max_epochs=3"),
]
SHARED = "--trainer.strategy=sharded"


def fit(processes, *options):
    forked(
        processes,
        command,
        *FIT,
        f"--trainer.devices={processes}",
        f"--data.batch_size={ROWS // processes}",
        *options,
    )


def main():
    PlantedClicks(rows=1200).write(Path("train.txt"))
    command("prepare", *FIT[1:])
    keep = [KEPT, "--trainer.callbacks.dirpath=kept", "--trainer.callbacks.filename={epoch}"]
    fit(2, SHARED, *keep, "--trainer.callbacks.save_top_k=-1")
    first = "--ckpt_path=kept/epoch=0.ckpt"
    fit(3, SHARED, first)
    fit(2, SHARED, first)
    fit(1, first)
    warm = ["--warm_start=runs/t/version_0", "--name=warm", "--trainer.max_epochs=1"]
    fit(2, SHARED, *warm, "--model.learning_rate=1e-30")
    scored = ["--config=runs/t/version_0/config.yaml", *QUIET]
    for processes in (1, 2):
        output = f"--data.predict_output=scored_{processes}.parquet"
        strategy = SHARED if processes == 2 else "--trainer.strategy=auto"
        forked(
            processes,
            command,
            *("predict", *scored, "--data.predict_path=train.txt", output, strategy),
            f"--trainer.devices={processes}",
        )


if __name__ == "__main__":
    main()
