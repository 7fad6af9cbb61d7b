"""Averaged weights: what is no weight stays as it is."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging, WeightAveraging
from support.resuming import Diary, SmallRows, fit
from torch.optim.swa_utils import get_ema_multi_avg_fn

from zoo import DeepFM, Field, Schema

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")
SIZES = (41, 300, 77, 1003, 8)  # 41 * 0.9 + 41 * 0.1 is below 41 in single precision


class Steps(Diary):
    """The weights after each step."""

    def __init__(self):
        super().__init__()
        self.tables = []

    def on_train_batch_end(self, trainer, module, *more):
        self.tables.append(module.embedding.table.detach().clone())


def many_fields():
    data = SmallRows()
    fields = [Field(f"c{i}", "categorical", size) for i, size in enumerate(SIZES)]
    data.schema = Schema((Field("n", "numerical"), *fields))
    for split, arrays in data.arrays.items():
        ids = np.repeat(arrays.categorical, len(SIZES), 1)
        data.arrays[split] = replace(arrays, categorical=ids)
    return data


@pytest.mark.parametrize(
    "average",
    [
        lambda: EMAWeightAveraging(decay=0.9),
        lambda: WeightAveraging(multi_avg_fn=get_ema_multi_avg_fn(0.9)),
        lambda: WeightAveraging(),
    ],
)
def test_fields_begin_where_they_began(average):
    data = many_fields()
    found = fit(Diary(), data=data, callbacks=[average()], max_epochs=1).lightning_module
    assert torch.equal(found.embedding.offsets, DeepFM(data.schema).embedding.offsets)


def test_weights_are_the_mean_over_all_steps():
    steps = Steps()
    found = fit(steps, callbacks=[WeightAveraging()], max_epochs=1).lightning_module
    torch.testing.assert_close(found.embedding.table.detach(), torch.stack(steps.tables).mean(0))
