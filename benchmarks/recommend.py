"""How long the best items of all users take: `python benchmarks/recommend.py --config CONFIG`.

Of an untrained model of a config of MovieLens, which takes as long as a trained one. The ratings
are those of `--path`, or generated ones of as many users and movies as ML-1M.
"""

import argparse
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytorch_lightning as pl
import torch
import yaml
from common import PROJECT, console, print_machine
from measured import Memory, anonymous

import zoo
from datamodules import MovieLens
from datamodules.synthetic.ratings import PlantedRatings
from zoo.run.recommendations import RecommendationWriter

USERS, MOVIES = 6040, 3706  # of ML-1M


def main() -> None:
    """Prints the pairs that are scored, the time that takes, and the largest memory."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--config", default="deepfm", help="name of a file of configs/movielens")
    parser.add_argument("--path", type=Path, help="ml-1m.zip; without it, generated ratings")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "recommend")
    parser.add_argument("--top", type=int, default=20, help="items of each user")
    parser.add_argument("--users", type=int, default=USERS, help="users of generated ratings")
    parser.add_argument("--devices", type=int, default=1, help="processes")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    path = options.path or options.folder / f"ratings-{options.users}.zip"
    if options.path is None:
        PlantedRatings(users=options.users, items=MOVIES).write_once(path)
    config = yaml.safe_load((PROJECT / f"configs/movielens/{options.config}.yaml").read_text())
    data = MovieLens(str(path), prepared=str(options.folder / "prepared"), recommend=options.top)
    data.prepare_data()
    torch.manual_seed(0)
    model_class = getattr(zoo, config["model"]["class_path"].rpartition(".")[2])
    model = model_class(data.schema, **config["model"].get("init_args", {}))
    output = options.folder / f"{options.config}.parquet"
    trainer = pl.Trainer(
        accelerator="cpu",
        devices=options.devices,
        strategy="ddp" if options.devices > 1 else "auto",
        callbacks=[RecommendationWriter(output)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    begin, worked, before = time.perf_counter(), time.process_time(), anonymous()
    with Memory() as memory:
        trainer.predict(model, data, return_predictions=False)
    seconds, worked = time.perf_counter() - begin, time.process_time() - worked
    if trainer.is_global_zero:
        found = data.recommended
        assert found is not None
        pairs = found.users.num_rows * found.items.num_rows
        print_machine("torch", "pytorch-lightning")
        console.print(
            f"{options.config}, {options.devices} processes of {torch.get_num_threads()} threads: "
            f"{found.users.num_rows:,} users x {found.items.num_rows:,} movies, {pairs:,} pairs in "
            f"{seconds:.1f} s ({worked:.1f} s of a processor), {pairs / seconds:,.0f} pairs/s, "
            f"{memory.anonymous / 1e6:,.0f} MB (before {before / 1e6:,.0f} MB), "
            f"{pq.read_metadata(output).num_rows:,} lines",
            highlight=False,
            soft_wrap=True,
        )


if __name__ == "__main__":
    main()
