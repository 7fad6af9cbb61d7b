"""The report as a place to work in: rows to choose, tables to sort and filter, light and dark."""

import json
import re
import warnings
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.browsing import browse, needs_browser
from support.explained_rows import rows
from support.inspection import Given, lightning_warnings
from support.small_checkpoints import fitted, small

from zoo import Field, Schema
from zoo.inspect import load
from zoo.inspect.page import Section, page
from zoo.inspect.page.parts import Bar, Bars, Check, Checks, Scale, Tile, Tiles
from zoo.inspect.page.prose import Prose, formula, marked
from zoo.inspect.report import report
from zoo.inspect.scores import score
from zoo.inspect.table import text_table
from zoo.run.inspect_rows import explain_chosen

SCRIPT = "</script><script>document.title = 'run'</script>"
IMAGE = "<img src=x onerror=\"document.title = 'run'\">"
SCHEMA = Schema(
    (
        Field("n0", "numerical"),
        Field(SCRIPT, "categorical", 7),
        Field("item", "categorical", 11),
    )
)
SHOWN = 24  # explained rows

pytestmark = lightning_warnings


class Named(Given):
    """Rows whose values have hostile names."""

    def __init__(self, schema, batches, encoder):
        super().__init__(schema, batches)
        self.encoder = encoder

    def train_dataloader(self):
        return self.given

    @property
    def encoder_folder(self):
        return self.encoder


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """A report of a small model, and what it shows."""
    folder = tmp_path_factory.mktemp("page")
    names = {"field": [SCRIPT, "item"], "value": [IMAGE, "<i>two</i>"], "id": [6, 2]}
    (folder / "encoder").mkdir()
    table = pa.table({**names, "count": [1, 1]})
    pq.write_table(table, folder / "encoder/vocabulary.parquet")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = small("DeepFM", SCHEMA, embedding_std=0.7, learning_rate=0.003)
        found = load(fitted(model, folder / "model.ckpt"))
    data = Named(SCHEMA, [rows(150, SCHEMA) for _ in range(2)], folder / "encoder")
    scores = score(found, data, chosen=SHOWN)
    picked = explain_chosen(found, data, scores)
    return report(found, scores, picked), scores, picked


# The page, used

