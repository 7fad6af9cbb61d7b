"""What the pages say of the code is so: the example of a model, and paths."""

import re
import sys
import textwrap
from itertools import combinations

import pytest
import torch
from support.running import ROOT

from zoo import Batch, Field, Schema

PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    *sorted(p.name for p in ROOT.glob("docs/*.md")),
]
NAMED = re.compile(r"(?<![\w/-])(?:zoo|datamodules|tests|docs|benchmarks|configs)/[\w/.-]*\w")
MODULE = re.compile(r"`((?:zoo|datamodules)(?:\.[a-z_0-9]+)*)`")
LATER = {"zoo/ctr/fm.py", "configs/criteo/fm.yaml", "zoo/configs"}  # of the examples, the wheel


def page(name):
    return next(p for p in (ROOT / name, ROOT / "docs" / name) if p.is_file())


def test_the_example_of_a_model_is_a_factorisation_machine(tmp_path, monkeypatch):
    (code,) = re.findall(r"```python\n(.*?)```", page("CONTRIBUTING.md").read_text(), re.DOTALL)
    (tmp_path / "fm_of_contributing.py").write_text(textwrap.dedent(code))
    monkeypatch.syspath_prepend(tmp_path)
    import fm_of_contributing

    monkeypatch.delitem(sys.modules, "fm_of_contributing")
    fields = [Field(name, "categorical", 5) for name in "abc"]
    model = fm_of_contributing.FM(Schema(tuple(fields)), embedding_dim=4, embedding_std=1.0)
    batch = Batch(torch.zeros(7, 0), torch.randint(5, (7, 3)), torch.zeros(7))
    embedded = model.embedding(batch)
    e = embedded.vectors
    pairs = sum((e[:, f] * e[:, g]).sum(1) for f, g in combinations(range(3), 2))
    torch.testing.assert_close(model(batch), model.bias + embedded.linear + pairs)


@pytest.mark.parametrize("name", PAGES)
def test_the_files_that_a_page_names_exist(name):
    text = page(name).read_text()
    named = set(NAMED.findall(text)) - LATER
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
    linked = re.findall(r"\]\(([\w/.]+?)(?:#[\w-]+)?\)", text)
    assert [path for path in linked if not (page(name).parent / path).exists()] == []


def test_the_new_places_of_the_changelog_exist():
    rows = [line.split("|") for line in page("CHANGELOG.md").read_text().splitlines()]
    places = {name for row in rows if len(row) == 4 for name in MODULE.findall(row[2])}
    assert len(places) > 40
    homes = [ROOT / place.replace(".", "/") for place in sorted(places - {"zoo"})]
    assert [
        home for home in homes if not (home.with_suffix(".py").is_file() or home.is_dir())
    ] == []
