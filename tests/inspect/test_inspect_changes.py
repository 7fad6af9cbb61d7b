"""`inspect A B --config C --explain N`: planted interactions that appear, vanish, double, flip."""

import json
import re

import pytest
import torch
from support.browsing import browse, needs_browser
from support.inspection import Given, command, lightning_warnings, refusal, shown
from support.small_checkpoints import SESSIONS, saved, session_batch, small

from datamodules.synthetic.clicks import PlantedClicks
from zoo import Batch, Field, Schema, ZooError
from zoo.inspect import load
from zoo.inspect.report import report
from zoo.run.inspect import data_of
from zoo.run.inspect_changes import compare

pytestmark = lightning_warnings
CROSS = "c0 x <b>c1</b>"
FIELDS = [
    Field("c0", "categorical", 6),
    Field("<b>c1</b>", "categorical", 6),
    *(Field(f"c{i}", "categorical", 6) for i in range(2, 6)),
    Field("n0", "numerical"),
]
PLAIN = Schema((*FIELDS,))
CROSSED = Schema((*FIELDS, Field(CROSS, "categorical", 4, "cross")))


class Rows(Given):
    """Rows of both splits."""

    def train_dataloader(self):
        return iter(self.given)


def rows(schema=CROSSED, count=40):
    random = torch.Generator().manual_seed(2)
    ids = [torch.randint(f.cardinality, (count,), generator=random) for f in schema.categorical]
    labels = torch.arange(count).remainder(2).float()
    return Batch(torch.randn(count, 1, generator=random), torch.stack(ids, 1), labels)


def planted(path, schema, pairs, cross=0.0):
    """A checkpoint of a DeepFM that is a sum of products of two switches, one for each pair.

    Args:
        path: Its path.
        schema: Its fields.
        pairs: What each pair of categorical fields adds where both are on.
        cross: What the cross field adds.
    """
    model = small("DeepFM", schema, embedding_dim=8)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        table, sizes = model.embedding.table, [field.cardinality for field in schema.categorical]
        blocks = table[: sum(sizes)].split(sizes)
        for k, ((one, two), size) in enumerate(pairs.items()):
            blocks[one][:, k], blocks[two][:, k] = 1.0, size
        for one in range(min(6, len(blocks))):  # a main effect of each field
            blocks[one][:, -1] = 1.0
        if cross:
            blocks[6][:, -1] = cross
    return load(saved(model, path))


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    first = {(0, 2): 2.0, (2, 3): 1.0, (3, 4): 1.5, (4, 5): 1.0}
    second = {(2, 3): 2.0, (3, 4): -1.5, (4, 5): 1.0}
    return (
        planted(folder / "a.ckpt", PLAIN, first),
        planted(folder / "b.ckpt", CROSSED, second, cross=2.0),
    )


def test_what_is_planted_is_found(pair):
    """A product of two switches has a quarter of its size as coefficient; a cross is one too."""
    found = compare(*pair, Rows(CROSSED, [rows()]), "val", 30)
    assert (found.instances, found.left_out) == (30, 0)
    changes = {change.fields: change for change in found.changes}
    assert {fields: change.what for fields, change in changes.items()} == {
        **{("c0", "c2"): "vanished", ("c0", "<b>c1</b>"): "appeared", ("c2", "c3"): "grew"},
        **{("c3", "c4"): "changed sign", ("c4", "c5"): "same"},
    }
    sizes = {("c0", "c2"): (2, 0), ("c0", "<b>c1</b>"): (0, 2), ("c2", "c3"): (1, 2)}
    sizes |= {("c3", "c4"): (1.5, -1.5), ("c4", "c5"): (1, 1)}
    for fields, truth in sizes.items():
        one, two = (size / 4 for size in truth)
        change = changes[fields]
        effects = change.first.effect, change.second.effect, change.difference.effect
        assert effects == pytest.approx((one, two, two - one), abs=1e-4)
        assert change.growth == pytest.approx(change.second.share - change.first.share, abs=1e-6)
    assert changes["c2", "c3"].second.share == pytest.approx(4 * changes["c2", "c3"].first.share)
    json.dumps(found.to_dict(), allow_nan=False)


