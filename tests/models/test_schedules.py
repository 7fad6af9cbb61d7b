"""Schedules of the learning rate and warm-up, and what a fit that goes on keeps of them."""

import math

import pytest
import pytorch_lightning as pl
import torch
from support.inspection import changed
from support.resuming import Diary, fit
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR

from zoo import DeepFM, ZooError

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")
SCHEDULERS = "torch.optim.lr_scheduler."


def same(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


class Rates(pl.Callback):
    """The learning rate of each step, as the optimizer takes it."""

    def __init__(self):
        self.found = []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.found.append(optimizer.param_groups[0]["lr"])


def rates_of(**model):
    rates = Rates()
    fit(Diary(), model=model, callbacks=[rates], max_epochs=4)
    return rates.found


def cosine(t, length):
    return 0.3 * (1 + math.cos(math.pi * t / length)) / 2


def test_a_schedule_of_epochs_with_warm_up_is_its_closed_form():
    found = rates_of(lr_scheduler=f"{SCHEDULERS}CosineAnnealingLR", warmup_steps=7)
    expected = [cosine(t // 5, 4) * min(1, (t + 1) / 7) for t in range(20)]
    assert found == pytest.approx(expected, rel=1e-12)


def test_a_schedule_of_steps_with_warm_up_is_its_closed_form():
    schedule = {"class_path": f"{SCHEDULERS}CosineAnnealingLR", "init_args": {"T_max": 15}}
    found = rates_of(lr_scheduler=schedule, lr_scheduler_interval="step", warmup_steps=3)
    expected = [cosine(t, 15) * min(1, (t + 1) / 3) for t in range(20)]
    assert found == pytest.approx(expected, rel=1e-9)


def test_one_cycle_is_as_long_as_the_fit_and_as_high_as_the_rate():
    found = rates_of(lr_scheduler="OneCycleLR", lr_scheduler_interval="step", optimizer="adamw")
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1, momentum=0.9)
    expected = OneCycleLR(optimizer, max_lr=0.3, total_steps=20)
    for rate in found:
        assert rate == pytest.approx(expected.get_last_lr()[0])
        optimizer.step()
        expected.step()
    assert max(found) == 0.3


def test_warm_up_alone_and_before_a_plateau():
    assert rates_of(warmup_steps=2) == pytest.approx([0.15] + [0.3] * 19)
    found = rates_of(warmup_steps=2, plateau_decay=0.5)
    assert found[:6] == pytest.approx([0.15] + [0.3] * 5)
    assert set(found[1:]) <= {0.3 * 0.5**n for n in range(4)}


@pytest.mark.parametrize("accumulated", [1, 2])
def test_accumulated_gradients_are_one_step(accumulated):
    rates, options = Rates(), {"lr_scheduler": "LinearLR", "lr_scheduler_interval": "step"}
    options["lr_scheduler"] = {"class_path": "LinearLR", "init_args": {"total_iters": 6}}
    fit(
        Diary(),
        model=options,
        callbacks=[rates],
        max_epochs=2,
        accumulate_grad_batches=accumulated,
    )
    steps = 10 if accumulated == 1 else 6
    expected = [0.3 * (1 / 3 + 2 / 3 * min(t, 6) / 6) for t in range(steps)]
    assert rates.found == pytest.approx(expected)


def test_a_longer_fit_goes_on_by_the_schedule_of_the_checkpoint(tmp_path):
    diary = Diary(tmp_path)
    options = {"lr_scheduler": "CosineAnnealingLR"}
    fit(diary, model=options, max_epochs=2)
    end = diary.checkpoints[-1][0]
    with pytest.warns(UserWarning, match="whose T_max is 2; that of this fit would be 3"):
        fit(Diary(), end, model=options, max_epochs=3)


def test_a_schedule_that_ends_before_the_fit_is_one_sentence():
    schedule = {"class_path": "OneCycleLR", "init_args": {"total_steps": 3}}
    options = {"lr_scheduler": schedule, "lr_scheduler_interval": "step", "optimizer": "adam"}
    with pytest.raises(ZooError, match=r"Tried to step 4 times.* total steps is 3; the"):
        fit(Diary(), model=options, max_epochs=1)


def test_a_fit_without_an_end_has_no_schedule_of_its_length():
    model = {"lr_scheduler": "OneCycleLR", "optimizer": "adam"}
    options = {"model": model, "max_epochs": -1, "max_time": "00:00:00:09"}
    with pytest.raises(ZooError, match="length of the fit is not known, give trainer"):
        fit(Diary(), **options)


# Going on from a checkpoint


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"optimizer": "sgd"}, "model.optimizer of the checkpoint is 'adamw', and 'sgd' here: a"),
        ({"weight_decay": 0.2}, "model.weight_decay of the checkpoint is 0.1, and 0.2 here"),
        ({"lr_scheduler": None}, "lr_scheduler of the checkpoint is 'CosineAnnealingLR', and None"),
        ({"warmup_steps": 5}, "model.warmup_steps of the checkpoint is 0, and 5 here"),
    ],
)
def test_a_fit_does_not_go_on_with_another_optimizer(option, message, tmp_path):
    options = {"optimizer": "adamw", "weight_decay": 0.1, "lr_scheduler": "CosineAnnealingLR"}
    diary = Diary(tmp_path)
    fit(diary, model=options, max_epochs=1)
    path = diary.checkpoints[0][0]
    with pytest.raises(ZooError, match=message):
        fit(Diary(), path, model=options | option, max_epochs=1)
    other = {"class_path": "torch.optim.AdamW", "init_args": {}}
    fit(Diary(), path, model=options | {"optimizer": other}, max_epochs=1)


def test_a_checkpoint_without_these_options_goes_on(tmp_path):
    diary = Diary(tmp_path)
    whole = fit(diary, max_epochs=1)

    def forget(content):
        for name in ("weight_decay", "embedding_weight_decay", "embedding_dropout", "warmup_steps"):
            del content["hyper_parameters"][name]
        for name in ("lr_scheduler", "lr_scheduler_interval"):
            del content["hyper_parameters"][name]

    old = changed(diary.checkpoints[1][0], forget)
    assert DeepFM.load_from_checkpoint(old, weights_only=True).warmup_steps == 0
    found = fit(Diary(), old, max_epochs=1)
    same(found.lightning_module.state_dict(), whole.lightning_module.state_dict())
