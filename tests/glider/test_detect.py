"""`train.py detect`, from a run directory to interactions.json and back into a model."""

import contextlib
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from support.browsing import plots_of
from support.explaining import small_surrogates
from support.running import QUIET, ROOT, command, error_of

import datamodules
from zoo.data.errors import ZooError
from zoo.glider.detector import Detector
from zoo.glider.shown import is_significant
from zoo.glider.surrogates.detector import MadexDetector, read_results
from zoo.glider.surrogates.madex import DETECTORS
from zoo.glider.walsh.detector import WalshDetector, WalshRows

FULL = dict(DETECTORS)
SMALL_CHUNKS = """
import train
from zoo.glider.detector import Detector

if __name__ == "__main__":
    Detector.chunk = 2
    train.main()
"""


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    """Each test runs in a folder of its own; small chunks let a few instances make several."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Detector, "chunk", 2)


@pytest.fixture(scope="module", autouse=True)
def small_networks():
    """Only what is found is tested with surrogates of full width."""
    with small_surrogates():
        yield


@pytest.fixture(scope="module")
def trained(criteo_file, tmp_path_factory):
    """The run directory of a short fit, read-only."""
    config = ROOT / "configs/criteo/deepfm.yaml"
    small = ["--model.hidden_units=[16]", "--model.embedding_dim=4", "--trainer.accelerator=cpu"]
    given = ["--data.path", criteo_file, "--data.min_count=3", "--name=t", "--trainer.max_epochs=1"]
    with contextlib.chdir(tmp_path_factory.mktemp("trained")):
        command("fit", "--config", config, *given, *small, *QUIET)
        return Path("runs/t/version_0").absolute()


@pytest.fixture(scope="module")
def planted(trained, tmp_path_factory):
    """The same run, but of a model whose only term is C1 x C2, read-only."""
    run = shutil.copytree(trained, tmp_path_factory.mktemp("planted") / "run")
    plant(run)
    return run


@pytest.fixture(scope="module")
def detection(planted):
    """The folder where `detect` ran on the planted model, read-only, and what it printed."""
    folder = planted.parent
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(io.StringIO()) as printed,
        mock.patch.object(Detector, "chunk", 2),
        mock.patch.dict(DETECTORS, FULL),
    ):
        command(*given(planted, *FEW), *QUIET)
    return folder, printed.getvalue()


@pytest.fixture(scope="module")
def of_one_row(planted, tmp_path_factory):
    """The text of the interactions of a single row, from a model in float32."""
    with contextlib.chdir(tmp_path_factory.mktemp("one")):
        command(*given(planted, *ONE), *QUIET)
        return Path("interactions.json").read_text()


@pytest.fixture(scope="module")
def crossed(planted, detection):
    """The run directory of a fit with the cross field that was detected, read-only."""
    folder, _ = detection
    crosses = ["--data.crosses=interactions.json", "--data.top_k=1", "--name=crossed"]
    with contextlib.chdir(folder):
        command("fit", "--config", planted / "config.yaml", *crosses)
    return folder / "runs/crossed/version_0"


@pytest.fixture
def run(trained):
    """The run directory of a short fit, which a test may change."""
    return Path(shutil.copytree(trained, "runs/t/version_0"))


def given(run, *more):
    checkpoint = run / "checkpoints/best.ckpt"
    return ["detect", "--config", run / "config.yaml", "--ckpt_path", checkpoint, *more]


FEW = ["--instances=3", "--permutations=0"]
ONE = ["--instances=1", "--permutations=0"]


def plant(run):
    """Makes the checkpoint's model one of I1 and C1 alone, whose product it is."""
    file = run / "checkpoints/best.ckpt"
    checkpoint = torch.load(file, weights_only=True)
    state = checkpoint["state_dict"]
    for name, value in state.items():
        if name.startswith(("embedding", "head", "deep")):
            value.zero_()
    dim = checkpoint["hyper_parameters"]["embedding_dim"]
    cardinality = {
        f["name"]: f["cardinality"] for f in checkpoint["hyper_parameters"]["schema"]["fields"]
    }
    table = state["embedding.table"]
    # DeepFM's <e_C1, e_C2> is the only term
    table[: cardinality["C1"] + cardinality["C2"], :dim] = 1.0
    torch.save(checkpoint, file)


