"""`inspect` of a glass box: what each term adds, and over which values, is what the model adds."""

import json
import math
from dataclasses import asdict

import pytest
import torch
from support.browsing import browse, needs_browser
from support.explained_rows import encoder as encoder_in
from support.glass_boxes import AGE, BOX, CITY, HOUR, TAGS, TERMS, GlassBox, glass_box, rows_of_box
from support.inspection import Given, lightning_warnings, shown
from support.small_checkpoints import row_batch, saved, small

from zoo import Batch, Field, Schema
from zoo.inspect import load
from zoo.inspect.chapters import TERMS as CHAPTER
from zoo.inspect.report import report
from zoo.inspect.scores import score
from zoo.inspect.with_data.explanation import explain
from zoo.inspect.with_data.term_figures import figures_of
from zoo.inspect.with_data.term_shapes import POINTS
from zoo.inspect.with_data.terms import DRAWN, sections, terms_of

pytestmark = lightning_warnings
NAMES = [" x ".join(fields) for fields in TERMS]


@pytest.fixture(scope="module")
def box():
    return glass_box(), rows_of_box(1500)


@pytest.fixture(scope="module")
def found(box):
    return {term.name: term for term in terms_of(*box)}


def added(box, name):
    model, batch = box
    with torch.no_grad():
        return model.contributions(batch)[:, NAMES.index(name)].double()


def id_of(name):
    """The id that a value without a name is shown as."""
    special = {"(unknown)": 0, "(missing)": 1, "(none)": -2}
    return special[name] if name in special else int(name.removeprefix("id "))


def rows_with(batch, name, i):
    return batch.inputs(BOX)[name] == i


def test_strength_is_that_of_the_rows_and_the_strongest_come_first(box, found):
    assert {*found} == {*NAMES}
    spreads = [term.spread for term in found.values()]
    assert spreads == sorted(spreads, reverse=True)
    for name, term in found.items():
        mine = added(box, name)
        assert term.spread == pytest.approx(float(mine.std(correction=0)))
        assert term.size == pytest.approx(float(mine.abs().mean()))
        assert (term.mean, term.lowest, term.highest) == pytest.approx(
            (float(mine.mean()), float(mine.min()), float(mine.max()))
        )


def test_a_curve_is_the_function_of_the_model(box, found):
    model, batch = box
    curve = found[AGE].shape.curve
    numbers, lost = batch.numerical[:, 0], batch.numerical[:, 1] > 0.5
    assert len(curve.values) == POINTS
    assert curve.values[0] == float(numbers[~lost].min())
    assert curve.values[-1] == float(numbers[~lost].max())
    assert [*curve.values] == sorted({*curve.values})
    for number, height in zip(curve.values, curve.contributions, strict=True):
        one = batch._replace(numerical=torch.tensor([[number, 0.0]]).expand(1500, 2))
        assert height == pytest.approx(model.contributions(one)[0, 0].item(), abs=1e-6)
    assert sum(curve.counts) == int((~lost).sum())
    assert curve.missing.rows == int(lost.sum())
    assert curve.missing.mean == pytest.approx(float(added(box, AGE)[lost].mean()))


def test_bars_are_of_the_most_frequent_and_the_most_extreme_values(box, found):
    _, batch = box
    levels = found[CITY].shape.levels
    counts = rows_with(batch, CITY, torch.arange(60).unsqueeze(1)).sum(1)
    for level in levels.levels:
        mine = added(box, CITY)[rows_with(batch, CITY, id_of(level.name))]
        assert level.rows == len(mine) == counts[id_of(level.name)]
        assert level.mean == pytest.approx(float(mine.mean()), abs=1e-6)
        assert level.spread == pytest.approx(0, abs=1e-6)
    kinds = [level.kind for level in levels.levels]
    assert kinds == ["frequent"] * 10 + ["extreme"] * 10 + ["special"] * 2
    assert len(kinds) + levels.others == int((counts > 0).sum())
    least = min(level.rows for level in levels.levels[:10])
    rest = [id_of(level.name) for level in levels.levels[10:20]]
    assert all(counts[i] <= least for i in rest)
    of_rest = {id_of(level.name): level.mean for level in levels.levels[10:20]}
    others = {*range(2, 60)} - {id_of(level.name) for level in levels.levels}
    table = box[0].tables[1]
    assert all(table[i] <= min(list(of_rest.values())[:5]) + 1e-6 for i in others if counts[i] > 0)