def test_the_terminal_and_the_page_show_them(pair):
    data = Rows(CROSSED, [rows()])
    found = compare(*pair, data, "val", 30)
    text = shown(found)
    assert "interactions of A and B, in 30 val rows" in text
    assert re.search(r"changed sign │ c3 x c4 +│ +0.375 │ +0.375 │", text)
    values = found.values[found.changes[0].rows[0].row]
    names = {0: "(unknown)", 1: "(missing)"}
    drawn = [[names.get(i, f"id {i}") for i in ids] for ids in rows().categorical.tolist()]
    assert [values[field.name] for field in CROSSED.categorical] in drawn
    assert f"c3={values['c3']}, c4={values['c4']}" in text
    page = report(found)
    assert "c0 x &lt;b&gt;c1&lt;/b&gt;" in page
    assert "<b>c1" not in page
    again = compare(*pair, data, "val", 30)
    assert again == found  # bit for bit


def test_a_checkpoint_has_not_changed(pair):
    found = compare(pair[0], pair[0], Rows(PLAIN, [rows(PLAIN)]), "val", 9)
    assert {change.what for change in found.changes} == {"same"}
    assert "rows in which they differ most" not in shown(found)


@needs_browser
def test_a_browser_draws_the_changes(pair, tmp_path):
    found = compare(*pair, Rows(CROSSED, [rows()]), "val", 9)
    assert len(browse(report(found), 390, tmp_path)["plots"]) == 1


def test_rows_without_finite_scores_are_left_out(pair, tmp_path):
    """Id 0 of c5 has no finite embedding."""
    model = small("DeepFM", PLAIN, embedding_dim=8)
    with torch.no_grad():
        model.embedding.table[30] = torch.nan
    broken = load(saved(model, tmp_path / "broken.ckpt"))
    batch = rows(PLAIN)
    left = int((batch.categorical[:, 5] == 0).sum())
    found = compare(pair[0], broken, Rows(PLAIN, [batch]), "val", 40)
    assert 0 < left == found.left_out == 40 - found.instances
    assert f"{left} rows left out: NaN or infinite scores" in shown(found)
    alike = batch._replace(categorical=torch.zeros_like(batch.categorical))
    with pytest.raises(ZooError, match=r"around each of 3 rows are NaN or infinite$"):
        compare(pair[0], broken, Rows(PLAIN, [alike]), "val", 3)


def test_models_of_other_fields_or_of_sessions_are_refused(pair, tmp_path, checkpoint_of):
    few = Schema(tuple(FIELDS[:5]))
    other = planted(tmp_path / "other.ckpt", few, {(0, 1): 1.0})
    with pytest.raises(ZooError) as error:
        compare(pair[0], other, Rows(PLAIN, [rows(PLAIN)]), "val", 3)
    assert str(error.value) == (
        f"--explain compares models of the same fields, and {other.file} has others than "
        f"{pair[0].file}: only one of them has c5, n0"
    )
    sides = [load(checkpoint_of(name)) for name in ("LastSkip", "MeanSkip")]
    with pytest.raises(ZooError, match="compares models of rows, not of sessions"):
        compare(*sides, Given(SESSIONS, [session_batch()]), "val", 3)
    unlabelled = rows(PLAIN)._replace(label=torch.full((40,), torch.nan))
    with pytest.raises(ZooError, match="no labelled rows in the split val"):
        compare(pair[0], pair[0], Rows(PLAIN, [unlabelled]), "val", 3)


def test_the_option_needs_data_and_shows_a_page_of_rows_at_most(pair, tmp_path):
    one, two = (side.file for side in pair)
    config = tmp_path / "config.yaml"
    config.write_text("data: {class_path: datamodules.GaussianClusters}")
    assert "--explain needs data: give --config" in refusal(one, two, "--explain=3")
    assert "--explain needs data: give --config" in refusal(one, "--explain=3")
    many = refusal(one, "--config", config, "--explain=61", "--html", tmp_path / "page.html")
    assert many.startswith("--explain: a report shows 60 rows at most, got 61; the command explain")


def test_the_command_compares_two_runs(tmp_path, capsys):
    PlantedClicks(rows=600).write(tmp_path / "train.txt")
    options = f"{{path: {tmp_path}/train.txt, prepared: {tmp_path}/prepared}}"
    config = tmp_path / "config.yaml"
    config.write_text(f"data: {{class_path: datamodules.Criteo, init_args: {options}}}")
    data = data_of(config)
    data.prepare_data()
    files = [
        saved(small("DeepFM", data.schema, embedding_std=0.3 * i), tmp_path / f"{i}.ckpt")
        for i in (1, 2)
    ]
    page = tmp_path / "page.html"
    capsys.readouterr()
    command(*files, "--config", config, "--explain=4", "--json", "--html", page)
    found = json.loads(capsys.readouterr().out)["changes"]
    assert (found["split"], found["instances"]) == ("val", 4)
    assert {change["what"] for change in found["changes"]} <= {"appeared", "grew", "same", "moved"}
    assert "interactions of A and B" in page.read_text()