def test_detect_finds_the_only_interaction_of_a_model(detection):
    folder, printed = detection
    found = json.loads((folder / "interactions.json").read_text())
    assert found["format"] == 1
    assert found["instances"] == 3
    assert found["model"] == "DeepFM"
    first = found["interactions"][0]
    assert (first["fields"], first["count"], first["by"]) == (["C1", "C2"], 3, "walsh")
    assert first["q"] < 0.05
    # embeddings of four ones: C1 x C2 adds 4 where both are on, which is (1 + z)(1 + z')
    assert first["effect"] == pytest.approx(1, abs=1e-4)
    assert first["share"] == pytest.approx(1 / 3, abs=0.05)
    assert first["share_low"] <= first["share"] <= first["share_high"]
    rows = [row["row"] for row in first["strongest"]]
    assert len({*rows}) == 3
    assert found["matrix"][13][14] == pytest.approx(first["share"], rel=1e-5)
    assert found["mains"][13]["effect"] == pytest.approx(1, abs=1e-4)
    assert "C1 x C2" in printed
    page = (folder / "interactions.html").read_text()
    assert "interactions in " in page
    assert len(plots_of(page)) >= 3
    assert not list(folder.glob(".interactions*"))


def test_what_counts_as_an_interaction_is_an_option(planted):
    """A row's interaction explains a part of the variance: more than 0.001, less than 0.99."""
    surrogates = ("--detector=nid", "--patience=3", "--prune_subsets=true", "--region_points=2")
    for options in ((), surrogates):
        command(*given(planted, *FEW, *options, "--min_gain=0.99"), *QUIET)
        assert json.loads(Path("interactions.json").read_text())["interactions"] == []


def test_what_is_detected_becomes_a_cross_field(crossed):
    checkpoint = torch.load(crossed / "checkpoints/best.ckpt", weights_only=True)
    fields = checkpoint["hyper_parameters"]["schema"]["fields"]
    assert fields[-1]["name"] == "C1 x C2"
    assert fields[-1]["group"] == "cross"


@pytest.mark.parametrize("kind", [WalshDetector, MadexDetector])
def test_an_interrupted_detection_goes_on_where_it_stopped(kind, planted):
    original = kind.write
    asked = []

    def once(self, file, indices):
        if asked:
            raise KeyboardInterrupt
        asked.append(list(indices))
        return original(self, file, indices)

    few = [*FEW, "--detector", "walsh" if kind is WalshDetector else "nid"]
    with mock.patch.object(kind, "write", once), pytest.raises(SystemExit):
        command(*given(planted, *few), *QUIET)
    assert not Path("interactions.json").exists()
    assert asked == [[0, 1]]

    def rest(self, file, indices):
        asked.append(list(indices))
        return original(self, file, indices)

    with mock.patch.object(kind, "write", rest):
        command(*given(planted, *few), *QUIET)
    assert asked == [[0, 1], [2]]
    assert json.loads(Path("interactions.json").read_text())["instances"] == 3


def test_pairs_are_also_looked_at_with_all_others_on_and_off(planted, capsys):
    command(*given(planted, *FEW, "--contexts=true"), *QUIET)
    first, *_ = json.loads(Path("interactions.json").read_text())["interactions"]
    assert (first["fields"], first["by"], first["count"]) == (["C1", "C2"], "both", 3)
    # C1 x C2 adds 4 where both are on, whatever the others are: a quarter of it, squared, of 3
    assert first["context_share"] == pytest.approx(1 / 3, abs=0.05)
    assert "both" in capsys.readouterr().out


