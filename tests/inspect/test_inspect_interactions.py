"""`inspect`: the interactions of a file."""

import json
import re

import pytest
from support.inspection import changed, command, lightning_warnings, refusal, shown
from support.running import ROOT
from support.small_checkpoints import ROWS

from zoo import ZooError
from zoo.data.interactions import write_interactions
from zoo.glider.detector import Result
from zoo.glider.surrogates.counts import summarise
from zoo.inspect.interactions import interactions_in

pytestmark = lightning_warnings


@pytest.fixture
def detected(tmp_path):
    """What `detect` writes of three rows."""
    fields = [f.name for f in (*ROWS.numerical, *ROWS.categorical)]
    results = [
        Result(i, found, [[]], (0.9, 0.5, 0.8))
        for i, found in enumerate([[(1, 2), (0, 1)], [(1, 2)], [(1, 2), (0, 1, 2)]])
    ]
    path = tmp_path / "interactions.json"
    write_interactions(path, {"model": "DeepFM", **summarise(results, fields)})
    return path


def test_interactions_are_listed(detected, checkpoint_of, tmp_path, capsys):
    checkpoint = checkpoint_of("DeepFM")
    capsys.readouterr()
    command(checkpoint, "--interactions", detected, "--json", "--html", tmp_path / "r.html")
    found = json.loads(capsys.readouterr().out)["interactions"]
    written = json.loads(detected.read_text())["interactions"]
    assert found["instances"] == 3
    for row, mine in zip(written, found["found"], strict=True):
        assert {k: v for k, v in row.items() if k != "order"}.items() <= mine.items()
    command(checkpoint, "--interactions", detected)
    assert "interactions found in DeepFM, in 3 rows" in capsys.readouterr().out
    text = shown(interactions_in(detected, ROWS))
    assert re.search(r"│ \[red\]c0\[/red\] x <b>c1</b> +│ +3 │ +0 │", text)
    page = (tmp_path / "r.html").read_text()
    assert "<td class=word>[red]c0[/red] x &lt;b&gt;c1&lt;/b&gt;</td><td>3</td>" in page


def test_a_file_of_counts_alone_shows_as_before():
    """As `detect` wrote it before there were effects and shares."""
    found = interactions_in(ROOT / "tests/legacy/interactions.json", ROWS)
    (section,) = found.sections()
    _, table = section.content
    columns = ["fields", "count", "permuted", "p uniform", "p permutation", "q permutation"]
    assert [*table.columns] == columns
    assert table.rows[0][:4] == ["[red]c0[/red] x <b>c1</b>", "3", "0", "0.21"]
    assert [row[1] for row in table.rows] == ["3", "1", "1"]
    assert not any(item.significant for item in found.found)


def test_a_list_by_hand_and_an_empty_one_will_do(detected):
    detected.write_text('{"format": 1, "interactions": [{"fields": ["n0", "<b>c1</b>"]}]}')
    found = interactions_in(detected, ROWS)
    assert (found.found[0].fields, found.found[0].count) == (("n0", "<b>c1</b>"), None)
    assert "n0 x <b>c1</b> │     - " in shown(found)
    detected.write_text('{"format": 1, "interactions": []}')
    found = interactions_in(detected, ROWS)
    assert found.found == ()
    assert "interactions found in a model" in shown(found)
    assert found.figure().draw().data[0].x == ()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "is not JSON (--interactions): "),
        ("[" * 100_000, "is not JSON (--interactions): "),
        ("\udcff", "is not JSON (--interactions): "),
        ("[]", 'is not a file of interactions: it has no "format" (--interactions)'),
        ('{"format": 1}', '"interactions" is not a list'),
        ('{"format": 9, "interactions": []}', "has format 9, this version reads 1"),
        ('{"format": 1, "interactions": [3]}', 'interaction 1 has no "fields", a list'),
        ('{"format": 1, "interactions": [{"fields": [[]]}]}', 'interaction 1 has no "fields"'),
        ('{"format": 1, "interactions": [{"fields": ["n0"]}]}', "has fewer than two fields: n0"),
        (
            '{"format": 1, "interactions": [{"fields": ["n0", "C7"]}]}',
            "interaction 1 names an unknown field: C7; the file is of other data, or of crosses",
        ),
        (
            '{"format": 1, "interactions": [{"fields": ["n0", "<b>c1</b>"], "count": "many"}]}',
            "interaction 1 has no number as its count: 'many'",
        ),
        (
            '{"format": 1, "interactions": [{"fields": ["n0", "<b>c1</b>"], "p_uniform": NaN}]}',
            "interaction 1 has no number as its p_uniform: nan",
        ),
    ],
)
def test_a_file_that_holds_no_interactions(content, sentence, tmp_path):
    path = tmp_path / "interactions.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ZooError) as error:
        interactions_in(path, ROWS)
    assert str(error.value).startswith(str(path))
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_interactions_need_a_file_and_one_checkpoint(copy_of, tmp_path):
    checkpoint = copy_of("DeepFM")
    missing = tmp_path / "nowhere.json"
    assert refusal(checkpoint, "--interactions", missing) == (
        f"cannot read {missing} (--interactions): No such file or directory"
    )
    assert "one checkpoint" in refusal(checkpoint, checkpoint, "--interactions", missing)
    foreign = changed(checkpoint, lambda c: c.pop("model_class"))
    assert "no model of this project" in refusal(foreign, "--interactions", missing)
