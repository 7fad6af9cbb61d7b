"""`inspect A B`: two checkpoints side by side."""

import json

from support.inspection import command, lightning_warnings, refusal, shown
from support.small_checkpoints import ROWS, fitted, small

from zoo import Field, Schema
from zoo.inspect import load
from zoo.inspect.comparison import Comparison

pytestmark = lightning_warnings


def test_two_checkpoints_side_by_side(checkpoint_of, tmp_path, capsys):
    one = checkpoint_of("DeepFM")
    other = Schema(
        (*ROWS.fields[:2], Field("<b>c1</b>", "categorical", 12), Field("n1", "numerical"))
    )
    two = fitted(small("WideDeep", other, dropout=0.5), tmp_path / "two.ckpt", epochs=1)
    capsys.readouterr()
    command(one, two, "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == ROWS.difference(other)
    assert set(found["fields"]) == {"<b>c1</b>", "[red]c0[/red] x <b>c1</b>", "n1"}
    assert found["fields"]["n1"][0] is None
    assert [side["cardinality"] for side in found["fields"]["<b>c1</b>"]] == [11, 12]
    assert found["options"] == {"model": ["DeepFM", "WideDeep"], "dropout": [0.0, 0.5]}
    assert found["training"]["epochs"] == [2, 1]
    for side, path in enumerate((one, two)):
        assert found["parameters"]["all"][side] == load(path).parameters
    text = shown(Comparison(load(one), load(two)))
    assert "categorical, 11 ids, group item" in text
    assert "schemas: field" in text


def test_a_checkpoint_equals_itself(deepfm):
    same = Comparison(load(deepfm), load(deepfm))
    assert (same.schema, same.fields, same.options) == (None, {}, {})
    assert "schemas: equal" in shown(same)


def test_three_checkpoints_are_too_many(deepfm):
    assert refusal(deepfm, deepfm, deepfm) == "inspect takes one or two checkpoints, got 3"
