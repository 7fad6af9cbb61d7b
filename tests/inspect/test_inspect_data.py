"""`inspect` of every exported model on every kind of data that it runs on."""

import json
from unittest import mock

import numpy as np
import pytest
import torch
import yaml
from sklearn.metrics import log_loss, roc_auc_score
from support.small_checkpoints import MODELS, saved, small

import train
from datamodules.synthetic.clicks import PlantedClicks
from datamodules.synthetic.ratings import PlantedRatings
from datamodules.synthetic.sessions import PlantedSessions
from zoo.experts.module import MixtureModule
from zoo.models.baselines import SkipBaseline
from zoo.models.sessions import SessionModule
from zoo.run.inspect import data_of

pytestmark = pytest.mark.filterwarnings("ignore:.*contains no parameters")
ROW_DATA = ("Criteo", "Avazu", "MovieLens", "GaussianClusters")
CASES = [
    (name, kind)
    for name, model in MODELS.items()
    for kind in (("SkipSessions",) if issubclass(model, SessionModule) else ROW_DATA)
]


@pytest.fixture(scope="module")
def configs(tmp_path_factory, avazu_file):
    """A config of each datamodule, with a few generated rows."""
    root = tmp_path_factory.mktemp("kinds")
    PlantedClicks(rows=2000).write(root / "train.txt")
    PlantedRatings(users=60, items=300).write(root / "ml.zip")
    PlantedSessions(sessions=150, tracks=100).write(root / "sessions")
    logs, tracks = root / "sessions/session_logs/training_set", root / "sessions/track_features"
    options = {
        "Criteo": {"path": str(root / "train.txt")},
        "Avazu": {"path": str(avazu_file)},
        "MovieLens": {"path": str(root / "ml.zip"), "eval_negatives": 19},
        "GaussianClusters": {"rows": 300},
        "SkipSessions": {"path": str(logs), "tracks": str(tracks)},
    }
    made = {}
    for kind, mine in options.items():
        prepared = {} if kind == "GaussianClusters" else {"prepared": str(root / kind)}
        made[kind] = root / f"{kind}.yaml"
        data = {"class_path": f"datamodules.{kind}", "init_args": mine | prepared}
        made[kind].write_text(yaml.safe_dump({"data": data}))
    return made


def model_of(name, schema):
    """A small model that is surer of its answers than one that was just made."""
    more = {"subsets": {"one": [schema.fields[0].name], "all": ["*"]}}
    more = more if issubclass(MODELS[name], MixtureModule) else {}
    if not issubclass(MODELS[name], SessionModule):
        more["embedding_std"] = 0.1
    if name == "InterpretableTransformer":
        more |= {"blocks": 1, "feed_forward": 16}
    if name == "xDeepFM":
        more["cin_layers"] = [8, 6]
        more["embed_numerical"] = not schema.categorical  # it needs some fields to be embedded
    if name == "AutoInt":
        more |= {"attention_dim": 8, "attention_layers": 1}
    return small(name, schema, **more)


def inspected(capsys, *arguments):
    """The scores that the command prints as JSON."""
    capsys.readouterr()
    with mock.patch("sys.argv", ["train.py", "inspect", *map(str, arguments), "--json"]):
        train.main()
    return json.loads(capsys.readouterr().out)["scores"]


def refusal(capsys, *arguments):
    """What the command says when it refuses."""
    capsys.readouterr()
    argv = ["train.py", "inspect", *map(str, arguments)]
    with mock.patch("sys.argv", argv), pytest.raises(SystemExit) as stopped:
        train.main()
    said = stopped.value.code
    return said if isinstance(said, str) else capsys.readouterr().err


@pytest.fixture
def run(configs, tmp_path):
    """A run directory with a model of the generated Criteo rows."""
    data = data_of(configs["Criteo"])
    data.prepare_data()
    checkpoints = tmp_path / "run/checkpoints"
    checkpoints.mkdir(parents=True)
    saved(model_of("DeepFM", data.schema), checkpoints / "best.ckpt")
    data.save_encoder(tmp_path / "run/encoder")
    return tmp_path / "run"


