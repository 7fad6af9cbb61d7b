"""The file of a sweep's space: what it may say, and what is said of its mistakes."""

from pathlib import Path

import optuna
import pytest
import yaml
from support.running import ROOT, SMALL, error_of
from support.sweeping import line_of

from zoo.data.errors import ZooError
from zoo.run import cli
from zoo.run.fit import RaisingParser
from zoo.run.plugins import import_plugins
from zoo.run.sweeping.space import arguments_of, read_space
from zoo.run.sweeping.sweep import Parsing
from zoo.run.trust import restricted_imports

pytestmark = pytest.mark.usefixtures("workplace")


def written(text):
    Path("space.yaml").write_text(text)
    return read_space(Path("space.yaml"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "space.yaml (--space) holds no options with values"),
        ("[1, 2]", "space.yaml (--space) holds no options with values"),
        ("a: {low: 1", "space.yaml cannot be read as YAML"),
        ("a: 3", "space.yaml: a has the one value 3: give a list of values, or low and high"),
        ("a: []", "space.yaml: a: its values must be a list that is not empty"),
        ("a: [1, 2, 1]", "space.yaml: a lists 1 twice"),
        ("a: {lo: 1, high: 2}", "space.yaml: a: unknown key lo; did you mean low?"),
        ("a: {low: 1}", "space.yaml: a has no high"),
        ("a: {low: x, high: 2}", "space.yaml: a: low must be a number, got 'x'"),
        ("a: {low: .nan, high: 2}", "space.yaml: a: low must be a number, got nan"),
        ("a: {low: 3, high: 2}", "space.yaml: a: low must be below high, got 3 and 2"),
        ("a: {low: 0, high: 2, log: true}", "on a logarithmic scale low must be positive"),
        ("a: {low: 1, high: 2, log: true, step: 1}", "logarithmic scale there can be no step"),
        ("a: {low: 1, high: 2, step: 5}", "space.yaml: a: step must be positive and fit between"),
        ("a: {low: 1, high: 2, log: 3}", "space.yaml: a: log must be true or false, got 3"),
        ("a: {values: [1], low: 2}", "space.yaml: a has values, and so no low"),
        ("a: {values: [1], when: [b]}", "space.yaml: a: when must name other options"),
        ("a: {values: [1], when: {b: 1}}", "space.yaml: a: when names b, which must be an option"),
        ("b: [1, 2]\na: {values: [1], when: {b: 3}}", "a: when names b=3, which it never is"),
        ("3: [1, 2]", "space.yaml: 3 is no name of an option"),
        ("monitor: [a, b]", "space.yaml: monitor cannot be searched: it is the same for all"),
    ],
)
def test_a_mistake_is_named(text, message):
    with pytest.raises(ZooError) as error:
        written(text)
    assert message in str(error.value)


def test_a_space_that_is_missing_is_named():
    assert "cannot read nowhere.yaml" in error_of("sweep", "--config=demo", "--space=nowhere.yaml")


def test_values_are_drawn_as_they_are_written():
    space = written(
        "model: [DeepFM, DCN]\n"
        "a: [null, true, 1.5, word, [64, 32], {b: 1}]\n"
        "b: {low: 1e-4, high: 1, log: true}\n"  # YAML takes 1e-4 for a text
        "c: {low: 2, high: 8, step: 3}\n"
        "model.cross_layers: {low: 1, high: 4, when: {model: DCN}}\n"
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    drawn = [space.suggest(study.ask()) for _ in range(300)]
    assert {d["c"] for d in drawn} == {2, 5, 8}
    assert sorted({repr(d["a"]) for d in drawn}) == sorted(
        map(repr, [None, True, 1.5, "word", [64, 32], {"b": 1}])
    )
    assert min(d["b"] for d in drawn) < 1e-3 < 0.1 < max(d["b"] for d in drawn) <= 1
    assert all(("model.cross_layers" in d) == (d["model"] == "DCN") for d in drawn)
    assert space.infinite() == "b"
    words = arguments_of({"model.x": [1, None], "model": "DCN", "b": 1e-05})
    assert words == ["--model=DCN", "--b=1e-05", "--model.x=[1, null]"]


def test_combinations_are_counted():
    space = written(
        "model: [DeepFM, DCN]\n"
        "a: {low: 0.1, high: 0.5, step: 0.1}\n"
        "b: {low: 1, high: 3, when: {model: DCN}}\n"
        "c: {low: 1, high: 64, log: true, when: {model: DeepFM}}\n"
    )
    assert space.count(10**6) == 5 * 64 + 5 * 3
    assert space.count(100) == 100


@pytest.fixture(scope="module")
def parsing():
    """Parses options of a fit of the demo."""
    line = ["--config", str(ROOT / "configs/demo.yaml"), *SMALL]
    with restricted_imports(line):
        import_plugins()
        made = cli.made_of(Parsing, [], RaisingParser)
        yield lambda words: made.parse([*line, *words])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model.learning_rat: [1, 2]", "model.learning_rat=1: unknown option model.learning_rat; "),
        ("model.embedding_dim: {low: 0.5, high: 3.5}", "model.embedding_dim=0.5: "),
        ("model.embedding_dim: [8, many]", "model.embedding_dim=many: "),
        ("model: [DeepFM, DeepFN]", "model: no class and no file DeepFN; did you mean DeepFM?"),
        (
            "model: [DCN, DeepFM]\nmodel.cross_layers: [1, 2]",
            "model.cross_layers=1, with model=DeepFM: unknown option model.cross_layers",
        ),
        (
            "model.optimizer: [adam, adams]",
            "model.optimizer",
        ),
        ("trainer.max_epoch: [1, 2]", "did you mean trainer.max_epochs?"),
    ],
)
def test_what_a_fit_does_not_take_is_named_before_the_first_trial(text, message, parsing):
    with pytest.raises(ZooError) as error:
        written(text).check(parsing)
    assert message in str(error.value)
    assert "space.yaml: " in str(error.value)


def test_classes_with_their_own_options_are_taken(parsing):
    written(
        "model.cross_layers: {low: 1, high: 2}\nmodel: [DCN]\n"
        "model.hidden_units: [[8], [16, 8]]\ntrainer.gradient_clip_val: [null, 1.0]\n"
    ).check(parsing)


def test_a_space_runs_no_code_of_its_own(workplace):
    Path("evil.py").write_text("open('ran', 'w')\nfrom zoo import DeepFM as Evil\n")
    line = line_of(space={"model": ["DeepFM", "evil.Evil"]})
    message = error_of("sweep", *line)
    assert "evil" in message
    assert not Path("ran").exists()
    assert yaml.safe_load(Path("space.yaml").read_text())
