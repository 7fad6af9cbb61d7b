"""The report of `inspect`: one file, all text shown as text, every plot drawn."""

import json
import warnings
from unittest import mock

import pytest
from support.browsing import browse, needs_browser, plots_of
from support.inspection import Given, changed, lightning_warnings, shown
from support.small_checkpoints import MODELS, fitted, row_batch, session_batch, small

import train
from zoo import Field, Schema
from zoo.data.interactions import Interaction
from zoo.inspect import load, plots
from zoo.inspect.comparison import Comparison
from zoo.inspect.disagreement import disagree
from zoo.inspect.interactions import DetectedInteractions
from zoo.inspect.report import report, write
from zoo.inspect.scores import score
from zoo.run.record import RunRecord

SCRIPT = "<script>document.title = 'run'</script>"
SCHEMA = Schema((Field("n0", "numerical"), Field(SCRIPT, "categorical", 7, "<i>g</i>")))
SUBSETS = {"<b>few</b>": ["n0"], "all": ["*"]}
PLOTS = 8  # lattice, parts, calibration, slices, attribution, right expert, importance, examples

pytestmark = lightning_warnings


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """An inspection and the scores of a mixture whose names are hostile."""
    folder = tmp_path_factory.mktemp("report")
    with mock.patch("support.small_checkpoints.SUBSETS", SUBSETS), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = load(fitted(small("InterpretableMLP", SCHEMA), folder / "model.ckpt"))
    data = Given(SCHEMA, [row_batch(SCHEMA) for _ in range(4)])
    return found, score(found, data, by=SCRIPT)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_has_a_report(name, checkpoint_of, tmp_path):
    found = load(checkpoint_of(name))
    path = tmp_path / "report.html"
    write(path, found)
    assert path.stat().st_size < 6e6
    text = path.read_text()
    assert f"<title>{name}: " in text
    assert "&lt;b&gt;c1&lt;/b&gt;" in text or found.schema.fields[0].name == "position"


def test_names_are_no_markup(scored):
    page = report(*scored)
    assert SCRIPT not in page
    assert "<b>few" not in page
    assert "&lt;script&gt;document.title" in page


def test_the_plots_show_the_scores(scored):
    found, scores = scored
    page = report(found, scores)
    drawn = plots_of(page)
    assert len(drawn) == PLOTS
    lines = [trace for traces in drawn for trace in traces]
    (model,) = [trace for trace in lines if trace.get("name") == "model"]
    assert model["x"] == [part.predicted for part in scores.calibration]
    assert model["y"] == [part.observed for part in scores.calibration]
    (mean,) = [trace for trace in lines if trace.get("name") == "mean"]
    assert mean["y"] == [expert.mean for expert in scores.experts]


def test_the_picture_of_experts_shows_every_subset_and_edge():
    sets = {"user": "u", "item": "i", "both": "ui", "<b>all</b>": "uix"}
    inside = {"user": [], "item": [], "both": ["user", "item"], "<b>all</b>": ["both"]}
    figure = plots.hasse(sets, inside)
    lines = [trace for trace in figure.data if trace.mode == "lines"]
    assert len(lines) == 3
    assert all(trace.y[0] < trace.y[1] for trace in lines)
    assert list(figure.data[-1].text) == ["user", "item", "both", "&lt;b&gt;all&lt;/b&gt;"]
    assert list(figure.data[-1].y) == [0, 0, 1, 2]


def test_sentences_of_a_description_are_no_markup(copy_of):
    def spoil(content):
        content["description"]["text"] = f"{SCRIPT}\n\n    {SCRIPT}\n\n\x1b[2J"
        (grid,) = content["description"]["grids"]
        content["description"]["grids"] = [{**grid, "reading": SCRIPT, "title": SCRIPT}]

    found = load(changed(copy_of("DCN"), spoil))
    page = report(found)
    assert SCRIPT not in page
    assert page.count("&lt;script&gt;document.title") > 3
    assert "\x1b" not in shown(found)


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_draws_every_plot_without_network_or_error(width, scored, tmp_path):
    seen = browse(report(*scored), width, tmp_path)
    assert len(seen["plots"]) == PLOTS
    assert seen["title"].startswith("InterpretableMLP: ")