def test_options_of_the_data_come_before_those_of_the_config(run, configs, tmp_path, capsys):
    checkpoint, config = run / "checkpoints/best.ckpt", configs["Criteo"]
    by_config = inspected(capsys, checkpoint, "--config", config, "--sample=0")
    options = yaml.safe_load(config.read_text())["data"]["init_args"]
    given = [f"--data.{name}={value}" for name, value in options.items()]
    named = ["--data=datamodules.Criteo", "--sample=0"]
    assert inspected(capsys, checkpoint, *named, *given) == by_config
    for section in ("", ", init_args: {path: nowhere.txt}"):
        (tmp_path / "part.yaml").write_text(f"data: {{class_path: datamodules.Criteo{section}}}")
        part = ["--config", tmp_path / "part.yaml", "--sample=0"]
        assert inspected(capsys, checkpoint, *part, *given) == by_config


def test_labelled_rows_of_another_file_are_scored_as_the_run_encoded_its_own(
    run, configs, tmp_path, capsys
):
    PlantedClicks(rows=500, seed=1).write(tmp_path / "new.txt")
    checkpoint, config = run / "checkpoints/best.ckpt", configs["Criteo"]
    new = ["--config", config, f"--data.predict_path={tmp_path / 'new.txt'}", "--split=predict"]
    found = inspected(capsys, checkpoint, *new)

    section = yaml.safe_load(config.read_text())["data"]
    section["init_args"] |= {
        "predict_path": str(tmp_path / "new.txt"),
        "encoder": str(run / "encoder"),
    }
    (tmp_path / "new.yaml").write_text(yaml.safe_dump({"data": section}))
    data = data_of(tmp_path / "new.yaml")
    data.setup("predict")
    model = MODELS["DeepFM"].load_from_checkpoint(checkpoint, weights_only=True).eval()
    batches = list(data.predict_dataloader())
    with torch.no_grad():
        logits = torch.cat([model(batch) for batch in batches]).double()
    y = torch.cat([batch.label for batch in batches]).numpy()
    assert found["split"] == "predict"
    assert found["overall"]["rows"] == len(y) == 500
    assert found["overall"]["auc"] == pytest.approx(roc_auc_score(y, logits), abs=1e-6)
    assert found["overall"]["logloss"] == pytest.approx(log_loss(y, logits.sigmoid()), abs=1e-6)

    lines = (tmp_path / "new.txt").read_text().splitlines()
    (tmp_path / "unlabelled.txt").write_text("\n".join(x.split("\t", 1)[1] for x in lines) + "\n")
    unlabelled = [*new[:2], f"--data.predict_path={tmp_path / 'unlabelled.txt'}", new[3]]
    assert "the split holds no labelled rows" in refusal(capsys, checkpoint, *unlabelled)
    # as a source of splits, it gets the ids of the run too: a tenth of the same rows
    as_source = [*new[:2], f"--data.path={tmp_path / 'new.txt'}", "--data.split_ratio=[1, 1, 1]"]
    prepared = f"--data.prepared={tmp_path / 'prepared'}"
    split = inspected(capsys, checkpoint, *as_source, prepared, "--split=val")["overall"]
    rows = torch.from_numpy(np.load(next(tmp_path.glob("prepared/*/val/row.npy"))))
    auc = roc_auc_score(y[rows], logits[rows])
    assert split["rows"] == len(rows)
    assert split["auc"] == pytest.approx(auc, abs=1e-6)


def test_a_file_is_scored_only_where_that_is_asked_for(run, configs, tmp_path, capsys):
    given = [run / "checkpoints/best.ckpt", "--config", configs["Criteo"]]
    assert "give --data.predict_path FILE" in refusal(capsys, *given, "--split=predict")
    message = refusal(capsys, *given, f"--data.predict_path={tmp_path / 'none.txt'}")
    assert "is scored with --split predict" in message


