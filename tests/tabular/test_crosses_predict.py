"""Cross fields: prediction and the run directory."""

import json
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from support.crossing import AVAZU, CRITEO, SHARE, folders, opened
from support.preparation import ready
from support.running import QUIET, ROOT, SMALL, command

from datamodules import Avazu, Criteo
from datamodules.prepared.folder import SPLITS
from datamodules.tabular.crosses import Cross
from datamodules.tabular.vocabularies import load_vocabulary
from zoo import DeepFM
from zoo.data.errors import ZooError

DATASETS = {"criteo": partial(Criteo, scaling="log"), "avazu": Avazu}  # as the configs


def configured(subcommand, path, interactions, dataset="criteo"):
    config = ROOT / f"configs/{dataset}/deepfm.yaml"
    crosses = ["--data.crosses", interactions, "--data.top_k=2", "--data.cross_min_share=0.002"]
    return [subcommand, "--config", config, "--data.path", path, *crosses, *SMALL]


def fit(*args):
    command(*configured("fit", *args), *QUIET, "--name=t", "--trainer.max_epochs=1")
    return sorted(Path("runs/t").iterdir())[-1]


def scored_test_split(make, path, run):
    """Numbers of the test rows, and the probabilities that the best checkpoint gives them."""
    data = make(str(path), crosses="interactions.json", top_k=2, cross_min_share=0.002)
    data.prepare_data()
    data.setup("test")
    model = DeepFM.load_from_checkpoint(run / "checkpoints/best.ckpt", weights_only=True).eval()
    with torch.no_grad():
        logits = torch.cat([model(batch) for batch in data.test_dataloader()])
    return data._arrays["test"].row, logits.sigmoid().numpy()


@pytest.fixture(scope="module")
def fitted_run(criteo_file, tmp_path_factory):
    """The run directory of a fit with crosses, in the folder where it was started."""
    folder = tmp_path_factory.mktemp("fit")
    interactions = [{"fields": fields} for fields in CRITEO]
    file = folder / "interactions.json"
    file.write_text(json.dumps({"format": 1, "interactions": interactions}))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return folder / fit(criteo_file, file)


def test_a_model_trains_on_crosses(fitted_run):
    model = DeepFM.load_from_checkpoint(fitted_run / "checkpoints/best.ckpt", weights_only=True)
    assert [field.name for field in model.schema.fields[-2:]] == ["C6 x C14", "I2 x C17"]
    assert json.loads((fitted_run / "metrics.json").read_text())["test/auc"] > 0.5
    config = yaml.safe_load((fitted_run / "config.yaml").read_text())["data"]["init_args"]
    assert (config["top_k"], config["cross_bins"]) == (2, None)  # 100, where the file does not say


@pytest.mark.parametrize("dataset", ["criteo", "avazu"])
def test_a_run_alone_scores_as_its_data(workplace, dataset, request, crosses_file):
    """Neither the raw file, nor the prepared data, nor the interactions are left."""
    rows = request.getfixturevalue(f"{dataset}_file")
    path = Path(shutil.copy(rows, workplace / "train.txt"))
    run = fit(path, crosses_file(CRITEO if dataset == "criteo" else AVAZU), dataset)
    row, expected = scored_test_split(DATASETS[dataset], path, run)
    path.unlink()
    shutil.rmtree("prepared")
    Path("interactions.json").unlink()
    checkpoint = run / "checkpoints/best.ckpt"
    given = ["--ckpt_path", checkpoint, "--data.predict_path", rows]
    command("predict", "--config", run / "config.yaml", *given)
    found = pq.read_table(run / f"predictions/{rows.stem}.parquet").to_pandas()
    np.testing.assert_allclose(found.probability[row], expected, atol=1e-6)


def test_the_encoder_of_a_run_gives_the_same_ids(shared_crossed, criteo, criteo_file, tmp_path):
    splits, schema = opened(shared_crossed), shared_crossed.schema
    shared_crossed.save_encoder(tmp_path / "encoder")
    alone = criteo(
        tmp_path / "gone.txt",
        encoder=str(tmp_path / "encoder"),
        predict_path=str(criteo_file),
        crosses=str(tmp_path / "interactions.json"),
    )
    alone.setup("predict")
    arrays = alone._arrays["predict"]
    for split in SPLITS:
        for i, ids in enumerate(splits[split].crosses):
            np.testing.assert_array_equal(arrays.crosses[i][splits[split].row], ids)
    assert alone.schema == schema


