"""A small glass box of tables, for tests of what is shown of any model of terms, and edited."""

import torch
from torch import nn

from zoo import Batch, Field, Schema
from zoo.data.lists import Lists
from zoo.models.base import ZooModule
from zoo.models.metrics import ClickMetrics, MetricDict
from zoo.models.terms import Term

BINS = 8  # of a number between -2 and 2
BOX = Schema(
    (
        Field("age", "numerical"),
        Field("age missing", "numerical"),
        Field("<b>city</b>", "categorical", 60, "user"),
        Field("[red]hour[/red]", "categorical", 26, "time"),
        Field("tags", "multi", 9, "item"),
    )
)
AGE, MISSES, CITY, HOUR, TAGS = (field.name for field in BOX.fields)
TERMS = [[AGE], [CITY], [TAGS], [CITY, HOUR], [AGE, HOUR], [AGE, CITY, HOUR]]


class GlassBox(ZooModule):
    """logit = b + sum_t table_t[place of x_t], of a list the mean over its ids."""

    on: torch.Tensor

    def __init__(self, schema, members, seed=0):
        super().__init__(schema)
        self.save_hyperparameters({"members": members, "seed": seed}, logger=False)
        self.metrics = MetricDict({split: ClickMetrics() for split in ("val/", "test/")})
        self.members = members
        self.sizes = {f.name: f.cardinality or BINS for f in self.schema.fields}
        random = torch.Generator().manual_seed(seed)
        self.tables = nn.ParameterList()
        for fields in members:
            size = [self.sizes[name] for name in fields]
            self.tables.append(nn.Parameter(torch.randn(*size, generator=random)))
        self.bias = nn.Parameter(torch.tensor(-0.5))
        self.register_buffer("on", torch.ones(len(members), dtype=torch.bool))

    @property
    def terms(self):
        """One of each table."""
        names = (" x ".join(fields) for fields in self.members)
        return tuple(map(Term, names, map(tuple, self.members), self.on.tolist()))

    def contributions(self, batch):
        """[B, P]."""
        inputs = batch.inputs(self.schema)
        columns = [self._added(t, inputs) for t in range(len(self.members))]
        return torch.stack(columns, 1) * self.on

    def _added(self, t, inputs):
        fields = self.members[t]
        places = [self._place(inputs[name]) for name in fields]
        if places[0].ndim > 1:
            there = places[0] >= 0
            picked = self.tables[t][places[0].clamp(min=0)] * there
            return picked.sum(1) / there.sum(1).clamp(min=1)
        return self.tables[t][tuple(places)]

    @staticmethod
    def _place(values):
        if not values.is_floating_point():
            return values.long()
        return ((values.nan_to_num() + 2) / 4 * BINS).floor().clamp(0, BINS - 1).long()

    def forward(self, batch):
        """[B]."""
        return self.bias + self.contributions(batch).sum(1)

    def _score(self, logits, batch, split):
        self.metrics[split].update(logits, batch.label)

    def switch(self, names, on):
        """In the buffer, which a checkpoint keeps."""
        for t, term in enumerate(self.terms):
            if term.name in names:
                self.on[t] = on

    def shift(self, by):
        """The bias."""
        with torch.no_grad():
            self.bias += by


def rows_of_box(count=600, seed=1):
    """Rows in which some ages are missing, some lists are empty, and most cities are rare."""
    random = torch.Generator().manual_seed(seed)
    age = torch.randn(count, generator=random)
    lost = torch.rand(count, generator=random) < 0.1
    age[lost] = 0.0
    city = (torch.rand(count, generator=random) ** 3 * 60).long()
    hour = torch.randint(26, (count,), generator=random)
    lists = [torch.randint(9, (k % 4,), generator=random).tolist() for k in range(count)]
    lengths = torch.tensor([[len(ids)] for ids in lists])
    values = torch.tensor([i for ids in lists for i in ids], dtype=torch.int32)
    label = (torch.rand(count, generator=random) < 0.4).float()
    return Batch(
        torch.stack((age, lost.float()), 1),
        torch.stack((city, hour), 1).int(),
        label,
        lists=Lists(values, lengths.cumsum(0) - lengths, lengths),
    )


def glass_box(seed=0):
    """The box of six terms, in evaluation."""
    return GlassBox(BOX, TERMS, seed).eval()