USE = """
  const result = {};
  const wait = () => new Promise((done) => setTimeout(done, 60));
  const change = (where, value) => {
    if (where.type === "checkbox") where.checked = value; else where.value = value;
    where.dispatchEvent(new Event("input", { bubbles: true }));
  };
  const seen = (item) => item.offsetParent !== null;
  const colour = (item, name) => getComputedStyle(item)[name];
  dispatchEvent(new Event("beforeprint"));
  await wait();
  // theme
  const label = document.querySelector(".js-plotly-plot .xtick text");
  const look = () => [colour(document.body, "backgroundColor"), colour(label, "fill")];
  const button = document.getElementById("theme");
  result.themes = [look()];
  button.click(); result.themes.push(look()); result.named = button.getAttribute("aria-label");
  button.click(); result.themes.push(look());
  // what is folded opens for a link to it
  const schema = document.getElementById("s-schema");
  schema.open = false;
  location.hash = "#s-schema"; await wait();
  result.opened = schema.open;
  // slices
  const form = document.querySelector("#s-by-value form");
  const table = document.querySelector("#s-by-value table");
  const lines = () => [...table.tBodies[0].rows].filter(seen).map(
    (row) => [...row.cells].map((cell) => cell.textContent));
  const [field, value, least, far] = form.querySelectorAll("[data-filter]");
  result.slices = { all: lines(), heads: [], sorted: [] };
  const heading = table.tHead.rows[0].cells[2];
  for (let i = 0; i < 3; i++) {
    heading.querySelector("button").click();
    result.slices.heads.push(heading.getAttribute("aria-sort"));
    result.slices.sorted.push(lines().map((line) => line[2]));
  }
  change(field, "item"); result.slices.item = lines();
  change(value, "TWO"); result.slices.two = lines();
  result.slices.said = form.querySelector("output").textContent;
  change(value, ""); change(field, ""); change(least, "40"); result.slices.large = lines();
  change(least, ""); change(far, true); result.slices.far = lines();
  change(far, false); result.slices.again = lines();
  // rows
  const list = document.querySelector(".picker ol");
  const shownRows = () => [...document.querySelectorAll(".shown article")].filter(seen).map(
    (article) => article.id);
  const links = () => [...list.querySelectorAll("a")].filter(seen);
  const ids = () => links().map((link) => link.hash.slice(1));
  const [search, order, kind] = ["search", "order", "kind"].map(
    (name) => document.getElementById(`row-${name}`));
  result.rows = { first: [ids()[0], shownRows()], all: ids() };
  links()[2].click();
  result.rows.third = [ids()[2], shownRows(), list.querySelectorAll("[aria-current]").length];
  links()[2].dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowDown", bubbles: true }));
  result.rows.fourth = [ids()[3], shownRows(), document.activeElement.hash.slice(1)];
  change(order, "-p"); result.rows.likely = ids();
  change(order, "-error"); result.rows.wrong = ids();
  change(order, "row"); result.rows.numbered = ids();
  change(order, "order"); result.rows.again = ids();
  change(search, "onerror"); result.rows.found = [ids(), shownRows()];
  result.rows.said = document.getElementById("row-count").textContent;
  change(search, "nothing has this"); result.rows.none = ids();
  change(search, "");
  const bars = () => [...document.querySelectorAll(".chosen .bars li")].filter(seen).map(
    (item) => item.className);
  const both = bars(); change(kind, "interaction"); const some = bars(); change(kind, "all");
  result.rows.kinds = [[...new Set(both)].sort(), [...new Set(some)].sort()];
  // without a script, links choose
  document.documentElement.classList.remove("js");
  document.querySelector(".chosen").classList.remove("chosen");
  result.plain = [seen(form), shownRows()];
  location.hash = `#${result.rows.all[4]}`; await wait();
  result.plain.push(shownRows());
  document.documentElement.classList.add("js");
  return result;
"""


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("width", [1280, 390])
def test_rows_slices_and_theme_in_a_browser(width, shown, tmp_path):
    text, scores, picked = shown
    used = browse(text, width, tmp_path, USE)["driven"]
    _check_theme(used)
    _check_slices(used["slices"], scores)
    _check_rows(used["rows"], picked)
    assert used["opened"]
    hidden, first, chosen = used["plain"]
    assert (hidden, len(first)) == (False, 1)
    assert chosen == [used["rows"]["all"][4]]


def _check_theme(used):
    light, dark, again = used["themes"]
    assert light == again
    assert all(one != two for one, two in zip(light, dark, strict=True))
    assert used["named"] == "light colours"


def _check_slices(seen, scores):
    every = {(field, part.name): part for field, parts in scores.slices.items() for part in parts}
    assert seen["all"] == seen["again"]
    assert [(line[0], line[1]) for line in seen["all"]] == list(every)
    assert seen["heads"] == ["descending", "ascending", "none"]
    down, up, plain = ([int(cell) for cell in column] for column in seen["sorted"])
    assert down == sorted(down, reverse=True) != plain
    assert up == sorted(up)
    assert plain == [part.rows for part in every.values()]
    assert [line[1] for line in seen["item"]] == [part.name for part in scores.slices["item"]]
    assert [line[:2] for line in seen["two"]] == [["item", "<i>two</i>"]]
    assert seen["said"] == f"1 of {len(every)} slices"
    large = [name for name, part in every.items() if part.rows >= 40]
    assert [(line[0], line[1]) for line in seen["large"]] == large
    assert 0 < len(large) < len(every)
    far = [name for name, part in every.items() if abs(round(part.gap, 1)) >= 4]
    assert [(line[0], line[1]) for line in seen["far"]] == far