def test_values_of_lists_are_means_with_a_spread(box, found):
    _, batch = box
    lists = batch.inputs(BOX)[TAGS]
    for level in found[TAGS].shape.levels.levels:
        here = (lists == id_of(level.name)).any(1)
        if level.name == "(none)":
            here = (lists < 0).all(1)
        mine = added(box, TAGS)[here]
        assert (level.rows, level.mean) == (len(mine), pytest.approx(float(mine.mean())))
        assert level.spread == pytest.approx(float(mine.std(correction=0)), abs=1e-9)


def test_cells_are_means_of_their_rows_and_none_without_any(box, found):
    _, batch = box
    name = f"{CITY} x {HOUR}"
    (cells,) = found[name].shape.cells
    assert cells.fields == (CITY, HOUR)
    assert len(cells.rows) == len(cells.columns) == 13
    assert cells.rows[-1] == "(48 others)"
    assert sum(map(sum, cells.counts)) == 1500
    assert any(x is None for row in cells.means for x in row)
    for g, row in enumerate(cells.rows[:-1]):
        for h, column in enumerate(cells.columns[:-1]):
            here = rows_with(batch, CITY, id_of(row)) & rows_with(batch, HOUR, id_of(column))
            assert cells.counts[g][h] == int(here.sum())
            if not here.any():
                assert cells.means[g][h] is None
                continue
            mine = added(box, name)[here]
            assert cells.means[g][h] == pytest.approx(float(mine.mean()), abs=1e-6)


def test_numbers_of_a_pair_are_in_bins_and_missing_apart(box, found):
    (cells,) = found[f"{AGE} x {HOUR}"].shape.cells
    assert len(cells.rows) == 11
    assert cells.rows[0].startswith("<= ")
    assert cells.rows[-1] == "(missing)"
    there = [sum(row) for row in cells.counts[:-1]]
    assert max(there) - min(there) <= 2
    assert sum(cells.counts[-1]) == int((box[1].numerical[:, 1] > 0.5).sum())


def test_a_triple_is_drawn_by_the_values_of_one_field(found):
    slices = found[f"{AGE} x {CITY} x {HOUR}"].shape.cells
    assert [cells.given.partition(":")[0] for cells in slices] == [AGE] * 4
    assert sum(sum(map(sum, cells.counts)) for cells in slices) == 1500


def test_what_is_drawn_are_those_numbers(found):
    for name, term in found.items():
        for figure, cells in zip(figures_of(name, term.shape), term.shape.cells, strict=False):
            plot = figure.draw()
            assert [[*row] for row in plot.data[-1].z] == [[*row] for row in cells.means]
            assert plot.data[-1].zmax == -plot.data[-1].zmin
            if any(None in row for row in cells.means):
                grey = [[x is None for x in row] for row in plot.data[0].z]
                assert grey == [[x is not None for x in row] for row in cells.means]
            else:
                assert len(plot.data) == 1
    curve = found[AGE].shape.curve
    plot = figures_of(AGE, found[AGE].shape)[0].draw()
    assert ([*plot.data[0].x], [*plot.data[0].y]) == ([*curve.values], [*curve.contributions])
    levels = found[CITY].shape.levels.levels
    plot = figures_of(CITY, found[CITY].shape)[0].draw()
    drawn = [x for bars in plot.data for x in bars.x]
    assert drawn == [level.mean for level in levels]


def test_terminal_json_and_page_say_the_same(box, tmp_path):
    _, batch = box
    path = saved(GlassBox(BOX, TERMS), tmp_path / "box.ckpt")
    checkpoint = load(path)
    scores = score(checkpoint, Given(BOX, [batch]), sample=1500)
    text, plain = shown(scores), json.loads(json.dumps(asdict(scores)))["explanation"]["terms"]
    page = report(checkpoint, scores)
    for term in plain:
        assert f"{term['spread']:.4f}" in text
        for level in (term["shape"]["levels"] or {"levels": []})["levels"]:
            assert f"{level['mean']:+.4f}" in text
            assert f"{level['mean']:+.4f}" in page
    assert "what it adds, the 22 most frequent and most extreme" in text
    assert "&lt;b&gt;city&lt;/b&gt; x [red]hour[/red]" in page
    assert "<b>city" not in page
    assert "Terms, by how much what they add" in page


@needs_browser
@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_draws_all_on_a_phone_and_a_desk(box, tmp_path, width):
    path = saved(GlassBox(BOX, TERMS), tmp_path / "box.ckpt")
    checkpoint = load(path)
    scores = score(checkpoint, Given(BOX, [box[1]]), sample=1500)
    seen = browse(report(checkpoint, scores), width, tmp_path)
    assert seen["right"] <= width
    assert seen["requests"] == seen["marked"] == 0
    assert len(seen["plots"]) >= len(TERMS) + 4  # one of a triple for each slice
    assert all(seen["plots"])


