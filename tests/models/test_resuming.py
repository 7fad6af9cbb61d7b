"""A fit that goes on from any of its checkpoints is the fit that was never stopped."""

import pytest
import torch
from support.resuming import Diary, SmallRows, fit, state_of

from zoo import ZooError

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")
STEPS = {"class_path": "torch.optim.lr_scheduler.StepLR", "init_args": {"step_size": 1}}
EVERY = {
    "epochs": {"max_epochs": 2},
    "validation within epochs": {"max_epochs": 2, "val_check_interval": 2},
    "validation in each second epoch": {"max_epochs": 2, "check_val_every_n_epoch": 2},
    "validation across epochs": {
        "max_epochs": 2,
        "check_val_every_n_epoch": None,
        "val_check_interval": 3,
    },
    "steps": {"max_steps": 8, "max_epochs": -1},
    "not all batches": {"max_epochs": 3, "limit_train_batches": 3},
    "from disk": {"max_epochs": 2, "data": {"resident": False}},
    "decay": {"max_epochs": 3, "model": {"plateau_decay": 0.5}},
    "a schedule of epochs": {
        "max_epochs": 3,
        "val_check_interval": 2,
        "model": {"lr_scheduler": "CosineAnnealingLR", "warmup_steps": 7},
    },
    "a schedule of steps": {
        "max_epochs": 2,
        "check_val_every_n_epoch": None,
        "val_check_interval": 3,
        "model": {
            "optimizer": "adamw",
            "weight_decay": 0.1,
            "embedding_weight_decay": 0.01,
            "lr_scheduler": "OneCycleLR",
            "lr_scheduler_interval": "step",
        },
    },
    "a schedule of a number of steps": {
        "max_steps": 8,
        "max_epochs": -1,
        "model": {
            "optimizer": {"class_path": "torch.optim.NAdam", "init_args": {"betas": [0.8, 0.9]}},
            "lr_scheduler": "CosineAnnealingLR",
            "lr_scheduler_interval": "step",
        },
    },
    "decay after warm-up": {"max_epochs": 3, "model": {"plateau_decay": 0.5, "warmup_steps": 3}},
    "dropout": {"max_epochs": 2, "val_check_interval": 2, "model": {"dropout": 0.5}},
    "bins of numbers": {"max_epochs": 2, "model": {"numerical_encoding": "learned_bins"}},
    "dropout of embeddings": {"max_epochs": 2, "model": {"embedding_dropout": 0.5}},
}


def same(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("options", EVERY.values(), ids=EVERY)
def test_every_checkpoint_goes_on_as_the_unbroken_fit(options, tmp_path):
    options = options | {"num_sanity_val_steps": 0}
    rows = options.pop("data", {})
    unbroken = Diary(tmp_path)
    trainer = fit(unbroken, data=SmallRows(**rows), **options)
    assert len(unbroken.checkpoints) > 10
    for path, events in unbroken.checkpoints:
        steps = torch.load(path, weights_only=True)["global_step"]
        if steps == options.get("max_steps"):
            continue  # there is nothing left
        resumed = Diary()
        found = fit(resumed, path, SmallRows(**rows), **options)
        assert resumed.events == unbroken.events[events:], path
        same(state_of(found), state_of(trainer))


@pytest.mark.parametrize("cut", [{"max_steps": 7}, {"max_steps": 5}])
@pytest.mark.parametrize("interval", [1.0, 2])
@pytest.mark.parametrize("model", [{}, {"lr_scheduler": STEPS, "warmup_steps": 6}])
def test_an_epoch_that_was_cut_short_is_trained_to_its_end(cut, interval, model, tmp_path):
    options = {"val_check_interval": interval, "num_sanity_val_steps": 0, "max_epochs": 3}
    options["model"] = model
    whole, first, second = Diary(), Diary(tmp_path), Diary()
    unbroken = fit(whole, **options)
    fit(first, **options, **cut)
    resumed = fit(second, first.checkpoints[-1][0], **options)
    batches = [[e for e in diary.events if e[0] == "batch"] for diary in (whole, first, second)]
    assert batches[1] + batches[2] == batches[0]
    same(state_of(resumed), state_of(unbroken))


@pytest.mark.parametrize("interval", [None, "step", "epoch"])
def test_batches_of_an_unfinished_gradient_are_trained_again(interval, tmp_path):
    options = {"max_epochs": 2, "accumulate_grad_batches": 2, "num_sanity_val_steps": 0}
    if interval:
        schedule = {"lr_scheduler": "CosineAnnealingLR", "lr_scheduler_interval": interval}
        options["model"] = {"warmup_steps": 4, **schedule}
    unbroken = Diary(tmp_path)
    trainer = fit(unbroken, **options)
    for path, _ in unbroken.checkpoints:
        found = fit(Diary(), path, **options)
        same(state_of(found), state_of(trainer))


def test_a_resumed_epoch_has_no_metrics_of_its_training_rows(tmp_path):
    unbroken = Diary(tmp_path)
    fit(unbroken, max_epochs=2)
    path = next(path for path, _ in unbroken.checkpoints if "003_batch" in path.name)
    trainer = fit(Diary(), path, max_epochs=1)
    assert {name for name in trainer.callback_metrics if name.startswith("train/")} == set()
    assert {"val/auc", "val/logloss"} <= set(trainer.callback_metrics)
    trainer = fit(Diary(), path, max_epochs=2)
    assert {"train/auc", "train/logloss"} <= set(trainer.callback_metrics)


def test_an_epoch_of_other_batches_cannot_go_on(tmp_path):
    unbroken = Diary(tmp_path)
    fit(unbroken, max_epochs=2)
    path = next(path for path, _ in unbroken.checkpoints if "003_batch" in path.name)
    message = "the checkpoint was saved after 2 of the 5 batches of an epoch, which has 3 here: go"
    with pytest.raises(ZooError, match=message):
        fit(Diary(), path, SmallRows(batch_size=32), max_epochs=2)
    end = next(path for path, _ in unbroken.checkpoints if "end" in path.name)
    assert fit(Diary(), end, SmallRows(batch_size=32), max_epochs=2).current_epoch == 2


def test_an_epoch_begins_again_where_the_checkpoint_does_not_say_where_it_was(tmp_path):
    unbroken, resumed = Diary(tmp_path), Diary()
    fit(unbroken, max_epochs=2)
    path = next(path for path, _ in unbroken.checkpoints if "003_batch" in path.name)
    content = torch.load(path, weights_only=True)
    del content["loops"]["fit_loop"]["state_dict"]["combined_loader"]
    torch.save(content, path)
    with pytest.warns(UserWarning, match="which batches of its epoch have been trained on: the"):
        fit(resumed, path, max_epochs=1)
    rows = [[e[3:] for e in diary.events if e[:2] == ("batch", 0)] for diary in (resumed, unbroken)]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_rows_of_one_class_can_be_trained_on(rate):
    data = SmallRows()
    type(data).positive_rate = property(lambda self: rate)
    try:
        assert fit(Diary(), data=data, max_epochs=1).global_step == 5
    finally:
        del type(data).positive_rate