def test_values_have_names_where_the_file_lies_alone(run, configs, tmp_path, capsys):
    (tmp_path / "alone/deep").mkdir(parents=True)
    alone = tmp_path / "alone/deep/best.ckpt"
    alone.write_bytes((run / "checkpoints/best.ckpt").read_bytes())
    options = ["--config", configs["Criteo"], "--by=C20", "--sample=0"]
    found = inspected(capsys, alone, *options)
    assert not any(part["name"].startswith("id ") for part in found["slices"]["C20"])


def test_predictions_that_are_no_numbers_are_reported(run, configs, capsys):
    checkpoint = run / "checkpoints/best.ckpt"
    content = torch.load(checkpoint, weights_only=True)
    content["state_dict"]["bias"].fill_(torch.nan)
    torch.save(content, checkpoint)
    found = inspected(capsys, checkpoint, "--config", configs["Criteo"], "--sample=0")
    rows = found["overall"]["rows"]
    assert f"{rows:,} of {rows:,} predictions are NaN or infinite" in found["warnings"]
    assert found["overall"]["auc"] is None


@pytest.mark.parametrize(
    ("section", "arguments", "said"),
    [
        ("{class_path: datamodules.Criteo}", ["--data.pathh=x"], "did you mean data.path?"),
        ("{class_path: datamodules.Criteo}", [], "arguments are required: path"),
        ("{class_path: datamodules.Crite}", ["--data.path=x"], "no attribute 'Crite'"),
        ("{class_path: nowhere.Criteo}", ["--data.path=x"], "data names nowhere.Criteo, which is"),
    ],
)
def test_data_that_cannot_be_made(section, arguments, said, run, tmp_path, capsys):
    (tmp_path / "data.yaml").write_text(f"data: {section}")
    wanted = ["--config", tmp_path / "data.yaml", *arguments]
    assert said in refusal(capsys, run / "checkpoints/best.ckpt", *wanted)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_every_model_is_inspected_on_its_data(name, kind, configs, tmp_path, capsys):
    data = data_of(configs[kind])
    data.prepare_data()
    data.setup("validate")
    model = model_of(name, data.schema)
    path, page = saved(model, tmp_path / "model.ckpt"), tmp_path / "report.html"
    capsys.readouterr()
    arguments = [path, "--config", configs[kind], "--sample=100", "--json", "--html", page]
    with mock.patch("sys.argv", ["train.py", "inspect", *map(str, arguments)]):
        train.main()
    found = json.loads(capsys.readouterr().out)
    assert found["architecture"]["model"] == name
    assert found["parameters"] == sum(p.numel() for p in model.parameters())

    batches = list(data.val_dataloader())
    with torch.no_grad():
        parts = [(model.eval()(batch)[batch.labelled], batch) for batch in batches]
    logits = torch.cat([logits for logits, _ in parts]).double()
    y = torch.cat([batch.label[batch.labelled] for _, batch in parts]).numpy()
    overall = found["scores"]["overall"]
    assert overall["rows"] == len(y) > 100
    assert overall["auc"] == pytest.approx(roc_auc_score(y, logits), abs=1e-6)
    assert overall["logloss"] == pytest.approx(log_loss(y, logits.sigmoid()), abs=1e-6)
    assert list(found["scores"]["slices"]) == [field.name for field in data.schema.categorical]
    layers = found["scores"]["layers"]
    without_units = name in ("AdditiveNetwork", "InterpretableGRU")
    assert bool(layers) != (without_units or issubclass(MODELS[name], SkipBaseline))

    text = page.read_text()
    assert ">quality</h2>" in text
    for title in ("architecture", "parameters", "schema", "calibration", "explained rows"):
        assert f">{title}</h3>" in text
    assert (">by value</h3>" in text) == bool(data.schema.categorical)
    assert (">attribution</h3>" in text) == issubclass(MODELS[name], MixtureModule)
    assert page.stat().st_size < 6e6