def test_values_have_the_names_of_the_encoder(tmp_path):
    fields = (Field("[red]c0[/red]", "categorical", 7), Field("<b>c1</b>", "categorical", 5))
    schema = Schema(fields)
    model = GlassBox(schema, [["[red]c0[/red]"], ["<b>c1</b>"]]).eval()
    batch = row_batch(schema)
    batch = batch._replace(categorical=torch.tensor([[6, 2], [0, 0]] * 8))
    first, second = sorted(terms_of(model, batch, encoder_in(tmp_path)), key=lambda t: t.name)[::-1]
    assert [level.name for level in first.shape.levels.levels] == ["six", "(unknown)"]
    assert [level.name for level in second.shape.levels.levels] == ["<i>two</i>", "(unknown)"]


def test_numbers_are_those_of_the_table_and_bins_stand_in_their_order(box, found, tmp_path):
    said = {
        "format": 1,
        "options": {"fields": [{"name": AGE, "transform": "log"}]},
        "edges": {HOUR: [1.0]},
        "schema": {"fields": []},
    }
    (tmp_path / "encoder.json").write_text(json.dumps(said))
    model, batch = box
    model = GlassBox(BOX, [[AGE], [HOUR], [AGE, HOUR]]).eval()
    named = {term.name: term for term in terms_of(model, batch, tmp_path)}
    curve = named[AGE].shape.curve
    assert curve.values == found[AGE].shape.curve.values
    assert curve.raw == pytest.approx([math.copysign(math.expm1(abs(x)), x) for x in curve.values])
    assert found[AGE].shape.curve.raw == ()
    plot = figures_of(AGE, named[AGE].shape)[0].draw()
    assert plot.layout.xaxis.title.text == AGE
    assert {"-10", "0", "10"} <= {*plot.layout.xaxis.ticktext}
    assert plot.data[0].x == curve.values
    levels = [level.name for level in named[HOUR].shape.levels.levels]
    assert levels == [*(f"id {i}" for i in range(2, 26)), "(unknown)", "(missing)"]
    (cells,) = named[f"{AGE} x {HOUR}"].shape.cells
    assert len(cells.columns) == 26


@pytest.mark.parametrize("value", [0.0, 3.0, math.nan])
def test_a_number_of_one_value_is_one_bar(value):
    schema = Schema((Field("n", "numerical"), Field("c", "categorical", 3)))
    model = GlassBox(schema, [["n"], ["n", "c"]]).eval()
    numbers, ids = torch.full((16, 1), value), torch.ones(16, 1).int()
    single, pair = sorted(
        terms_of(model, Batch(numbers, ids, torch.zeros(16))), key=lambda term: term.name
    )
    (level,) = single.shape.levels.levels
    assert (level.name, level.rows) == ("(missing)" if math.isnan(value) else f"{value:g}", 16)
    (cells,) = pair.shape.cells
    assert (cells.counts, cells.columns) == (((16,),), ("(missing)",))
    assert figures_of("n", single.shape)[0].draw().data[0].x == (level.mean,)


def test_terms_that_are_off_come_last_and_have_no_shape(box):
    _, batch = box
    model = glass_box()
    model.switch([AGE, TAGS], False)
    found = terms_of(model, batch)
    assert {term.name for term in found[-2:]} == {AGE, TAGS}
    assert all(not term.on and term.shape is None and term.spread == 0 for term in found[-2:])
    overview, *drawn = sections(found)
    assert f"{AGE} (off)" in shown(overview.content[1])
    assert len(drawn) == len(TERMS) - 2


def test_of_many_terms_the_strongest_are_drawn():
    names = [f"field {i} with a name that is rather long" for i in range(25)]
    fields = [Field(name, "categorical", 4) for name in names]
    schema = Schema(tuple(fields))
    model = GlassBox(schema, [[name] for name in names]).eval()
    found = terms_of(model, row_batch(schema))
    assert [term.shape is not None for term in found] == [True] * DRAWN + [False] * 5
    overview, *drawn = sections(found)
    assert len(overview.content[1].rows) == 25
    assert [section.title for section in drawn] == [term.name for term in found[:DRAWN]]
    assert {section.chapter for section in drawn} == {CHAPTER}


def test_of_another_model_there_is_nothing():
    model = small("DeepFM").eval()
    batch = row_batch()
    assert model.terms == ()
    assert model.contributions(batch).shape == (16, 0)
    assert not explain(model, [batch], 16).terms
    assert not [*sections(())]
