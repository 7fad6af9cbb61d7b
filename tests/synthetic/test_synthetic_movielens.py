"""Generated ratings in MovieLens's format."""

import zipfile

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from datamodules.implicit.grouplens import read_movielens
from datamodules.synthetic.ratings import PlantedRatings
from zoo import DeepFM, ZooError


def test_generated_files_are_read_back(planted_ratings):
    files = read_movielens(planted_ratings)
    assert len(files.users) == 300
    assert len(files.movies) == 220
    assert files.ratings.rejected.count == 0
    assert all(genres and year for year, genres in files.movies.values())
    assert np.bincount(files.ratings.user)[1:].min() >= 5
    with zipfile.ZipFile(planted_ratings) as archive:
        assert "Café 1 (" in archive.read("ml-1m/movies.dat").decode("latin-1")


def test_generation_repeats_and_refuses_what_it_did_not_make(tmp_path):
    options = PlantedRatings(users=20, items=30)
    for name in ("a.zip", "b.zip"):
        options.write_once(tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    options.write_once(tmp_path / "a.zip")
    for other in (PlantedRatings(users=20, items=30, seed=1), PlantedRatings(users=21, items=30)):
        with pytest.raises(ZooError, match="exists and was not generated with these"):
            other.write_once(tmp_path / "a.zip")
    (tmp_path / "c.zip").write_text("mine")
    with pytest.raises(ZooError, match="was not generated"):
        options.write_once(tmp_path / "c.zip")
    with pytest.raises(ZooError, match=r"synthetic\.items must be at least 10, got 3"):
        PlantedRatings(items=3)


class WithoutIds:
    """Batches whose users and items are all unknown."""

    def __init__(self, loader):
        self.loader = loader

    def __iter__(self):
        for batch in self.loader:
            batch.categorical[:, [0, 4]] = 0
            yield batch


def test_who_met_what_tells_more_than_content_and_content_more_than_chance(
    movielens, planted_ratings
):
    data = movielens(planted_ratings, eval_negatives=99)
    data.prepare_data()
    data.setup("fit")
    found = []
    for wrap in (WithoutIds, lambda loader: loader):
        torch.manual_seed(0)
        model = DeepFM(
            data.schema,
            hidden_units=[16],
            embedding_std=0.1,
            optimizer="adam",
            learning_rate=0.01,
            train_metrics=False,
        )
        trainer = pl.Trainer(
            max_epochs=4,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(model, wrap(data.train_dataloader()), wrap(data.val_dataloader()))
        (values,) = trainer.test(model, wrap(data.test_dataloader()), verbose=False)
        found.append(values["test/hr@10"])
    assert 0.15 < found[0] < found[1] - 0.05
