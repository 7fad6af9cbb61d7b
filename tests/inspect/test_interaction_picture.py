"""`inspect`: what is shown of interactions with shares: table, network, matrix, strongest rows."""

import json
import re

import pytest
import torch
from support.browsing import browse, needs_browser
from support.explained_rows import encoder, rows
from support.inspection import Given, command, lightning_warnings, shown
from support.small_checkpoints import ROWS

from zoo import ZooError
from zoo.data.batch import concatenate
from zoo.data.interaction import Interaction, Main
from zoo.data.interactions import write_interactions
from zoo.inspect import interaction_figures, load
from zoo.inspect.interactions import interactions_in
from zoo.inspect.network import Edge, circle, network
from zoo.inspect.page import Figure
from zoo.inspect.report import report
from zoo.run.inspect_data import with_values

pytestmark = lightning_warnings
NAMES = ["n0", "[red]c0[/red]", "<b>c1</b>"]


def found(one, other, share, q, effect, **more):
    ends = {"effect_low": effect - 0.1, "effect_high": effect + 0.1}
    ends |= {"size": 0.6, "share_low": share / 2, "share_high": share * 2}
    fields = [NAMES[one], NAMES[other]]
    return {"fields": fields, "count": 7, "share": share, "q": q, "effect": effect, **ends, **more}


class Encoded(Given):
    """Data with an encoder."""

    encoder_folder = None


@pytest.fixture
def detected(tmp_path):
    """A file with shares, of eight rows."""
    strongest = [{"row": 5, "effect": -0.9, "error": 0.01}, {"row": 2, "effect": 0.8}]
    content = {
        **{"model": "DeepFM", "detector": "walsh", "instances": 7},
        "fidelity": {"all": 0.99, "linear": 0.9, "with_interactions": 0.97},
        **{"fields": NAMES, "matrix": [[0.5, 0.03, 0], [0.03, 0.3, 0.01], [0, 0.01, 0.1]]},
        "mains": [{"field": name, "effect": -1.5, "share": 0.25} for name in NAMES],
        "interactions": [
            found(0, 1, 0.03, 1e-9, 0.5, strongest=strongest),
            found(1, 2, 0.01, 0.2, 0.0, strongest=[{"row": 1, "effect": 0.1, "error": 0.1}]),
        ],
    }
    write_interactions(tmp_path / "interactions.json", content)
    return tmp_path / "interactions.json"


def test_shares_and_effects_have_intervals(detected, checkpoint_of, tmp_path, capsys):
    checkpoint = checkpoint_of("DeepFM")
    capsys.readouterr()
    command(checkpoint, "--interactions", detected, "--html", tmp_path / "r.html")
    text = capsys.readouterr().out
    row = r"n0 x \[red\]c0\[/red\] +│ +7 │ 3.00% │ 1.50% .. 6.00% │ 0.600 │ \+0.500 │"
    assert re.search(row + r" \+0.400 .. \+0.600 │ 1e-09 │", text)
    assert re.search(r"n0 x \[red\]c0\[/red\] │ +5 │ -0.900 │ 0.010 │", text)
    assert re.search(r"n0 x \[red\]c0\[/red\] │ +2 │ \+0.800 │ +- │", text)
    assert "│   1 │" not in text  # a row of what may be chance
    assert re.search(r"n0 +│ 25.00% │ -1.500 │", text)
    page = (tmp_path / "r.html").read_text()
    for title in ("network", "strength", "count against rank", "strongest rows"):
        assert f">{title}</h3>" in page
    assert "R^2 of the scores around a row: 0.900 fields alone, 0.970 with these" in page
    assert "<b>c1</b>" not in page
    command(checkpoint, "--interactions", detected, "--json")
    plain = json.loads(capsys.readouterr().out)["interactions"]
    assert plain["matrix"][0] == [0.5, 0.03, 0]
    assert plain["found"][0]["strongest"][0] == {"row": 5, "effect": -0.9, "error": 0.01}


def test_the_strongest_rows_show_their_values(detected, checkpoint_of, tmp_path):
    """By their numbers in the validation split."""
    data = Encoded(ROWS, [rows(6), rows(9)])
    data.encoder_folder = encoder(tmp_path / "encoder")
    listed = interactions_in(detected, ROWS)
    seen = with_values(listed, load(checkpoint_of("DeepFM")), data)
    drawn = concatenate([*data.val_dataloader()])
    assert sorted(seen.values) == [1, 2, 5]
    for row, values in seen.values.items():
        assert values["n0"] == float(drawn.numerical[row, 0])
        name = {6: "six"}.get(i := int(drawn.categorical[row, 0]), f"id {i}")
        assert values["[red]c0[/red]"] == name
    first = f"n0={seen.values[5]['n0']:.4g}, [red]c0[/red]={seen.values[5]['[red]c0[/red]']}"
    assert first in shown(seen)
    without = Given(ROWS, [rows(5)])
    with pytest.raises(ZooError, match="row 5 is one of its rows, and these have 5 validation"):
        with_values(listed, load(checkpoint_of("DeepFM")), without)


@needs_browser
def test_a_browser_draws_shares_network_matrix_and_counts(detected, tmp_path):
    page = report(interactions_in(detected, ROWS))
    assert len(browse(page, 390, tmp_path)["plots"]) == 4


