"""A fit that begins with the weights of a run, whose ids meant other values."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from support import tables
from support.running import QUIET, command, error_of

import zoo
from datamodules import Table
from datamodules.tabular.declared import TableField
from datamodules.tabular.label import Label
from zoo.data.checksums import save_checksums
from zoo.data.known_ids import known_ids
from zoo.run.warm_start import WarmStart

FIELDS = [
    TableField("price", "numerical", transform="log"),
    TableField("item", "categorical", min_count=2),
    TableField("user", "categorical"),
    TableField("stock", "categorical"),
    TableField("tags", "multi", separator=" "),
    TableField("history", "sequence", separator=" ", vocabulary="user"),
]
SMALL = {"embedding_dim": 3, "learning_rate": 0.05}
ONE_STEP = {"epochs": 1, "limit_train_batches": 1, "limit_val_batches": 0}
MODELS = [
    "AdditiveNetwork",
    "AutoInt",
    "DCN",
    "DeepFM",
    "FiBiNET",
    "InterHAt",
    "InterpretableMLP",
    "WideDeep",
    "xDeepFM",
]


def frame(day):
    """400 rows of a day, on each of which other items and users are frequent."""
    found = tables.table(1000).iloc[300 * day : 300 * day + 400].drop(columns="click")
    new = found["user"].map(lambda user: f"{user} of day {day}" if str(user) > "u5" else user)
    tags = [f"t{i % 9} t{(i + day) % 5}" if i % 7 else None for i in range(400)]
    return found.assign(user=new, tags=tags, history=new.shift(fill_value="nobody"))


def crossed(folder):
    path = folder / "found.json"
    pairs = (["item", "stock"], ["price", "stock"], ["stock", "tags"], ["stock", "history"])
    found = [{"fields": pair} for pair in pairs]
    path.write_text(json.dumps({"format": 1, "interactions": found}))
    return str(path)


def data_of(folder, day, **options):
    path = folder / f"day{day}.parquet"
    frame(day).to_parquet(path, index=False)
    given = {"crosses": crossed(folder), "cross_min_share": 0.001, "batch_size": 100}
    given |= {"split": "hash", "prepared": str(folder / "prepared"), **options}
    data = Table(str(path), Label("rating", ">= 4"), FIELDS, **given)
    data.prepare_data()
    return data


class Watching(pl.Callback):
    """What a model and its optimizer hold before the first step and at the end."""

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        if trainer.global_step == 0:
            self.weights = {k: v.clone() for k, v in module.state_dict().items()}
            self.state = state_of(trainer)


def state_of(trainer):
    """The state of each parameter, by name."""
    names = {parameter: name for name, parameter in trainer.lightning_module.named_parameters()}
    state = trainer.optimizers[0].state
    return {
        names[parameter]: {key: torch.as_tensor(x).clone() for key, x in kept.items()}
        for parameter, kept in state.items()
    }


def train(model, data, *callbacks, epochs=2, **options):
    given = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
    given |= {"accelerator": "cpu", "max_epochs": epochs, "enable_checkpointing": False}
    trainer = pl.Trainer(callbacks=[*callbacks], num_sanity_val_steps=0, **given, **options)
    trainer.fit(model, data)
    return trainer


def model_of(name, data, seed=0, **options):
    torch.manual_seed(seed)
    return getattr(zoo, name)(data.schema, **SMALL, **options)


@pytest.fixture(scope="module")
def days(tmp_path_factory):
    """Two days of data, and a function that makes the run of a model on the first."""
    folder = tmp_path_factory.mktemp("days")
    first, second = data_of(folder, 0), data_of(folder, 1)

    def run(name, **options):
        place = folder / f"{name}-{len([*folder.iterdir()])}"
        trainer = train(model_of(name, first, **options), first)
        trainer.save_checkpoint(place / "checkpoints/best.ckpt")
        first.save_encoder(place / "encoder")
        save_checksums(place / "encoder")
        return trainer, place / "checkpoints/best.ckpt"

    return first, second, run


def values(data, name):
    """(value, row of the table) of a field; a cross has the values of its members."""
    first = data.schema.first_rows[name]
    crosses = {zoo.data.encoder.cross_name(p): p for p in data._cross_encoders}
    vocabulary = pd.read_parquet(data.encoder_folder / "vocabulary.parquet")
    special = {"(unknown)": first, "(missing)": first + 1}
    if name not in crosses:
        owner = {field.name: field.vocabulary or name for field in data.schema.fields}[name]
        mine = vocabulary[vocabulary.field == owner]
        return special | dict(zip(mine.value, first + mine.id, strict=True))
    members = name.split(" x ")
    table = pd.read_parquet(crosses[name] / "vocabulary.parquet")
    edges = json.loads((crosses[name] / "cross.json").read_text())["edges"]
    for i, member in enumerate(members):
        if member in edges:
            ends = [-np.inf, *edges[member], np.inf]
            table[f"m{i}"] = [(ends[code], ends[code + 1]) for code in table[f"m{i}"]]
        else:
            named = {
                row - data.schema.first_rows[member]: v for v, row in values(data, member).items()
            }
            table[f"m{i}"] = table[f"m{i}"].map(named)
    keys = zip(*(table[f"m{i}"] for i in range(len(members))), strict=True)
    return special | dict(zip(keys, first + table.id, strict=True))


def pairs(first, second):
    """Rows of the table of the second day, and those of the same values on the first."""
    found = []
    owners = [f.name for f in second.schema.fields if f.has_ids and not f.vocabulary]
    for name in owners:
        before, now = values(first, name), values(second, name)
        found += [(now[value], before[value]) for value in now if value in before]
    return np.array(found).T


def same(one, other):
    torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("name", "options"),
    [(name, {}) for name in MODELS]
    + [
        ("DeepFM", {"optimizer": "adam"}),
        ("DeepFM", {"optimizer": "adamw", "weight_decay": 0.1, "embedding_weight_decay": 0.01}),
        ("DeepFM", {"optimizer": {"class_path": "SGD", "init_args": {"momentum": 0.9}}}),
        ("DeepFM", {"numerical_encoding": "piecewise_linear"}),
    ],
)
def test_known_values_keep_all_and_new_ones_begin(days, name, options):
    first, second, run = days
    before, checkpoint = run(name, **options)
    model, watching = model_of(name, second, 7, **options), Watching()
    begun = model.embedding.table.clone()
    train(model, second, WarmStart(checkpoint), watching, **ONE_STEP)
    now, then = pairs(first, second)
    others = np.setdiff1d(np.arange(second.schema.table_rows), now)
    assert len(now) > 60
    assert len(others) > 20
    old = before.lightning_module.state_dict()
    assert set(old) == set(watching.weights)
    for weight, value in watching.weights.items():
        if weight == "embedding.table":
            same(value[now], old[weight][then])
            same(value[others], begun[others])
        else:
            same(value, old[weight])
    states = state_of(before)
    assert set(states) == set(watching.state)
    for weight, state in states.items():
        for key, value in state.items():
            mine = watching.state[weight][key]
            if weight == "embedding.table" and value.ndim:
                same(mine[now], value[then])
                start = 1e-8 if key == "sum" else 0.0  # of Adagrad, of all others
                same(mine[others], torch.full_like(mine[others], start))
            else:
                same(mine, value)


def test_tables_of_several_sizes_keep_the_rows_of_known_values(days):
    first, second, run = days
    options = {"embedding_dims": {"user": 5, "item": 2}, "hidden_units": [4]}
    before, checkpoint = run("WideDeep", **options)
    watching, model = Watching(), model_of("WideDeep", second, 7, **options)
    start = {name: weight.clone() for name, weight in model.state_dict().items()}
    train(model, second, WarmStart(checkpoint), watching, **ONE_STEP)
    for name in ("user", "item", "stock"):
        old, now = values(first, name), values(second, name)
        part, place = model.embedding.place(name)
        table = next(n for n, weight in model.named_parameters() if weight is part.table)
        rows = watching.weights[table][place : place + len(now)]
        theirs = before.lightning_module.state_dict()[table]
        _, then = before.lightning_module.embedding.place(name)
        for value, row in now.items():
            i = row - second.schema.first_rows[name]
            if value in old:
                same(rows[i], theirs[then + old[value] - first.schema.first_rows[name]])
            else:
                same(rows[i], start[table][place + i])
    same(state_of(before)["head.weight"]["sum"], watching.state["head.weight"]["sum"])


def test_the_same_data_are_all_known(days, tmp_path):
    first, _, _ = days
    first.save_encoder(tmp_path / "encoder")  # with its crosses
    found = known_ids(tmp_path / "encoder", tmp_path / "encoder", first.schema)
    owners = [field for field in first.schema.fields if field.has_ids and not field.vocabulary]
    assert {*found} == {field.name for field in owners}
    for field in owners:
        np.testing.assert_array_equal(found[field.name].now, found[field.name].before)
        assert found[field.name].known == field.cardinality - 2


# the command line

CONFIG = """
name: {name}
model:
  class_path: zoo.DeepFM
  init_args: {{embedding_dim: 3, hidden_units: [4]}}
