"""How an explained prediction is shown: lines that add up, names that are text, pictures."""

import math

import pytest
from support.inspection import shown

from zoo.inspect.explained_row import (
    LINES,
    Contribution,
    ExplainedRow,
    RSquared,
    Weaker,
)
from zoo.inspect.explained_rows import ExplainedRows
from zoo.inspect.report import report

SCRIPT = "<script>document.title = 'run'</script>"


def row(fields=3, r2=0.95, weaker=5):
    """A row whose contributions are 1, 1/2, 1/3, .., of fields and a pair of the first two."""
    names = [SCRIPT, "[red]b[/red]", *(f"f{i}" for i in range(2, fields))]
    sets = [*((name,) for name in names), tuple(names[:2])]
    found = tuple(Contribution(s, 1 / (i + 1), 0.01, 0.1) for i, s in enumerate(sets))
    intercept, others = Contribution((), -1.0, 0.01, None), Weaker(weaker, 0.25, 0.02, 0.01)
    logit = -1 + sum(c.contribution for c in found) + 0.25 * bool(weaker) + 0.125
    return ExplainedRow(
        model="DeepFM",
        source="<b>clicks</b>",
        row=7,
        position=None,
        label=1.0,
        logit=logit,
        intercept=intercept,
        contributions=found,
        weaker=Weaker(0, 0.0, 0.0, 0.0) if not weaker else others,
        rest=0.125,
        r2=RSquared(0.97, 0.9, r2),
        masks=(1500, 499),
        on={SCRIPT: SCRIPT, "[red]b[/red]": 1.5},
        off={SCRIPT: "zero embedding", "[red]b[/red]": 0.5},
        attribution={"<i>few</i>": 0.25, "all": 0.75},
    )


@pytest.mark.parametrize("fields", [2, 3, LINES, LINES + 7])
@pytest.mark.parametrize("weaker", [0, 5])
def test_lines_add_up_to_the_logit(fields, weaker):
    found = row(fields, weaker=weaker)
    for lines in (found.lines(), found.all_lines()):
        assert sum(line.contribution for line in lines) == pytest.approx(found.logit)
        assert math.isnan(lines[-1].error)
    assert len(found.lines()) <= LINES + 4
    assert found.probability == pytest.approx(1 / (1 + math.exp(-found.logit)))


def test_the_plain_data_add_up_too():
    plain = row().to_dict()
    parts = [*plain["fields"], *plain["interactions"], plain["intercept"], plain["weaker"]]
    assert sum(part["contribution"] for part in parts) + plain["rest"] == pytest.approx(
        plain["logit"]
    )
    assert plain["fields"][1]["on"] == 1.5


def test_the_waterfall_ends_at_the_logit():
    found = row(LINES + 3)
    waterfall = found.sections().__next__().content[3].draw()
    (bars,) = waterfall.data
    ends = [base + x for base, x in zip(bars.base, bars.x, strict=True)]
    assert ends[-2:] == pytest.approx([found.logit] * 2)
    assert list(bars.base[1:-1]) == pytest.approx(ends[:-2])


def test_the_matrix_is_symmetric():
    _, section, _ = row().sections()
    (heat,) = section.content[0].draw().data
    assert [list(line) for line in heat.z] == [[1, 0.25], [0.25, 0.5]]


def test_names_are_no_markup():
    page, text = report(row(), row()), shown(row())
    assert SCRIPT not in page
    assert "<b>clicks" not in page
    assert "<i>few" not in page
    assert "[red]b[/red]" in text
    assert "the share of each expert in the prediction" in text


def test_a_poor_explanation_is_warned_of():
    assert "warning" not in shown(row())
    assert "explain 50.0% of what the model does around it" in shown(row(r2=0.5)).replace("\n", " ")


def test_means_of_many_rows():
    found = ExplainedRows("DeepFM", "clicks")
    found.add(row(3))
    found.add(row(4))
    fields, pairs = found.means(False), found.means(True)
    assert [(name, count, size) for name, count, size, *_ in fields[:2]] == [
        (SCRIPT, 2, 1.0),
        ("[red]b[/red]", 2, 0.5),
    ]
    assert fields[3][1:3] == (1, 0.125)  # in one of two rows
    assert pairs[0][1:3] == (2, pytest.approx((1 / 4 + 1 / 5) / 2))
    assert "2 predictions of clicks" in shown(found)