def test_a_field_that_is_crossed_takes_its_cross_along(crossed):
    crosses = crossed.parents[2] / "interactions.json"
    command(*given(crossed, *ONE, f"--data.crosses={crosses}"), *QUIET)
    found = json.loads(Path("interactions.json").read_text())
    assert found["fields"] == [*(f"I{i}" for i in range(1, 14)), *(f"C{i}" for i in range(1, 27))]


@pytest.mark.parametrize("precision", ["bf16-true", "64-true", "bf16-mixed"])
def test_a_model_of_any_precision_is_explained_in_float32(precision, planted, of_one_row):
    command(*given(planted, *ONE, f"--trainer.precision={precision}"), *QUIET)
    assert Path("interactions.json").read_text() == of_one_row


@pytest.mark.parametrize("other", ["--instances=4", "--seed=1", "--data.path"])
def test_an_unfinished_detection_is_not_mixed_up_with_another(
    other, trained, make_file, criteo_lines
):
    interrupted = mock.patch.object(
        WalshDetector, "write", mock.Mock(side_effect=KeyboardInterrupt)
    )
    with interrupted, pytest.raises(SystemExit):
        command(*given(trained, *FEW), *QUIET)
    if other == "--data.path":
        other = f"--data.path={make_file(criteo_lines)}"  # other rows, of the run's encoder
    message = error_of(*given(trained, *FEW, other), *QUIET)
    assert "unfinished detection of another model, of other data or with other opt" in message


@pytest.mark.parametrize("kind", ["cut", "pickled", "other"])
def test_a_damaged_file_of_an_unfinished_detection_is_named(kind, tmp_path):
    file = tmp_path / "00000000.npz"
    instance = np.array([print], object) if kind == "pickled" else np.ones(3)  # others are missing
    np.savez(file, instance=instance, left_out=np.array([]))
    if kind == "cut":
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ZooError, match=r"00000000\.npz is damaged: remove it"):
        WalshRows.read(tmp_path)


@pytest.mark.parametrize("text", ["[", "3", "[3]", "[{}]", '[{"instance": 0, "found": 1}]'])
def test_a_damaged_file_of_unfinished_networks_is_named(text, tmp_path):
    (tmp_path / "00000000.json").write_text(text)
    with pytest.raises(ZooError, match=r"00000000\.json is damaged: remove it"):
        read_results(tmp_path)


@pytest.mark.parametrize("options", ["[]", "{", '"x"', '{"chunk": "a"}'])
def test_damaged_options_of_an_unfinished_detection_are_refused(options, trained):
    folder = Path(".interactions.json.partial")
    folder.mkdir()
    (folder / "options").write_text(options)
    assert str(folder) in error_of(*given(trained, *FEW), *QUIET)


def test_mistakes_are_reported_in_one_sentence(trained):
    assert "the validation split has" in error_of(*given(trained, "--instances=1000000"), *QUIET)
    assert "instances must be at least 1" in error_of(*given(trained, "--instances=0"), *QUIET)
    leasts = {"permutations": 0, "seed": 0, "top_k": 1, "max_order": 2}
    surrogates = {"patience": 1, "region_points": 0}
    for option, least in (leasts | surrogates).items():
        of = ["--detector=nid"] if option in surrogates else []
        message = error_of(*given(trained, f"--{option}={least - 1}", *of), *QUIET)
        assert f"{option} must be at least {least}, got {least - 1}" in message
    for gain in ("-0.1", "1"):
        message = error_of(*given(trained, f"--min_gain={gain}"), *QUIET)
        assert "min_gain and level must be shares, less than 1" in message
        message = error_of(*given(trained, f"--min_gain={gain}", "--detector=nid"), *QUIET)
        assert "min_gain must be at least 0 and less than 1" in message
    Path("folder").mkdir()
    for output in ("picture.html", "folder", "."):
        message = error_of(*given(trained, f"--output={output}"), *QUIET)
        assert "must name a file such as interactions.json" in message
    message = error_of(*given(trained, *FEW, "--trainer.limit_predict_batches=0.5"), *QUIET)
    assert "2 of 3 rows have been explained" in message
    config = ROOT / "configs/criteo/deepfm.yaml"  # of no run
    assert "detect needs a checkpoint" in error_of("detect", "--config", config)