def _check_rows(seen, picked):
    by_id = {each.id: each for each in picked.rows}
    assert seen["all"] == seen["again"] == list(by_id)
    assert seen["first"] == [seen["all"][0], [seen["all"][0]]]
    third, shown_, current = seen["third"]
    assert (shown_, current) == ([third], 1)
    fourth, shown_, focused = seen["fourth"]
    assert (shown_, focused) == ([fourth], fourth)
    likely = [by_id[name].row.probability for name in seen["likely"]]
    assert likely == sorted(likely, reverse=True)
    wrong = [by_id[name].error for name in seen["wrong"]]
    assert wrong == sorted(wrong, reverse=True)
    numbered = [by_id[name].row.row for name in seen["numbered"]]
    assert numbered == sorted(numbered)
    found, shown_ = seen["found"]
    assert found == [name for name, each in by_id.items() if IMAGE in each.row.on.values()]
    assert 0 < len(found) < len(by_id)
    assert shown_[0] in found
    assert seen["said"] == f"{len(found)} of {len(by_id)} rows"
    assert seen["none"] == []
    both, some = seen["kinds"]
    assert set(both) >= {"field", "rest"}
    assert "field" not in some


@pytest.mark.slow
@needs_browser
def test_a_dark_system_gives_a_dark_page(shown, tmp_path):
    drive = """return [getComputedStyle(document.body).backgroundColor,
      document.getElementById("theme").textContent];"""
    dark = ["--blink-settings=preferredColorScheme=0"]
    assert browse(shown[0], 1280, tmp_path, drive, dark)["driven"] == ["rgb(16, 20, 24)", "light"]


@pytest.mark.slow
@needs_browser
def test_a_script_that_is_not_of_the_page_does_not_run(shown, tmp_path):
    """Even if a name were written into the page as it is."""
    run = "document.title = 'run'"
    hostile = f'<svg onload="{run}"></svg><script>{run}</script>'
    text = shown[0].replace("<main", f"{hostile}<main", 1)
    seen = browse(text, 1280, tmp_path, refused="Content Security Policy")
    assert seen["title"].startswith("DeepFM: ")


def test_names_and_values_are_no_markup(shown):
    text, _, picked = shown
    assert SCRIPT not in text
    assert IMAGE not in text
    assert text.count("</script>") == text.count("<script")
    assert len(text) < 3e6
    assert any(IMAGE in each.row.on.values() for each in picked.rows)
    assert "&lt;img src=x onerror=" in text


def test_the_first_screen_answers(shown):
    text, scores, _ = shown
    cards = re.findall(r'<section class="card[^"]*"><h2>(.*?)</h2>', text)
    assert cards == ["Is it good?", "What does it use?", "Can I trust it?"]
    first = text[: text.index('<section class="chapter"')]
    overall = scores.overall
    assert f"{overall.auc:.4f} <small>± {1.96 * overall.auc_error:.4f}" in first
    assert f"{overall.logloss:.4f} <small>± {1.96 * overall.logloss_error:.4f}" in first
    assert f"{scores.explanation.importance[0].logloss:+.4f}" in first
    assert "300 validation rows" in first
    assert first.index("Is it good?") < first.index("What does it use?")


def test_headings_follow_each_other(shown):
    levels = [int(level) for level in re.findall(r"<h(\d)", shown[0])]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(second <= first + 1 for first, second in pairwise(levels))


def test_every_link_has_a_target_and_every_input_a_label(shown):
    text = shown[0][: shown[0].index("<script>")]
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(ids)
    inputs = re.findall(r"<(?:input|select)\b", text)
    labelled = re.findall(r"<label[^>]*>[^<]*<(?:input|select)\b", text)
    assert len(inputs) == len(labelled) > 0


