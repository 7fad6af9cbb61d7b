"""Generated clicks: the file is Criteo's, and the truth in it is the planted one.

Shapes: R rows.
"""

import json
import re
import subprocess
import sys
from itertools import combinations

import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score
from support.running import ROOT

from datamodules.synthetic import click_truth, clicks
from datamodules.synthetic.click_truth import ceiling
from datamodules.synthetic.clicks import CROSSES, PlantedClicks, logits_path, truth_path
from zoo.data.errors import ZooError

EVERY_CROSS = pytest.mark.parametrize("cross", CROSSES, ids="-".join)


@pytest.fixture(autouse=True, scope="module")
def small_fields():
    """Fields of a million values take seconds to draw and would change nothing here."""
    small = tuple(min(n, 3000) for n in click_truth.CARDINALITIES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(click_truth, "CARDINALITIES", small)
        yield


@pytest.fixture
def small_chunks(monkeypatch):
    """Several chunks in a small file."""
    monkeypatch.setattr(clicks, "ROWS_AT_ONCE", 2000)


def drawn(rows=100_000, **options):
    """(label, logit, numerical, categorical) of all rows."""
    chunks = PlantedClicks(rows=rows, **options).chunks()
    return [np.concatenate(parts) for parts in zip(*chunks, strict=True)]


@pytest.fixture(scope="module")
def main_effects(small_fields):
    """Rows whose logits hold main effects alone."""
    return drawn(crosses=[])


@pytest.fixture(scope="module")
def product(main_effects):
    """Gives what a cross alone adds to the logits of the rows `main_effects`, [R]."""
    found = {}

    def make(cross):
        if cross not in found:
            found[cross] = drawn(crosses=[list(cross)])[1] - main_effects[1]
        return found[cross]

    return make


def values_of(rows, field):
    """[R] the values of a field, those of a numerical one as twentieths of its distribution."""
    _, _, numerical, categorical = rows
    column = int(field[1:]) - 1
    if field.startswith("C"):
        return categorical[:, column]
    number = numerical[:, column]
    return np.digitize(number, np.unique(np.quantile(number, np.linspace(0, 1, 21)[1:-1])))


def largest_z(values, *groups):
    """Largest |mean| of values in groups of at least 300 rows, in standard errors."""
    _, group = np.unique(np.stack(groups), axis=1, return_inverse=True)
    count = np.bincount(group)
    mean, square = (np.bincount(group, v) / count for v in (values, values**2))
    return np.abs(mean / np.sqrt(square / count))[count >= 300].max()


# The file


def test_lines_are_of_criteos_form(criteo_lines):
    form = re.compile(r"[01](\t\d*){13}(\t([0-9a-f]{8})?){26}")
    assert [line for line in criteo_lines if not form.fullmatch(line)] == []


def test_the_file_has_as_many_lines_as_asked(criteo_file):
    assert len(criteo_file.read_text().splitlines()) == 20_000


def test_shares_of_missing_values_are_the_stated_ones(criteo_file):
    cells = np.array([line.split("\t") for line in criteo_file.read_text().splitlines()])
    stated = np.array(click_truth.NUMERICAL_MISSING + click_truth.CATEGORICAL_MISSING)
    error = np.sqrt(stated * (1 - stated) / len(cells))
    assert np.all(np.abs((cells[:, 1:] == "").mean(0) - stated) <= 4.5 * error)


@pytest.mark.parametrize("field", ["C6", "C9", "C17", "C20", "C23"])
def test_different_values_are_different_texts(criteo_file, field):
    column = 13 + int(field[1:])
    texts = {line.split("\t")[column] for line in criteo_file.read_text().split("\n")[:-1]} - {""}
    assert len(texts) == click_truth.CARDINALITIES[int(field[1:]) - 1]


def test_values_are_skewed_like_ranks(main_effects):
    """P(k) = log((k + 2) / (k + 1)) / log(n + 1)."""
    column, n = main_effects[3][:, 4], click_truth.CARDINALITIES[4]
    stated = np.log((np.arange(n) + 2) / (np.arange(n) + 1)) / np.log(n + 1)
    counts = np.bincount(column, minlength=n)
    assert np.all(np.abs(counts - len(column) * stated) < 5 * np.sqrt(len(column) * stated) + 1)


def test_same_seed_same_bytes(tmp_path, small_chunks):
    for name in ("a", "b"):
        PlantedClicks(rows=500, seed=3).write(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_other_seed_other_rows(tmp_path, small_chunks):
    for seed in (3, 4):
        PlantedClicks(rows=500, seed=seed).write(tmp_path / str(seed))
    assert (tmp_path / "3").read_bytes() != (tmp_path / "4").read_bytes()


@pytest.mark.parametrize("rows", [500, 2000, 2001])
def test_a_longer_file_begins_with_the_rows_of_a_shorter_one(tmp_path, small_chunks, rows):
    PlantedClicks(rows=rows).write(tmp_path / "short")
    PlantedClicks(rows=5000).write(tmp_path / "long")
    assert (tmp_path / "long").read_bytes().startswith((tmp_path / "short").read_bytes())


def sorted_and_not(tmp_path):
    for name, by_label in (("drawn", False), ("sorted", True)):
        PlantedClicks(rows=5000, sort_by_label=by_label).write(tmp_path / name)
    return tmp_path / "drawn", tmp_path / "sorted"


def test_sorted_by_label_holds_the_negatives_first(tmp_path, small_chunks):
    labels = [line[0] for line in sorted_and_not(tmp_path)[1].read_text().splitlines()]
    assert labels == sorted(labels)


def test_sorted_by_label_holds_the_same_rows_with_their_logits(tmp_path, small_chunks):
    unsorted, by_label = (
        sorted(zip(path.read_text().splitlines(), np.load(logits_path(path)), strict=True))
        for path in sorted_and_not(tmp_path)
    )
    assert unsorted == by_label


# The truth


def test_labels_are_drawn_with_the_probability_of_the_logit():
    label, logit, *_ = drawn(rows=200_000)
    probability = 1 / (1 + np.exp(-logit))
    decile = np.digitize(logit, np.quantile(logit, np.linspace(0, 1, 11)[1:-1]))
    difference = np.bincount(decile, label - probability)
    error = np.sqrt(np.bincount(decile, probability * (1 - probability)))
    assert np.all(np.abs(difference) < 4 * error)


@EVERY_CROSS
def test_a_cross_adds_the_stated_standard_deviation(product, cross):
    assert product(cross).std() == pytest.approx(0.5, rel=0.04)


@EVERY_CROSS
def test_a_cross_leaves_no_trace_in_any_proper_subset(product, main_effects, cross):
    subsets = [s for size in range(1, len(cross)) for s in combinations(cross, size)]
    assert (
        max(
            largest_z(product(cross), *(values_of(main_effects, field) for field in subset))
            for subset in subsets
        )
        < 4.5
    )


@EVERY_CROSS
def test_a_cross_shows_in_all_its_fields_together(product, main_effects, cross):
    """So that the test above could find a trace."""
    assert largest_z(product(cross), *(values_of(main_effects, field) for field in cross)) > 30


def test_crosses_add_up(product, main_effects):
    total = drawn()[1] - main_effects[1]
    np.testing.assert_allclose(total, sum(product(cross) for cross in CROSSES), atol=1e-9)


def test_a_row_without_any_effect_has_the_bias_as_its_logit():
    assert np.all(drawn(crosses=[], main_strength=0.0, bias=-1.25)[1] == -1.25)


def test_main_effects_grow_with_their_strength(main_effects):
    half = drawn(crosses=[], main_strength=1.0)[1]
    np.testing.assert_allclose(main_effects[1] + 1.8, 2 * (half + 1.8), atol=1e-9)


def test_the_ceiling_is_that_of_the_logits(criteo_file):
    label = np.array([int(line[0]) for line in criteo_file.read_text().splitlines()])
    probability = 1 / (1 + np.exp(-np.load(logits_path(criteo_file)).astype(np.float64)))
    truth = json.loads(truth_path(criteo_file).read_text())
    expected = {"auc": roc_auc_score(label, probability), "logloss": log_loss(label, probability)}
    assert {name: truth[name] for name in expected} == pytest.approx(expected, rel=1e-6)


def test_the_ceiling_of_logits_far_apart():
    found = ceiling(np.array([0, 0, 1, 0, 1], np.int8), np.array([-60.0, -50, 50, 60, 70]))
    assert found == {"auc": pytest.approx(5 / 6), "logloss": pytest.approx(12)}


def test_the_ceiling_of_one_class_is_unknown():
    assert np.isnan(list(ceiling(np.ones(3, np.int8), np.zeros(3)).values())).all()


def test_the_truth_names_the_planted_crosses(criteo_file):
    crosses = json.loads(truth_path(criteo_file).read_text())["crosses"]
    assert [tuple(cross["fields"]) for cross in crosses] == list(CROSSES)


def test_the_truth_gives_the_click_rate(criteo_file):
    clicks = [int(line[0]) for line in criteo_file.read_text().splitlines()]
    assert json.loads(truth_path(criteo_file).read_text())["click_rate"] == np.mean(clicks)


# What is written, and what is left alone


def test_refuses_a_file_that_it_did_not_generate(tmp_path):
    path = tmp_path / "train.txt"
    path.write_text("precious\n")
    with pytest.raises(ZooError, match=r"exists and was not generated .* choose another data.path"):
        PlantedClicks(rows=10).write_once(path)


def test_keeps_a_file_that_it_did_not_generate(tmp_path):
    path = tmp_path / "train.txt"
    path.write_text("precious\n")
    with pytest.raises(ZooError):
        PlantedClicks(rows=10).write_once(path)
    assert path.read_text() == "precious\n"


def test_refuses_a_file_of_other_options(tmp_path, small_chunks):
    PlantedClicks(rows=10).write_once(tmp_path / "train.txt")
    with pytest.raises(ZooError, match=r"not generated with these data.synthetic options"):
        PlantedClicks(rows=11).write_once(tmp_path / "train.txt")


def test_writes_its_own_file_once(tmp_path, small_chunks):
    path = tmp_path / "train.txt"
    PlantedClicks(rows=10).write_once(path)
    before = path.stat()
    PlantedClicks(rows=10).write_once(path)
    assert path.stat().st_mtime_ns == before.st_mtime_ns


def test_an_interrupted_generator_leaves_no_file(tmp_path, small_chunks, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        PlantedClicks(rows=10).write_once(tmp_path / "train.txt")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_truth_is_reported(tmp_path, small_chunks):
    path = tmp_path / "train.txt"
    PlantedClicks(rows=10).write_once(path)
    truth_path(path).write_text("{")
    with pytest.raises(ZooError, match=re.escape(path.name)):
        PlantedClicks(rows=10).write_once(path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": 0}, "synthetic.rows must be at least 1, got 0"),
        ({"crosses": [["C1"]]}, r"synthetic.crosses: \['C1'\] must name at least two"),
        ({"crosses": [["C1", "C1"]]}, "must name at least two"),
        ({"crosses": [["C1", "C27"]]}, "C27.* of I1..I13, C1..C26"),
        ({"seed": -1}, "seed"),
    ],
)
def test_message_of_a_wrong_option(tmp_path, options, message):
    with pytest.raises(ZooError, match=message):
        PlantedClicks(**options).write(tmp_path / "train.txt")


def test_a_generator_is_run_as_a_module_without_a_warning():
    line = [sys.executable, "-W", "error", "-m", "datamodules.synthetic.clicks", "--help"]
    done = subprocess.run(line, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.startswith("usage: clicks.py")
    assert done.stderr == ""
