"""`explain` of a glass box: exactly what its terms add, without a perturbation."""

import json
import math

import pytest
import torch
from support.glass_boxes import AGE, CITY, HOUR, TAGS, TERMS, GlassBox, glass_box, rows_of_box
from support.inspection import shown
from support.small_checkpoints import SESSIONS, session_batch

import zoo
from zoo import ZooError
from zoo.data.batch import take
from zoo.glider.scoring import NotFinite
from zoo.inspect.explained_row import LINES
from zoo.inspect.explained_rows import ExplainedRows
from zoo.inspect.picked_rows import PickedRows
from zoo.inspect.report import report
from zoo.inspect.row_picker import PickedRow, RowPicker
from zoo.run.explaining.exact import ExactExplainer
from zoo.run.explaining.row import explained_row

SCRIPT = "<script>run()</script>"


def explained(model, batch, number=0, on=None):
    explainer = ExactExplainer(model)
    ((_, found),) = explainer.explain_each(
        explainer.instances(take(batch, slice(number, number + 1)))
    )
    words = {AGE: -0.5, CITY: SCRIPT, HOUR: "7", TAGS: "a, b"} if on is None else on
    return explained_row(model, found, "<b>rows</b>", number, words, {})


@pytest.fixture(scope="module")
def box():
    return glass_box(), rows_of_box(40)


def test_lines_are_what_the_terms_add_and_sum_up_to_the_logit(box):
    model, batch = box
    frame = zoo.explain(model, batch)  # which needs no means
    with torch.no_grad():
        logits, added = model(batch).double(), model.contributions(batch).double()
    for row in range(40):
        mine = frame.loc[row].set_index("fields").contribution
        assert mine.sum() == pytest.approx(float(logits[row]), abs=1e-12)
        assert mine["(intercept)"] == pytest.approx(-0.5, abs=1e-6)
        for place, fields in enumerate(TERMS):
            assert mine[" x ".join(fields)] == float(added[row, place])
        sizes = mine.iloc[1:].abs().tolist()
        assert sizes == sorted(sizes, reverse=True)
    assert (frame.error == 0).all()
    assert frame.share.isna().all()


def test_a_row_is_shown_with_values_and_without_a_rest(box):
    row = explained(*box, number=3)
    lines = row.lines()
    assert sum(line.contribution for line in lines) == pytest.approx(row.logit)
    assert len(lines) == len(TERMS) + 1
    text = shown(row)
    assert "exactly the sum of the terms below and a constant" in text
    for absent in ("R^2", "(rest)", "error", "share"):
        assert absent not in text
    assert f"{SCRIPT} x 7" in text
    plain = json.loads(json.dumps(row.to_dict(), allow_nan=False))
    assert plain["exact"]
    parts = [*plain["fields"], *plain["interactions"], plain["intercept"]]
    assert sum(part["contribution"] for part in parts) == pytest.approx(plain["logit"])
    (bars,) = row.sections().__next__().content[3].draw().data
    assert bars.x[-1] == pytest.approx(row.logit)
    page = report(row)
    assert SCRIPT not in page
    assert "Each contribution is exactly what a term of the model adds" in page
    assert not [*row.labelled_warnings()]


def test_rows_to_choose_from_and_means_of_many(box):
    model, batch = box
    picked = [PickedRow(explained(model, batch, i), "random") for i in range(4)]
    rows = PickedRows("rows", tuple(picked))
    (section,) = rows.sections()
    assert "exactly what each term of the model adds" in section.page[0]
    page = RowPicker(picked).html()
    assert "the sum of its terms" in page
    assert "the rest" not in page
    assert "95 % intervals" not in page
    many = ExplainedRows("GlassBox", "rows")
    for each in picked:
        many.add(each.row)
    assert "each exactly the sum of the terms" in shown(many)
    mean = sum(abs(p.row.contributions[0].contribution) for p in picked) / 4
    largest = many.means(False)[0][2], many.means(True)[0][2]
    assert max(largest) <= mean + 1e-9


def test_of_many_terms_the_smaller_ones_are_one_line():
    schema = zoo.Schema(tuple(zoo.Field(f"f{i}", "numerical") for i in range(LINES + 5)))
    model = GlassBox(schema, [[field.name] for field in schema.fields]).eval()
    numbers = torch.randn(1, LINES + 5)
    batch = zoo.Batch(numbers, torch.zeros(1, 0).int(), torch.ones(1))
    row = explained(model, batch, on={})
    assert len(row.lines()) == LINES + 2
    assert sum(line.contribution for line in row.lines()) == pytest.approx(row.logit)
    assert "(5 smaller ones)" in RowPicker([PickedRow(row, "random")]).html()


def test_terms_that_are_off_add_nothing_and_are_left_out(box):
    model, batch = glass_box(), box[1]
    model.switch([CITY], False)
    frame = zoo.explain(model, batch)
    assert CITY not in {*frame.fields}
    with torch.no_grad():
        logits = model(batch).double()
    assert frame.groupby(level=0).contribution.sum().tolist() == pytest.approx(logits.tolist())


def test_a_logit_that_is_not_finite_is_an_error(box):
    model = glass_box()
    with torch.no_grad():
        model.tables[0].fill_(math.nan)
    explainer = ExactExplainer(model)
    one = take(box[1], slice(0, 1))
    ((_, found),) = explainer.explain_each(explainer.instances(one))
    assert isinstance(found, NotFinite)
    with pytest.raises(ZooError, match="its logit is nan"):
        zoo.explain(model, one)


def test_sessions_are_refused():
    model = GlassBox(SESSIONS, [["position"]]).eval()
    with pytest.raises(ZooError, match="the terms of a model are of rows, and these are sessions"):
        zoo.explain(model, session_batch())