data:
  class_path: datamodules.Table
  init_args:
    path: {path}
    label: {{column: rating, positive: ">= 4"}}
    batch_size: 100
    fields:
      - {{name: price, kind: numerical, transform: log}}
      - {{name: item, kind: categorical, min_count: 2}}
      - {{name: user, kind: categorical}}
trainer: {{max_epochs: 1, accelerator: cpu}}
"""


@pytest.fixture(scope="module")
def monday(tmp_path_factory):
    """A folder with the run `monday`, and a config of the next day."""
    folder = tmp_path_factory.mktemp("monday")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for day, name in enumerate(("monday", "tuesday")):
            frame(day).to_parquet(f"{name}.parquet", index=False)
            Path(f"{name}.yaml").write_text(CONFIG.format(name=name, path=f"{name}.parquet"))
        command("fit", "--config=monday.yaml", *QUIET)
    return folder


@pytest.fixture
def place(monday, monkeypatch):
    monkeypatch.chdir(monday)
    return "runs/monday/version_0"


def tuesday(*options):
    command("fit", "--config=tuesday.yaml", *QUIET, *options)
    return sorted(Path("runs/tuesday").iterdir(), key=lambda p: p.stat().st_mtime)[-1]


def test_a_warm_started_fit_prints_counts_and_resumes(place, capsys):
    whole = tuesday("--warm_start", place, "--trainer.max_epochs=2")
    said = capsys.readouterr().err
    assert f"warm start from {place}/checkpoints/best.ckpt" in said
    rows = {cells[1].strip(): [int(x) for x in cells[2:5]] for cells in _cells(said)}
    users = [set(frame(day).user.dropna()) for day in (0, 1)]
    assert set(rows) == {"item", "user"}
    assert 0 < rows["user"][0] <= len(users[0] & users[1])
    assert rows["user"][1] > 0
    assert f"warm_start: {place}" in (whole / "config.yaml").read_text()
    part = tuesday("--warm_start", place)
    capsys.readouterr()
    given = ["--trainer.max_epochs=2", f"--ckpt_path={part}/checkpoints/last.ckpt"]
    resumed = tuesday("--warm_start", place, *given)
    assert "warm start from" not in capsys.readouterr().err
    found = [torch.load(r / "checkpoints/last.ckpt", weights_only=True) for r in (whole, resumed)]
    same(found[0]["state_dict"], found[1]["state_dict"])
    same(*(content["optimizer_states"][0]["state"] for content in found))


def _cells(text):
    return [line.split("│") for line in text.splitlines() if line.startswith("│")]


def test_a_warm_start_from_python_takes_model_and_fields_of_the_run(place):
    run = zoo.load(place)
    trainer = {"max_epochs": 1, "enable_progress_bar": False, "enable_model_summary": False}
    label = {"column": "rating", "positive": ">= 4"}
    found = zoo.fit(frame(1), label, trainer=trainer, warm_start=run, name="python")
    assert found.model.embedding.embedding_dim == 3
    assert [f.name for f in found.model.schema.fields] == ["price", "item", "user"]
    assert str(run.checkpoint) in (found.path / "config.yaml").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--warm_start=gone"], "no such checkpoint: gone"),
        (["--warm_start=runs"], "runs is no run directory with a checkpoint: there is no runs/ch"),
        (["--model=DCN"], "warm_start: {} holds DeepFM, not DCN: weights are known for the same "),
        (["--model.embedding_dim=4"], "warm_start: its weights do not fit this model: model.embe"),
        (["--model.optimizer=adam"], "warm_start: model.optimizer was 'adagrad', and is 'adam' h"),
        (
            ['--data.fields=[{"name": "price", "kind": "numerical", "transform": "log"}]'],
            "warm_start: the model of {} has other fields than these data: field item is in only o",
        ),
        (
            [
                '--data.fields=[{"name": "price", "kind": "numerical"}, {"name": "item", "kind": '
                '"categorical"}, {"name": "user", "kind": "categorical", "buckets": 9}]'
            ],
            "{}/encoder was fitted with data.fields = {'name': 'user', 'buckets': None}, here it i",
        ),
    ],
)
def test_what_cannot_be_taken_over(place, options, message):
    before = sorted(Path("runs").glob("*/*"))
    given = ["--config=tuesday.yaml", f"--warm_start={place}", *options, *QUIET]
    said = error_of("fit", *given)
    start = message.replace("{}/encoder", f"{Path(place).resolve()}/encoder")
    start = start.replace("{} ", f"{place}/checkpoints/best.ckpt ")
    assert said.splitlines()[-1].startswith(f"error: {start}")
    assert sorted(Path("runs").glob("*/*")) == before