def test_splits_of_other_rows_get_the_ids_of_the_run(shared_crossed, criteo, criteo_file, tmp_path):
    """As `predict` encodes them; the file of the interactions is not needed."""
    shared_crossed.save_encoder(tmp_path / "encoder")
    lines = criteo_file.read_text().splitlines()
    other = tmp_path / "other.txt"
    other.write_text("\n".join([*lines[15000:], lines[0].replace("\t", "\tnever", 20)]) + "\n")
    given = {"encoder": str(tmp_path / "encoder"), "max_bad_rows": 0.01}
    data = criteo(other, crosses=str(tmp_path / "gone.json"), **given)
    splits = opened(data)
    alone = criteo("gone.txt", predict_path=str(other), **given)
    alone.setup("predict")
    expected = alone._arrays["predict"]
    for split in SPLITS:
        mine = splits[split]
        rows = np.searchsorted(expected.row, mine.row)
        for array in ("categorical", "numerical", "label", "row"):
            found = getattr(mine, array)
            np.testing.assert_array_equal(found, getattr(expected, array)[rows])
        for cross, ids in zip(mine.crosses, expected.crosses, strict=True):
            np.testing.assert_array_equal(cross, ids[rows])
    assert data.schema == shared_crossed.schema
    encoders = {k: v for k, v in shared_crossed.checksums().items() if k.startswith("encoder")}
    assert len(encoders) == 1 + len(CRITEO)
    assert encoders.items() <= data.checksums().items()


def test_the_same_rows_and_crosses_are_not_prepared_again(shared_crossed, tmp_path, made_crosses):
    shared_crossed.save_encoder(tmp_path / "encoder")
    made = {"crosses": str(shared_crossed.crossing.path), "cross_min_share": SHARE}
    place = {"prepared": str(shared_crossed.prepared), "encoder": str(tmp_path / "encoder")}
    again = ready(Criteo(str(shared_crossed.path), **made, **place))
    assert again.folders == shared_crossed.folders
    assert made_crosses() == []


def test_a_fit_is_repeated_from_its_run(fitted_run, monkeypatch):
    monkeypatch.chdir(fitted_run.parents[2])
    command("fit", "--config", fitted_run / "config.yaml")
    runs = (fitted_run, fitted_run.with_name("version_1"))
    one, other = (torch.load(run / "checkpoints/last.ckpt")["state_dict"] for run in runs)
    torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_prepare_prints_the_crosses(workplace, criteo_file, crosses_file, capsys):
    config = ROOT / "configs/criteo/deepfm.yaml"
    given = ["--data.path", criteo_file, "--data.crosses", crosses_file([["C14", "C6"]])]
    command("prepare", "--config", config, *given, "--data.cross_min_share=0.01")
    line = next(line for line in capsys.readouterr().out.splitlines() if "C6 x C14" in line)
    ids = opened(Criteo(str(criteo_file), crosses="interactions.json", cross_min_share=0.01))
    assert line.split()[-2:] == [str(1 + ids["train"].crosses[0].max()), "│"]


@pytest.fixture(scope="module")
def fitted(criteo_file, tmp_path_factory):
    """The folder of a fitted cross, which a test must not change."""
    folder = tmp_path_factory.mktemp("cross")
    file = folder / "interactions.json"
    file.write_text(json.dumps({"format": 1, "interactions": [{"fields": ["C17", "I2"]}]}))
    made = {"crosses": str(file), "cross_min_share": SHARE, "prepared": str(folder / "prepared")}
    ready(Criteo(str(criteo_file), **made))
    (cross,) = folders(folder)
    return cross / "encoder"


@pytest.fixture
def encoder(fitted, tmp_path):
    """A copy of the folder of a fitted cross."""
    return shutil.copytree(fitted, tmp_path / "encoder")


def test_a_cross_is_read_as_it_was_saved(encoder, engine):
    cross = Cross.load(encoder)
    load_vocabulary(engine, encoder, "m0, m1, id")
    assert cross.members == ("I2", "C17")
    assert engine.run("SELECT count(*) + 2 FROM vocabulary") == [(cross.cardinality,)]


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"format": 1}', b'{"format": 9}'])
def test_a_damaged_description_of_a_cross(encoder, content):
    (encoder / "cross.json").write_bytes(content)
    with pytest.raises(ZooError, match=r"cross.json (is damaged|has format 9)"):
        Cross.load(encoder)


def test_a_cross_without_its_vocabulary(encoder):
    (encoder / "vocabulary.parquet").unlink()
    with pytest.raises(ZooError, match=r"cross.json or vocabulary.parquet is missing"):
        Cross.load(encoder)
