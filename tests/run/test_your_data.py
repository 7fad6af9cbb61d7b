"""The page on tables of one's own does what it says."""

import inspect
import json
import re
import shlex
import shutil
import textwrap

import pyarrow.parquet as pq
import pytest
import yaml
from support.explaining import small_surrogates
from support.running import QUIET, ROOT, command

from datamodules import Table
from datamodules.tabular.declared import TableField
from datamodules.tabular.label import Label

PAGE = (ROOT / "docs/your_data.md").read_text()
BLOCKS = re.compile(r"^```(python|bash|yaml)\n(.*?)^```", re.DOTALL | re.MULTILINE)
ROWS = 12_000
SMALL = ["--model.hidden_units=[8]", "--model.embedding_dim=4", "--trainer.accelerator=cpu"]
FEWER = ["--trainer.max_epochs=1", "--instances=2", "--permutations=0"]


def run(line):
    words = shlex.split(line)
    assert words[:2] == ["python", "train.py"]
    subcommand = words[2]
    more = {"fit": [*SMALL, *FEWER[:1]], "detect": FEWER[1:]}.get(subcommand, [])
    quiet = [] if subcommand in ("describe", "inspect") else QUIET
    command(*words[2:], *more, *quiet)


def test_from_a_file_to_interactions(workplace):
    found = BLOCKS.findall(PAGE)
    kinds = [kind for kind, _ in found]
    page = ["python", "bash", "yaml", "yaml", "bash", "python", "yaml", "bash", "bash"]
    assert kinds == page
    made, first, written, edited, then, again, further, many, cluster = (text for _, text in found)
    assert "rows = 200_000" in made
    exec(made.replace("rows = 200_000", f"rows = {ROWS}"), {})
    run(first)
    config = workplace / "ratings.yaml"
    text = config.read_text()
    # but for counts, what the page shows
    plain = [re.sub(r" *#.*", "", shown) for shown in (text, written)]
    assert plain[0].split() == plain[1].split()
    config.write_text(re.sub(r"    label: .*\n", edited, text))
    with small_surrogates():
        for line in then.splitlines():
            run(line)
    folder = workplace / "runs/ratings/version_0"
    assert json.loads((folder / "metrics.json").read_text())["test/auc"] > 0.5
    assert "ratings" in (workplace / "ratings.html").read_text()
    assert json.loads((workplace / "interactions.json").read_text())["instances"] == 2
    scored = pq.read_table(folder / "predictions/ratings.parquet")
    assert scored["id"].to_pylist() == [str(i) for i in range(ROWS)]
    exec(again, {})
    (workplace / "ratings").mkdir()
    for name in ("monday", "tuesday"):
        shutil.copy("ratings.parquet", workplace / f"ratings/{name}.parquet")
    run(many.replace("workers 8", "workers 1"))
    assert cluster.endswith("ratings.yaml --data.workers ray\n")
    options = yaml.safe_load(textwrap.dedent(further))
    assert options.pop("weight") == "importance"
    weighted = Table(
        "ratings.parquet",
        Label("rating", ">= 4"),
        [TableField("genre", "categorical")],
        weight="rating",
        **options,
    )
    weighted.prepare_data()
    assert weighted.positive_rate > 0.5


@pytest.mark.parametrize("declared", [Table, TableField, Label])
def test_the_page_names_all_that_is_declared(declared):
    names = {*inspect.signature(declared).parameters} - {"shared"}
    assert {name for name in names if f"`{name}" not in PAGE} <= {"column", "positive"}
