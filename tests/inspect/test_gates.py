"""`inspect` and `explain`: what a model gives to fields, pairs and orders, anew in each row."""

import json
from itertools import combinations

import pytest
import torch
from support.inspection import changed, lightning_warnings, shown
from support.small_checkpoints import ROWS, fitted, row_batch, small

from zoo import ZooError
from zoo.data.batch import take
from zoo.glider.explained import Explainer
from zoo.glider.walsh.search import WalshConfig
from zoo.inspect import load
from zoo.inspect.report import report
from zoo.inspect.row_picker import PickedRow, RowPicker
from zoo.inspect.with_data.explanation import explain
from zoo.inspect.with_data.gates import gates_of, gates_of_row
from zoo.run.explaining.row import explained_row

pytestmark = lightning_warnings
FIELDS = tuple(field.name for field in ROWS.fields)
IDS = FIELDS[1:]


def fibinet(**options):
    return small("FiBiNET", embedding_std=1.0, **options).eval()


def test_the_gates_of_fibinet_are_what_the_deep_part_is_given():
    model, batch = fibinet(), row_batch()
    senet, pairs = model.gates(batch)
    vectors = model.embedding(batch).vectors
    squeeze, excite = model.senet.squeeze.weight, model.senet.excite.weight
    weights = ((vectors.mean(2) @ squeeze.T).relu() @ excite.T).relu()
    assert senet.names == IDS
    torch.testing.assert_close(senet.values, weights)
    given = []
    model.deep.register_forward_hook(lambda _module, inputs, _out: given.append(inputs[0]))
    model(batch)
    weighed, plain = given[0][:, :-1].view(16, 2, 3, 4).unbind(1)  # of pairs, before the number
    torch.testing.assert_close(pairs.values, (weighed.square() + plain.square()).sum(2).sqrt())
    assert pairs.names == tuple(" x ".join(pair) for pair in combinations(IDS, 2))
    for k, (i, j) in enumerate(combinations(range(3), 2)):
        expected = plain[:, k] * (weights[:, i] * weights[:, j]).unsqueeze(1)
        torch.testing.assert_close(weighed[:, k], expected)


@pytest.mark.parametrize("embed_numerical", [False, True])
def test_matrices_of_pairs_are_read_from_the_weights(embed_numerical, tmp_path):
    model = fibinet(embed_numerical=embed_numerical)
    path = fitted(model.train(), tmp_path / "model.ckpt")
    (grid,) = load(path).effects.crosses
    names = FIELDS if embed_numerical else IDS
    assert (grid.rows, grid.columns) == (names[:-1], names[1:])
    matrices = iter(model.bilinear.weight.detach().view(-1, 4, 4))
    for i, j in combinations(range(len(names)), 2):
        assert grid.values[i][j - 1] == pytest.approx(float(next(matrices).norm()), rel=1e-5)
    assert all(grid.values[i][j] == 0 for i in range(len(names) - 1) for j in range(i))

    def spoil(content):
        content["description"]["pairs"][0]["fields"] = names[1:]

    with pytest.raises(ZooError, match="its bilinear weights do not fit its schema"):
        load(changed(path, spoil))
    assert not load(
        fitted(fibinet(bilinear="each").train(), tmp_path / "each.ckpt")
    ).effects.crosses


def test_of_a_sample_means_spread_and_shares_are_those_of_the_rows():
    model, batch = fibinet(), row_batch()
    for gate, found in zip(model.gates(batch), gates_of(model, batch), strict=True):
        assert (found.title, found.reading) == (gate.title, gate.reading)
        means = [weighed.mean for weighed in found.weights]
        assert means == sorted(means, reverse=True)
        for weighed in found.weights:
            values = gate.values[:, gate.names.index(weighed.name)].double()
            assert weighed.mean == pytest.approx(float(values.mean()))
            assert weighed.spread == pytest.approx(float(values.std(correction=0)))
            assert weighed.zero == float((values == 0).double().mean())
        assert sum(weighed.largest for weighed in found.weights) == pytest.approx(1)


def test_a_row_is_explained_with_its_gates():
    model, batch = fibinet(), row_batch()
    explainer = Explainer(model, torch.zeros(1), WalshConfig())
    one = take(batch, slice(3, 4))
    ((_, found),) = explainer.explain_each(explainer.instances(one))
    words = dict.fromkeys(FIELDS, "<i>v</i>")
    row = explained_row(model, found, "rows", 3, words, words)
    assert row.gates == gates_of_row(model, one)
    senet, pairs = model.gates(one)
    plain = json.loads(json.dumps(row.to_dict()))["gates"]
    assert plain.keys() == {senet.title, pairs.title}
    for gate in (senet, pairs):
        expected = dict(zip(gate.names, gate.values[0].tolist(), strict=True))
        assert plain[gate.title] == expected
        assert [*plain[gate.title].values()] == sorted(expected.values(), reverse=True)
    assert "weights of SENET in this row" in shown(row)
    page = RowPicker([PickedRow(row, "random")]).html()
    assert "<summary>bilinear interactions in this row</summary>" in page
    assert "bilinear interactions in this row" in report(row)
    assert "[red]c0[/red] x &lt;b&gt;c1&lt;/b&gt;" in page


def test_means_and_rows_are_on_the_page_of_a_checkpoint(checkpoint_of):
    model = small("FiBiNET")
    found = explain(model.eval(), [row_batch()], 16)
    assert [gate.title for gate in found.gates] == ["weights of SENET", "bilinear interactions"]
    titles = [section.title for section in found.sections()]
    assert titles[1:3] == ["weights of SENET", "bilinear interactions"]
