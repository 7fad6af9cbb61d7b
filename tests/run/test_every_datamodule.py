"""Every datamodule with every command: it works, or one sentence says what is missing."""

import json

import pytest
from support.explaining import small_surrogates
from support.running import QUIET, command, error_of
from support.tables import table, write

import datamodules

COMMANDS = (
    "prepare",
    "fit",
    "validate",
    "test",
    "predict",
    "detect",
    "explain",
    "gains",
    "inspect",
)
ROWS = ["--model=zoo.WideDeep", "--model.embedding_dim=4", "--model.hidden_units=[8]"]
SESSIONS = ["--model=zoo.MeanSkip"]
NOT_OFFERED = {
    ("GaussianClusters", "predict"): "error: GaussianClusters has no rows to predict: define its "
    "predict_dataloader",
    ("SkipSessions", "detect"): "error: detect explains models of rows, not of sessions",
    ("SyntheticSkipSessions", "detect"): "error: detect explains models of rows, not of sessions",
} | {
    (name, "gains"): f"error: {name} makes no cross fields, whose gains could be measured: "
    "datamodules.Table does"
    for name in datamodules.__all__
    if name not in ("Avazu", "Criteo", "SyntheticCriteo", "Table")
}


@pytest.fixture(scope="module")
def places(tmp_path_factory, criteo_file, avazu_file, planted_ratings, planted_sessions):
    """Of each datamodule its options, and a raw file to score."""
    made = tmp_path_factory.mktemp("generated")
    logs, tracks = (
        planted_sessions / "session_logs/training_set",
        planted_sessions / "track_features",
    )
    sessions = made / "sessions"
    pairs = made / "pairs.csv"
    pairs.write_text("user,movie\n1,1\n2,2\n")
    rows = table()
    rows["tags"] = [["new", "sale", "old"][: i % 4] for i in range(len(rows))]
    rows["seen"] = [[item] * (i % 3) for i, item in enumerate(rows.item)]
    clicks = write(rows, made / "clicks.parquet")
    scored = write(rows.drop(columns=["click", "rating"]), made / "scored.jsonl")
    fields = (
        "[{name: price, kind: numerical, transform: log}, {name: item, kind: categorical}, "
        "{name: tags, kind: multi}, {name: seen, kind: sequence, vocabulary: item}]"
    )
    return {
        "Avazu": ([f"path={avazu_file}"], avazu_file),
        "Criteo": ([f"path={criteo_file}"], criteo_file),
        "GaussianClusters": (["rows=200"], None),
        "MovieLens": ([f"path={planted_ratings}"], pairs),
        "SkipSessions": ([f"path={logs}", f"tracks={tracks}"], logs),
        "SyntheticCriteo": ([f"path={made}/train.txt", "synthetic.rows=2000"], criteo_file),
        "SyntheticMovieLens": (
            [f"path={made}/ml.zip", "synthetic.users=200", "synthetic.items=220"],
            pairs,
        ),
        "SyntheticSkipSessions": (
            [
                f"path={sessions}/session_logs/training_set",
                f"tracks={sessions}/track_features",
                "synthetic.sessions=200",
                "synthetic.tracks=200",
            ],
            logs,
        ),
        "Table": ([f"path={clicks}", "label=click", "time=ts", f"fields={fields}"], scored),
    }


@pytest.fixture(scope="module")
def workplace_of(tmp_path_factory, places):
    """Makes of a datamodule, once: its folder, its options, and the run of a short fit."""
    made = {}

    def make(name):
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            model = SESSIONS if "Sessions" in name else ROWS
            data = [f"--data=datamodules.{name}", *(f"--data.{o}" for o in places[name][0])]
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(folder)
                trainer = ["--trainer.max_epochs=1", "--trainer.accelerator=cpu", "--name=t"]
                command("fit", *model, *data, *trainer, *QUIET)
            made[name] = folder, folder / "runs/t/version_0"
        return made[name]

    return make


def test_every_datamodule_is_tried(places):
    assert sorted(places) == sorted(datamodules.__all__)


@pytest.mark.parametrize("name", datamodules.__all__)
@pytest.mark.parametrize("subcommand", COMMANDS)
def test_a_datamodule_serves_a_command(name, subcommand, workplace_of, places, monkeypatch, capsys):
    folder, run = workplace_of(name)
    monkeypatch.chdir(folder)
    checkpoint, raw = run / "checkpoints/best.ckpt", places[name][1]
    line = [subcommand, "--config", run / "config.yaml", "--ckpt_path", checkpoint, *QUIET]
    if subcommand == "inspect":
        line = ["inspect", checkpoint, "--config", run / "config.yaml", "--sample=50", "--json"]
    elif subcommand == "prepare":
        line = line[:3]
    elif subcommand == "detect":
        line += ["--instances=1", "--permutations=0", "--output=found.json"]
    elif subcommand == "explain":
        line += ["--row=1", "--output=row.json"]
    elif subcommand == "gains":
        (folder / "none.json").write_text('{"format": 1, "interactions": []}')
        line += ["--interactions=none.json", "--output=gains.json"]
    elif subcommand == "fit":  # goes on for an epoch
        line += ["--trainer.max_epochs=2"]
    elif subcommand == "predict" and raw:
        line += [f"--data.predict_path={raw}"]
    if (name, subcommand) in NOT_OFFERED:
        assert error_of(*line) == NOT_OFFERED[name, subcommand]
        return
    capsys.readouterr()
    with small_surrogates():
        command(*line)
    out = capsys.readouterr().out
    match subcommand:
        case "prepare":
            assert "train" in out
            assert "malformed rows left out" in out
        case "fit":
            assert json.loads((run / "metrics.json").read_text())["test/logloss"] > 0
            assert "best checkpoint" in out
        case "validate" | "test":
            assert {"validate": "val/logloss", "test": "test/logloss"}[subcommand] in out
        case "predict":
            assert "rows scored" in out
            assert (run / "predictions" / f"{raw.stem}.parquet").is_file()
        case "detect":
            assert json.loads((folder / "found.json").read_text())["instances"] == 1
        case "explain":
            for row in json.loads((folder / "row.json").read_text())["rows"]:
                parts = [*row["fields"], *row["interactions"], row["intercept"]]
                found = sum(part["contribution"] for part in [*parts, row["weaker"]]) + row["rest"]
                assert found == pytest.approx(row["logit"], abs=1e-5)
        case "gains":
            assert json.loads((folder / "gains.json").read_text())["gains"]["logloss"] > 0
        case "inspect":
            assert json.loads(out)["scores"]["overall"]["rows"] > 0