# parts, calibration, slices and importance, and those of the model
@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize(
    ("name", "options", "plots"),
    [
        ("AutoInt", {"attention_layers": 2, "embed_numerical": True}, 4 + 2),
        ("DCN", {"parameterization": "matrix", "cross_layers": 2}, 4 + 2),
        ("DCN", {"cross_layers": 2}, 4 + 1),
        ("DeepFM", {}, 4 + 1),
        ("FiBiNET", {}, 4 + 4),
        ("InterHAt", {"orders": 2}, 4 + 4),
        ("InterpretableGRU", {}, 3 + 5),
    ],
)
def test_a_browser_draws_what_a_model_does(name, options, plots, tmp_path):
    sessions = name == "InterpretableGRU"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = small(name, None if sessions else SCHEMA, **options)
        found = load(fitted(model, tmp_path / "model.ckpt"))
    data = Given(model.schema, [session_batch() if sessions else row_batch(SCHEMA)] * 4)
    fields = tuple(field.name for field in model.schema.fields)
    listed = [Interaction(fields, i, None, 1.0, 1.0, q) for i, q in enumerate((None, 0.01, 1.0))]
    interactions = DetectedInteractions("<b>file</b>", SCRIPT, 10, tuple(listed))
    page = report(found, score(found, data), interactions)
    assert len(browse(page, 390, tmp_path)["plots"]) == plots + 1


def test_the_command_writes_the_report(scored, tmp_path, capsys):
    found, _ = scored
    path = tmp_path / "report.html"
    arguments = ["train.py", "inspect", found.file, "--json", "--html", str(path)]
    with mock.patch("sys.argv", arguments):
        train.main()
    printed = capsys.readouterr()
    assert json.loads(printed.out)["parameters"] == found.parameters
    assert str(path) in printed.err
    assert path.read_text().startswith("<!doctype html>")
    broken = [found.file, "--html", str(tmp_path / "no" / "report.html")]
    with mock.patch("sys.argv", [*arguments[:2], *broken]), pytest.raises(SystemExit) as exit_:
        train.main()
    assert "there is no folder" in exit_.value.code
    (tmp_path / "folder.html").mkdir()
    broken = [found.file, "--html", str(tmp_path / "folder.html")]
    with mock.patch("sys.argv", [*arguments[:2], *broken]), pytest.raises(SystemExit) as exit_:
        train.main()
    assert "cannot be written" in exit_.value.code


def test_a_report_that_cannot_be_written_leaves_nothing(scored, tmp_path):
    (tmp_path / "report.html").mkdir()
    with pytest.raises(OSError, match="report"):
        write(tmp_path / "report.html", scored[0])
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_the_report_of_a_fit_scores_all_rows_of_the_data_at_hand(checkpoint_of, tmp_path):
    class OfRank(Given):
        """With a trainer, it would give the rows of one rank."""

        def val_dataloader(self):
            assert self.trainer is None
            return super().val_dataloader()

    path = checkpoint_of("DeepFM")
    data, record = OfRank(load(path).schema, [row_batch()] * 2), RunRecord(tmp_path)
    trainer = mock.Mock(is_global_zero=True, datamodule=data, loggers=[])
    record.on_fit_start(trainer, mock.Mock(hparams={}))
    data.trainer = trainer
    record.report(path)
    assert data.trainer is trainer
    assert "<td>32</td>" in (tmp_path / "report.html").read_text()


@pytest.fixture(scope="module")
def pair(scored, tmp_path_factory):
    """A page of two models, and what it is made of."""
    path = tmp_path_factory.mktemp("pair")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = load(fitted(small("DeepFM", SCHEMA), path / "other.ckpt"))
    data = Given(SCHEMA, [row_batch(SCHEMA) for _ in range(4)])
    scores = disagree(scored[0], other, data)
    write(path / "pair.html", Comparison(scored[0], other), scores)
    return (path / "pair.html").read_text(), scores


def test_two_checkpoints_have_a_report(pair):
    page, scores = pair
    assert SCRIPT not in page
    slices, rows = plots_of(page)
    assert [trace["name"] for trace in slices] == ["A", "B", "observed"]
    assert slices[0]["y"] == [part.first for part in scores.slices]
    assert slices[1]["y"] == [part.second for part in scores.slices]
    assert slices[0]["y"] != slices[1]["y"]
    assert rows[2]["y"] == [row.label for row in scores.rows]


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_draws_the_page_of_two(width, pair, tmp_path):
    assert len(browse(pair[0], width, tmp_path)["plots"]) == 2
