"""Whether the expert that speaks is the right one, of mixtures whose experts know the truth.

The rows are a grid of four fields with known probabilities p(y = 1 | x). An expert of a subset S
predicts exactly E[p | x_S], so that what its gate does with that is all that can be wrong.
"""

import math
import re

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from zoo import Batch, Field, Schema
from zoo.experts.module import MixtureModule
from zoo.inspect.with_data.quality import score_rows
from zoo.inspect.with_data.sufficient import sections, sufficiency_of, warnings_of
from zoo.models.description import Description, Expert
from zoo.models.tabular import RowModule

SIZES = (4, 2, 2, 2)  # values of a, b, c, d
SCHEMA = Schema(tuple(map(Field, "abcd", ["categorical"] * 4, SIZES)))
GRID = torch.cartesian_prod(*map(torch.arange, SIZES))
EACH = 500  # rows of each cell
STEEP = {"gate": "smooth", "inference_power": 16, "fallback": True}  # as configs/movielens


class Planted(MixtureModule, RowModule):
    """A mixture whose experts know the probabilities, and with its gate of sufficiency what
    they miss."""

    def __init__(self, p, subsets, **options):
        named = {name: [*name] if name != "all" else ["*"] for name in subsets}
        super().__init__(SCHEMA, subsets=named, learning_rate=0.1, **options)
        self.nothing = nn.Parameter(torch.zeros(()))
        table = p.view(SIZES)
        hidden = [[i for i in range(4) if "abcd"[i] not in f] for f in self.lattice.fields]
        known = torch.stack([self._mean(table, axes) for axes in hidden], -1)
        loss = -table[..., None] * known.log() - (1 - table)[..., None] * (1 - known).log()
        missed = loss - loss[..., -1:]
        columns = zip(missed.unbind(-1), hidden, strict=True)
        missed = torch.stack([self._mean(column, axes) for column, axes in columns], -1)
        self.register_buffer("z", known.logit() / 2)
        self.register_buffer("log_missed", missed.clamp_min(1e-6).log())

    @property
    def description(self):
        lattice = zip(self.lattice.names, self.lattice.fields, strict=True)
        return Description("", experts=tuple(Expert(*pair, ()) for pair in lattice))

    def _mean(self, table, axes):
        return (table.mean(axes, keepdim=True) if axes else table).expand(SIZES)

    def expert_outputs(self, batch):
        return self.z[batch.categorical.unbind(1)] - self.prior_output + 0 * self.nothing

    def judged_outputs(self, batch):
        log_missed = self.log_missed[batch.categorical.unbind(1)].unsqueeze(-1)
        return self.expert_outputs(batch), log_missed if self.shortfall else None


def sign(*places):
    """[n] one or minus one: the product of the parities of some fields."""
    return (1 - 2 * (GRID[:, places] % 2)).prod(1)


def batch_of(p, **parts):
    """As many rows of each cell, the positives in proportion."""
    positive = torch.arange(EACH)[None] < (EACH * p).round()[:, None]
    rows = GRID.repeat_interleave(EACH, 0)
    return Batch(torch.zeros(len(rows), 0), rows, positive.flatten().float(), **parts)


def found_of(p, subsets, batch=None, **options):
    model = Planted(p, subsets.split(), **options).eval()
    scored = score_rows(model, [batch or batch_of(p)], [])
    return sufficiency_of(scored, model)


def verdicts(found, rows="largest"):
    return {expert.name: expert.verdict for expert in found.judged if expert.rows == rows}


ALONE = torch.where(GRID[:, 0] < 2, sign(0), sign(0, 1)) * 0.45 + 0.5  # a alone, or a XOR b
RARE = 0.25 + 0.23 * sign(0, 1)  # a quarter is positive, by a XOR b


def test_an_expert_that_is_sure_and_wrong_is_reported():
    found = found_of(RARE, "ab ac cd all", gate="abs")
    assert verdicts(found)["ab"] == "sufficient"
    assert re.fullmatch(r"not sufficient: all saves 0\.1\d\d nats", verdicts(found)["ac"])
    first, *others = warnings_of(found, "val")
    where = "expert ac has the largest attribution in 50.0% of the val rows"
    assert first.startswith(f"{where}, but is not sufficient there: all would save 0.1")
    assert others == [
        "experts ac and cd say the same in 50.0% of the val rows: there the largest attribution is "
        "chance, read the mean (ac 0.37, cd 0.37)"
    ]


def test_the_expert_of_all_is_reported_where_a_smaller_one_would_do():
    found = found_of(ALONE, "a ab cd all", **STEEP)
    assert verdicts(found)["all"] == "ab would do: it loses 0.000 nats"
    said = [
        "expert all has the largest attribution in 100.0% of the val rows, where ab would do: it "
        "loses 0.000 nats"
    ]
    assert [*warnings_of(found, "val")] == said
    assert found.in_part == ()