def test_a_model_with_nan_weights_is_reported(run):
    file = run / "checkpoints/best.ckpt"
    checkpoint = torch.load(file, weights_only=True)
    checkpoint["state_dict"]["bias"].fill_(torch.nan)
    torch.save(checkpoint, file)
    message = error_of(*given(run, *FEW), *QUIET)
    assert message.startswith("error: the model gives NaN or infinite scores around each of the 3")
    assert not Path(".interactions.json.partial").exists()


def test_rows_with_nan_are_left_out_and_counted(run, capsys):
    file = run / "checkpoints/best.ckpt"
    checkpoint = torch.load(file, weights_only=True)
    fields = checkpoint["hyper_parameters"]["schema"]["fields"]
    first = next(f["cardinality"] for f in fields if f["kind"] == "categorical")
    # the last half of the ids of the first field, which a part of the rows has
    checkpoint["state_dict"]["embedding.table"][2 : first // 8].fill_(torch.nan)
    torch.save(checkpoint, file)
    command(*given(run, "--instances=8", "--permutations=0"), *QUIET)
    found = json.loads(Path("interactions.json").read_text())
    assert 0 < found["left_out"] < 8
    assert found["instances"] == 8 - found["left_out"]
    assert f"{found['left_out']} rows left out: NaN or infinite scores" in capsys.readouterr().out


def test_off_is_the_mean_of_the_training_rows(criteo_file):
    data = datamodules.Criteo(str(criteo_file))
    data.prepare_data()
    data.setup("validate")
    expected = np.asarray(data._arrays["train"].numerical, np.float64).mean(0)
    np.testing.assert_allclose(data.numerical_means(), expected, rtol=1e-6)


def test_a_model_of_main_effects_has_no_significant_interaction(run):
    file = run / "checkpoints/best.ckpt"
    checkpoint = torch.load(file, weights_only=True)
    state = checkpoint["state_dict"]
    dim = checkpoint["hyper_parameters"]["embedding_dim"]
    for name, value in state.items():
        if name.startswith(("head", "deep")):
            value.zero_()
    state["embedding.table"][:, :dim] = 0
    state["embedding.table"][:, dim:] = torch.randn(len(state["embedding.table"]), 1)
    torch.save(checkpoint, file)
    for detector in ("walsh", "nid"):
        command(*given(run, "--instances=6", "--permutations=1", f"--detector={detector}"), *QUIET)
        found = json.loads(Path("interactions.json").read_text())
        assert found["fidelity"]["linear"] == pytest.approx(1, abs=1e-4)
        assert not any(is_significant(row) for row in found["interactions"])


@pytest.mark.slow
def test_two_processes_share_the_instances(planted):
    many = ["--instances=5", "--permutations=0"]  # three chunks
    Path("main.py").write_text(SMALL_CHUNKS)
    command(*given(planted, *many, "--output=one.json"), *QUIET)
    arguments = given(planted, *many, "--output=two.json", "--trainer.devices=2")
    arguments += ["--trainer.strategy=ddp", "--trainer.accelerator=cpu", *QUIET]
    subprocess.run([sys.executable, "main.py", *map(str, arguments)], check=True)
    one, two = (json.loads(Path(f"{name}.json").read_text()) for name in ("one", "two"))
    assert one["instances"] == two["instances"] == 5
    first = [(row["fields"], row["count"]) for row in one["interactions"][:1]]
    assert first == [(row["fields"], row["count"]) for row in two["interactions"][:1]]
    assert first == [(["C1", "C2"], 5)]