def test_options_that_differ_from_the_defaults_come_first(shown):
    text = shown[0]
    start = text.index("options that differ from the defaults")
    table = text[start : text.index("</table>", start)]
    named = re.findall(r"<tr><td class=word>(.*?)</td>", table)
    assert named == ["learning_rate", "embedding_dim", "embedding_std", "hidden_units"]
    assert ">all options</h3>" in text


# Its parts


def test_formulas_are_set_and_markup_is_rendered():
    assert formula("sum_{f<g} <e_f, e_g> + v^T MLP(x)") == (
        "&sum;<sub><i>f</i>&lt;<i>g</i></sub> &lang;<i>e</i><sub><i>f</i></sub>, "
        "<i>e</i><sub><i>g</i></sub>&rang; + <i>v</i><sup><i>T</i></sup> MLP(<i>x</i>)"
    )
    assert formula("h_i,t of e^L_1") == (
        "<i>h</i><sub><i>i</i>,<i>t</i></sub> of <i>e</i><sup><i>L</i></sup><sub>1</sub>"
    )
    assert formula("expert i's GRU") == "expert <i>i</i>&#x27;s GRU"
    said = marked("where e_f is of *Deep & Cross* in `a_b` of runs/a_b, 2 * 3 * 4")
    assert said == (
        "where <i>e</i><sub><i>f</i></sub> is of <em>Deep &amp; Cross</em> in <code>a_b</code> of "
        "runs/a_b, 2 * 3 * 4"
    )


@pytest.mark.parametrize("form", ["{}", "    {}", "`{}`", "*{}*", "x_{}"])
@pytest.mark.parametrize("name", [SCRIPT, IMAGE])
def test_a_description_is_no_markup(form, name):
    html = Prose(form.format(name)).html()
    assert "<script" not in html
    assert "<img" not in html


def test_parts_escape_what_they_are_given():
    tile = Tile(IMAGE, IMAGE, IMAGE, [IMAGE], Scale(0, 1, 0.5, 0.1, (IMAGE, IMAGE)))
    parts = [
        Bars([Bar(IMAGE, -1.0, IMAGE, 0.5, IMAGE, "field")], IMAGE, IMAGE),
        Tiles([tile]),
        Checks([Check(IMAGE, good, IMAGE) for good in (True, False, None)]),
    ]
    text = page(IMAGE, [IMAGE], [Section(IMAGE, [*parts, IMAGE], IMAGE, folded=True)])
    assert "<img" not in text
    assert text.count("&lt;img") >= 17


def test_a_page_without_plots_is_small_and_titles_may_be_equal():
    table = text_table("a table", ("name", "value"), [("<b>", 1), ("all", 2)], sums=1)
    text = page("title", [], [Section("same", [table]), Section("same", ["<b>"])])
    assert len(text) < 60_000
    assert 'id="s-same"' in text
    assert 'id="s-same-"' in text
    assert "<tfoot><tr><td class=word>all</td>" in text


def test_bars_end_where_their_values_are():
    html = Bars([Bar("a", 2.0, "2"), Bar("b", -1.0, "-1"), Bar("c", 0.5, "0.5", 0.5)]).html()
    drawn = re.findall(r'<b class="(\w+)" style="left:([\d.]+)%;width:([\d.]+)%">', html)
    assert drawn == [
        ("up", "33.33", "66.67"),
        ("down", "0.00", "33.33"),
        ("up", "33.33", "16.67"),
    ]
    assert re.findall(r'<s style="left:([\d.]+)%;width:([\d.]+)%">', html) == [("33.33", "33.33")]


def test_data_of_plots_are_json_that_no_name_can_end(shown):
    blocks = re.findall(r'class="plot-data"[^>]*>(.*?)</script>', shown[0], re.DOTALL)
    assert len(blocks) == 5
    for block in blocks:
        assert "<" not in block
        json.loads(block)