def test_what_several_checkpoints_have_learned(detected):
    content = json.loads(detected.read_text())
    content["checkpoints"] = ["<b>1.ckpt", "2.ckpt"]
    for entry, learned in zip(content["interactions"], (2, 1), strict=True):
        each = [{"share": 0.01 * (i + 1), "q": 0.01 if i < learned else 1} for i in range(2)]
        entry |= {"checkpoints": each, "spread": 0.007, "agreement": 0.5}
    detected.write_text(json.dumps(content))
    found = interactions_in(detected, ROWS)
    text = re.sub(" +", " ", shown(found))
    assert "│ n0 x [red]c0[/red] │ 2 of 2 │ 1.00% │ 2.00% │ 0.70% │ 0.50 │" in text
    assert "│ [red]c0[/red] x <b>c1</b> │ 1 of 2 │ 1.00% │ 2.00% │" in text
    assert "1: &lt;b&gt;1.ckpt; 2: 2.ckpt" in report(found)
    (figure,) = [c for c in [*found.sections()][1].content if isinstance(c, Figure)]
    (drawn,) = figure.draw().data
    assert drawn.x == (0.01, 0.02, 0.01, 0.02)
    assert drawn.marker.color == ("#4c8bf5", "#4c8bf5", "#e8833a", "#e8833a")
    many = [{"share": 0.01 * i, "q": 1} for i in range(1, 9)]
    content["checkpoints"] = [f"{i}.ckpt" for i in range(8)]
    for entry in content["interactions"]:
        entry["checkpoints"] = many
    detected.write_text(json.dumps(content))
    text = re.sub(" +", " ", shown(interactions_in(detected, ROWS)))
    assert "│ 0 of 8 │ 1.00% │ 8.00% │" in text


@pytest.mark.parametrize("change", [{"fields": ["n0", "C7", "C8"]}, {"mains": [{"field": "C7"}]}])
def test_a_picture_of_other_fields_is_refused(detected, change):
    detected.write_text(json.dumps(json.loads(detected.read_text()) | change))
    with pytest.raises(ZooError, match="names an unknown field: C7; the file is of other data"):
        interactions_in(detected, ROWS)


# Figures


def item(*fields, share=0.1, q=0.0, effect=0.0):
    return Interaction(fields, 5, q=q, share=share, effect_low=effect - 1, effect_high=effect + 1)


def test_a_network_has_a_line_for_each_pair_and_an_area_for_more():
    mains = [Main("a", share=0.4), Main("b", share=0.1), Main("z", share=0.9)]
    listed = [item("a", "b", share=0.4, effect=2), item("b", "c", effect=-2), item("a", "b", "c")]
    listed.append(item("a", "c", q=0.5))  # may be chance
    plot = interaction_figures.network(listed, mains).draw()
    area, thin, wide, middles, points = plot.data
    assert (area.fill, thin.fill, wide.fill) == ("toself", None, None)
    assert (thin.line.color, wide.line.color) == ("#e8833a", "#4c8bf5")
    assert wide.line.width == 2 * thin.line.width - 1  # less the thinnest line; 4 times the share
    assert len(middles.x) == 3
    assert middles.hovertext[0] == "a x b: share 40.00%, q 0"
    assert sorted(points.text) == ["a", "b", "c"]
    sizes = dict(zip(points.text, points.marker.size, strict=True))
    assert sizes["a"] - 8 == 2 * (sizes["b"] - 8) > 0 == sizes["c"] - 8


def test_a_network_is_the_same_each_time_and_puts_what_is_joined_side_by_side():
    edges = [
        Edge((a, b), weight, "red", "")
        for a, b, weight in ("ad1", "be5", "cf3", "da9")
        for weight in [int(weight)]
    ]
    order = circle(edges, {"b": 1.0})
    assert order == circle(edges[::-1], {"b": 1.0})
    assert order[:2] == ["b", "e"]
    assert abs(order.index("a") - order.index("d")) == abs(order.index("c") - order.index("f")) == 1
    names = [f"<i>{i}</i>" for i in range(3)]
    plot = network([Edge(tuple(names), 0.0, "red", "<b>")], {})
    assert "<i>" not in plot.to_json().encode().decode("unicode_escape")


def test_a_matrix_of_many_fields_has_those_that_matter():
    names = [f"f{i}" for i in range(200)]
    matrix = torch.zeros(200, 200)
    matrix[3, 150] = matrix[150, 3] = 0.2
    matrix[7, 9] = matrix[9, 7] = 0.1
    matrix += 0.9 * torch.eye(200)
    plot = interaction_figures.strength(names, matrix.tolist()).draw()
    assert plot.layout.xaxis.ticktext == ("f3", "f7", "f9", "f150")
    assert plot.data[0].z[0][0] is None
    assert plot.data[0].zmax == pytest.approx(0.2)
    few = interaction_figures.strength(names[:3], matrix[:3, :3].tolist()).draw()
    assert (len(few.data[0].z), few.data[0].zmax) == (3, 0)


def test_count_against_rank():
    plot = interaction_figures.ranks([item("a", "b"), item("a", "b", "c", q=1.0)]).draw()
    assert (plot.data[0].x, plot.data[0].y, plot.data[0].text) == ((1, 2), (5, 5), ("", "3"))
    assert plot.data[0].marker.color == ("#4c8bf5", "#808894")
