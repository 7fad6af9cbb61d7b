"""What is said of an optimizer, a schedule or a weight decay that cannot be."""

import math
import sys

import pytest
import torch
from support.resuming import Diary, SmallRows, fit
from support.small_checkpoints import saved, small

from zoo import DeepFM, ZooError
from zoo.models.optimizer_options import check_optimization

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")
SCHEDULERS = "torch.optim.lr_scheduler."


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": 3}, "model.optimizer must be a name, or a class_path with init_args, got 3"),
        ({"optimizer": "magic"}, "must be one of adadelta, .*, sgd, or a class_path such as my_p"),
        ({"optimizer": {"class_path": "x.Y", "init_args": 1}}, "init_args must be names with"),
        (
            {"optimizer": {"class_path": "torch.optim.SGD", "init_args": {"x": torch.ones(1)}}},
            "model.optimizer.x is a Tensor: a checkpoint holds plain data alone",
        ),
        ({"lr_scheduler": "magic"}, "model.lr_scheduler must be one of constantlr, "),
        ({"lr_scheduler": "StepLR", "plateau_decay": 0.1}, "plateau_decay and lr_scheduler both"),
        (
            {"lr_scheduler_interval": "day"},
            "lr_scheduler_interval must be step or epoch, got",
        ),
        ({"warmup_steps": -1}, "model.warmup_steps must not be negative, got -1"),
        ({"weight_decay": -1.0}, "model.weight_decay must not be negative, got -1.0"),
        (
            {"embedding_weight_decay": math.nan},
            "decay must not be negative, got nan",
        ),
        ({"embedding_dropout": 1.0}, "embedding_dropout must be at least 0 and less than 1, got 1"),
        (
            {"sparse_gradients": True, "optimizer": "sgd", "embedding_weight_decay": 0.1},
            "embedding_weight_decay changes all rows of a table, which sparse_gradients leaves out",
        ),
        (
            {"optimizer": "lazy_adam", "embedding_weight_decay": 0.1},
            "decay changes all rows of a table, which the optimizer lazy_adam leaves out",
        ),
        (
            {"optimizer": {"class_path": "lazy_adam"}, "sparse_gradients": False},
            "optimizer lazy_adam moves the rows of a batch alone, which sparse_gradients false",
        ),
    ],
)
def test_an_impossible_option_is_named(options, message):
    with pytest.raises(ZooError, match=message):
        DeepFM(SmallRows.schema, **options)


def of(name, **arguments):
    return {"class_path": name, "init_args": arguments}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": of("torch.optim.AdamW", beta=1)}, r"AdamW cannot .* \(beta=1\): .*'beta'$"),
        ({"optimizer": of("adam", betas=[2, 0.9])}, "Invalid beta parameter at index 0: 2"),
        ({"optimizer": of("adam", lr=1)}, "init_args has lr: give model.learning_rate instead"),
        ({"optimizer": of("sgd", weight_decay=1)}, "has weight_decay: give model.weight_decay in"),
        (
            {"optimizer": "torch.nn.Linear"},
            "torch.nn.Linear is no Optimizer of torch; see t",
        ),
        ({"optimizer": "torch.optim.Adan"}, "torch.optim.Adan is no Optimizer"),
        ({"optimizer": "nowhere.Adan"}, "names nowhere.Adan, whose module is not installed"),
        (
            {"optimizer": "torch.optim.nowhere.Adam"},
            "cannot be imported: No module named",
        ),
        ({"optimizer": "torch.optim.LBFGS"}, "LBFGS evaluates the loss of a batch several times"),
        ({"optimizer": "torch.optim.SparseAdam"}, "SparseAdam does not support dense gradients"),
        ({"optimizer": "rprop", "weight_decay": 0.1}, "Rprop has no weight decay, leave it out"),
        ({"lr_scheduler": "steplr"}, "StepLR cannot .* missing 1 required .*'step_size'"),
        ({"lr_scheduler": "torch.optim.Adam"}, "torch.optim.Adam is no LRScheduler of torch"),
        ({"lr_scheduler": SCHEDULERS + "ReduceLROnPlateau"}, "give model.plateau_decay instead of"),
        (
            {"lr_scheduler": of(SCHEDULERS + "LambdaLR", lr_lambda="x")},
            "'str' object is not c",
        ),
        (
            {"lr_scheduler": of("OneCycleLR", total_steps="x")},
            r"OneCycleLR .*total_steps='x'",
        ),
    ],
)
def test_an_optimizer_that_cannot_train_is_one_sentence_before_data_are_read(options, message):
    with pytest.raises(ZooError, match=message):
        check_optimization(options)
    with pytest.raises(ZooError, match=message):
        fit(Diary(), model=options, max_epochs=1)


def test_code_that_merely_lies_about_is_no_optimizer(tmp_path, monkeypatch):
    (tmp_path / "lying_about.py").write_text("import torch\nclass Mine(torch.optim.SGD): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    options = {"optimizer": "lying_about.Mine"}
    with pytest.raises(ZooError, match="whose module is not installed: install its package, or"):
        check_optimization(options)
    path = saved(small("DeepFM", **options), tmp_path / "model.ckpt")
    assert DeepFM.load_from_checkpoint(path, weights_only=True).optimizer == "lying_about.Mine"
    assert "lying_about" not in sys.modules
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    check_optimization(options)
    assert fit(Diary(), model=options, max_epochs=1).global_step == 5
    sys.modules.pop("lying_about")


def test_embeddings_that_are_not_there_do_not_decay():
    with pytest.raises(ZooError, match="embedding_weight_decay: this model has no embeddings"):
        small("InterpretableGRU", embedding_weight_decay=0.1).configure_optimizers()