def test_it_is_reported_where_that_is_so_in_a_part_of_the_rows():
    found = found_of(ALONE, "a all", **STEEP)
    assert verdicts(found)["all"] == "no smaller one is sufficient"  # in the mean
    assert [*warnings_of(found, "val")] == [
        "expert a would do in 50% of the val rows in which all has the largest attribution"
    ]


def test_an_expert_that_is_sufficient_in_a_part_of_its_rows_is_reported():
    p = torch.where(GRID[:, 0] == 3, 0.6 + 0.05 * sign(1), ALONE)  # a = 2: a XOR b
    model = Planted(p, ["a", "all"], tolerance=0.2).eval()
    model.log_selection = lambda z, _: torch.tensor([0.0, -9.0]).expand_as(z)  # a speaks for all
    found = sufficiency_of(score_rows(model, [batch_of(p)], []), model)
    assert verdicts(found)["a"] == "sufficient"
    (part,) = found.in_part
    assert (part.name, part.other, part.inside) == ("a", "all", False)
    assert part.share == 0.25


@pytest.mark.parametrize(
    ("p", "subsets"),
    [(ALONE, "a b ab cd all"), (RARE, "ab ac cd all"), (0.5 + 0.25 * sign(0), "a cd all")],
)
def test_a_right_mixture_gets_no_complaint(p, subsets):
    found = found_of(p, subsets, gate="sufficiency")
    assert [*warnings_of(found, "val")] == []
    assert {"not certain", "too few rows"}.isdisjoint(verdicts(found).values())


def test_copies_are_named_and_judged_by_their_means():
    batch = batch_of(0.5 + 0.2 * (sign(2) + sign(3)))
    same = batch.categorical[:, 2] == batch.categorical[:, 3]  # d is a copy of c
    batch = batch._replace(weight=same.float())
    found = found_of(0.5 + 0.2 * (sign(2) + sign(3)), "c d cd all", batch, gate="abs")
    by_means = verdicts(found, "attribution")
    assert by_means["c"][:14] == by_means["d"][:14] == "not sufficient"
    (pair,) = found.redundant
    assert (pair.first, pair.second) == ("c", "d")
    assert pair.share > 0.99


def test_what_is_shown_of_it(capsys):
    found = found_of(RARE, "ab ac cd all", gate="abs")
    (section,) = sections(found)
    figure, *tables = section.content
    assert [line[0] for line in tables[0].rows] == ["ab", "ac", "cd", "all"]
    assert tables[0].rows[1][1].startswith("not sufficient: all saves")
    assert tables[0].rows[2][1:4] == ["leads no row", "0.00%", "-"]
    plot = figure.draw()
    assert list(plot.data[0].x) == ["ab", "ac"]
    assert plot.data[1].y[1] < plot.data[0].y[1]
    assert plot.data[2].y[1] is None  # nothing is inside


def test_models_without_a_choice_are_not_judged():
    assert found_of(RARE, "all") is None
    assert [*warnings_of(None, "val"), *sections(None)] == []


def fitted(model, batch):
    data = DataLoader([batch], batch_size=None)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(accelerator="cpu", max_epochs=2, enable_checkpointing=False, **quiet)
    trainer.fit(model, data, data)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


@pytest.mark.filterwarnings("ignore:.*many workers")
def test_a_fit_logs_what_is_missing_and_warns_at_its_end():
    model = Planted(RARE, ["ab", "ac", "cd", "all"], gate="abs")
    with pytest.warns(UserWarning, match="^expert ac .* in 50.0% of the rows of the last val") as w:
        metrics = fitted(model, batch_of(RARE))
    assert len([one for one in w if "not sufficient" in str(one.message)]) == 1
    names = {name for name in metrics if name.startswith("val/shortfall/")}
    assert names == {f"val/shortfall/{name}" for name in ("ab", "ac", "cd")}
    assert names < model.metric_names("val/", batch_of(RARE))
    found = found_of(RARE, "ab ac cd all", gate="abs")
    expected = {expert.name: expert.shortfall for expert in found.judged[:3]}
    for name, value in expected.items():
        assert metrics[f"val/shortfall/{name}"] == pytest.approx(value, rel=1e-4, nan_ok=True)
    assert math.isnan(expected["cd"])  # which leads no row


@pytest.mark.filterwarnings("ignore:.*many workers", "ignore:.*predictions are hardly explained")
def test_a_fit_of_a_right_mixture_does_not_warn():
    metrics = fitted(Planted(RARE, ["ab", "ac", "cd", "all"], gate="sufficiency"), batch_of(RARE))
    assert abs(metrics["val/shortfall/ab"]) < 1e-3
