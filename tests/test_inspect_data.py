"""`inspect` of every exported model on every kind of data that it runs on."""

import json
from unittest import mock

import pytest
import torch
import yaml
from sklearn.metrics import log_loss, roc_auc_score
from small_checkpoints import MODELS, saved, small

import train
from datamodules.synthetic import PlantedClicks
from datamodules.synthetic_movielens import PlantedRatings
from datamodules.synthetic_sessions import PlantedSessions
from zoo.experts.module import MixtureModule
from zoo.inspect.data import data_of
from zoo.sessions import SessionModule, SkipBaseline

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
        "MovieLens": {"path": str(root / "ml.zip")},
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
    if name == "xDeepFM":
        more["embed_numerical"] = not schema.categorical  # it needs some fields to be embedded
    return small(name, schema, **more)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_every_model_is_inspected_on_its_data(name, kind, configs, tmp_path, capsys):
    data = data_of(configs[kind])
    data.prepare_data()
    data.setup("validate")
    model = model_of(name, data.schema)
    path, page = saved(model, tmp_path / "model.ckpt"), tmp_path / "report.html"
    capsys.readouterr()
    arguments = [path, "--config", configs[kind], "--json", "--html", page]
    with mock.patch("sys.argv", ["train.py", "inspect", *map(str, arguments)]):
        train.main()
    found = json.loads(capsys.readouterr().out)
    assert found["architecture"]["model"] == name
    assert found["parameters"] == sum(p.numel() for p in model.parameters())

    batches = list(data.val_dataloader())
    with torch.no_grad():
        parts = [(model.eval()(batch)[model.known(batch)], batch) for batch in batches]
    logits = torch.cat([logits for logits, _ in parts]).double()
    y = torch.cat([batch.label[model.known(batch)] for _, batch in parts]).numpy()
    overall = found["scores"]["overall"]
    assert overall["rows"] == len(y) > 100
    assert overall["auc"] == pytest.approx(roc_auc_score(y, logits), abs=1e-6)
    assert overall["logloss"] == pytest.approx(log_loss(y, logits.sigmoid()), abs=1e-6)
    assert list(found["scores"]["slices"]) == [field.name for field in data.schema.categorical]
    layers = found["scores"]["layers"]
    recurrent = name == "InterpretableGRU"
    assert bool(layers) != (recurrent or issubclass(MODELS[name], SkipBaseline))

    text = page.read_text()
    for title in ("architecture", "parameters", "schema", "quality", "calibration"):
        assert f">{title}</h2>" in text
    assert (">by value</h2>" in text) == bool(data.schema.categorical)
    assert (">attribution</h2>" in text) == issubclass(MODELS[name], MixtureModule)
    assert page.stat().st_size < 6e6
