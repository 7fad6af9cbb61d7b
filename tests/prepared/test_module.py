"""What all datamodules of raw files share: when they are prepared, and what they say of it."""

import pytest
from support.preparation import ready

from datamodules import (
    Avazu,
    Criteo,
    GaussianClusters,
    MovieLens,
    SkipSessions,
    SyntheticCriteo,
    SyntheticMovieLens,
    SyntheticSkipSessions,
)
from datamodules.prepared.module import PreparedDataModule
from datamodules.synthetic.clicks import PlantedClicks
from zoo import ZooError

EVERY_PROPERTY = pytest.mark.parametrize("name", ["schema", "manifest", "manifests"])


@EVERY_PROPERTY
def test_reading_a_property_prepares_nothing(criteo, criteo_file, tmp_path, name):
    data = criteo(criteo_file)
    with pytest.raises(ZooError, match=r"criteo-\w{16} is not prepared yet: call prepare_data\(\)"):
        getattr(data, name)
    assert not (tmp_path / "prepared").exists()


@pytest.mark.parametrize("stage", ["fit", "validate", "test", "predict"])
def test_setting_up_prepares_nothing(criteo, criteo_file, tmp_path, stage):
    with pytest.raises(ZooError, match="is not prepared yet"):
        criteo(criteo_file, predict_path=str(criteo_file)).setup(stage)
    assert not (tmp_path / "prepared").exists()


def test_the_summary_is_what_the_manifest_says(movielens):
    data = ready(movielens())
    summary = data.summary()
    assert summary.place == str(data.folder)
    assert summary.rejected == {"its user has fewer than 3 interactions": 2}
    assert (summary.splits["train"].rows, summary.splits["train"].positives) == (25, 5)
    assert data.positive_rate == 1 / 5


def test_sizes_are_those_of_the_batches(prepared_criteo, criteo_file):
    data = Criteo(str(criteo_file), prepared=str(prepared_criteo[2].parent))
    data.setup("fit")
    for split in ("train", "val", "test"):
        labels = [label for batch in data.batches(split) for label in batch.label.tolist()]
        assert (data.size(split).rows, data.size(split).positives) == (len(labels), sum(labels))


def test_a_method_that_a_dataset_does_not_define_is_named():
    class Mine(PreparedDataModule):
        pass

    for method, arguments in (("source", ()), ("open_splits", ()), ("loader", ("train",))):
        with pytest.raises(ZooError, match=f"Mine has no .*: define its {method}"):
            getattr(Mine(), method)(*arguments)


def test_clusters_have_no_rows_to_predict():
    data = GaussianClusters(rows=100)
    data.setup("predict")
    assert not data.offers("predict")
    with pytest.raises(ZooError, match="GaussianClusters has no rows to predict"):
        data.predict_dataloader()
    assert data.summary().splits["val"].rows == 100


# Generated data

PLACES = {"Criteo": ("a",), "MovieLens": ("a",), "SkipSessions": ("a", "b")}
REAL = {"Criteo": Criteo, "MovieLens": MovieLens, "SkipSessions": SkipSessions}
SYNTHETIC = {
    "Criteo": SyntheticCriteo,
    "MovieLens": SyntheticMovieLens,
    "SkipSessions": SyntheticSkipSessions,
}
EVERY_GENERATED = pytest.mark.parametrize("name", REAL)


@EVERY_GENERATED
def test_the_retired_option_names_the_class_that_takes_it(name):
    message = f"data.synthetic is no option of {name} any more: .*datamodules.Synthetic{name}"
    with pytest.raises(ZooError, match=message):
        REAL[name](*PLACES[name], synthetic={})


@EVERY_GENERATED
def test_the_retired_option_is_harmless_where_nothing_is_generated(name):
    REAL[name](*PLACES[name], synthetic=None)
    REAL[name](*PLACES[name], synthetic={"seed": 1}, encoder="encoder")


@EVERY_GENERATED
def test_generated_data_go_by_the_name_of_the_real_ones(name):
    assert SYNTHETIC[name](*PLACES[name]).dataset == REAL[name](*PLACES[name]).dataset == name


def test_another_dataset_of_the_same_files_has_a_name_of_its_own():
    class Mine(Avazu):
        pass

    assert Mine("a").dataset == "Mine"


def test_generated_and_real_data_share_their_folders(tmp_path):
    path, prepared = str(tmp_path / "rows.txt"), str(tmp_path / "prepared")
    made = ready(SyntheticCriteo(path, PlantedClicks(rows=1000), prepared=prepared))
    real = Criteo(path, prepared=prepared)
    assert real.folder == made.folder
    assert real.schema == made.schema
    assert set(made.ceiling()) == {"auc", "logloss"}
    assert real.ceiling() == {}
