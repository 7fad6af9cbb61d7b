"""What shares tables: our exchange, or TorchRec, which these tests do without.

`tests/support/torchrec_parity.py` compares the two, where TorchRec is installed.
"""

from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import (
    EMAWeightAveraging,
    GradientAccumulationScheduler,
    StochasticWeightAveraging,
)
from support.resuming import QUIET

from zoo import DeepFM, Field, Schema, ZooError
from zoo.run import backends, sharded  # noqa: F401  (which registers its names)

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)
SCHEMA = Schema((Field("n", "numerical"), Field("c", "categorical", 8)))


@pytest.fixture
def installed(monkeypatch):
    monkeypatch.setattr(backends, "is_installed", lambda: True)


def chosen(wanted="auto", device=GPU, model=None, **options):
    """The optimizer of TorchRec's steps in a fit; None where it is not TorchRec's."""
    trainer = pl.Trainer(**QUIET, **options)
    trainer.strategy.connect(DeepFM(SCHEMA, **(model or {})))
    return backends.torchrec_optimizer(wanted, trainer, device)


def test_gpus_take_torchrec_where_it_is_installed(installed):
    assert chosen() == "adagrad"
    assert chosen(device=CPU) is None
    assert chosen("exchange") is None
    assert chosen("torchrec", CPU) == "adagrad"
    assert chosen("torchrec", model={"optimizer": "sgd", "weight_decay": 0.1}) == "sgd"


def test_without_torchrec_gpus_take_the_exchange(monkeypatch):
    monkeypatch.setattr(backends, "is_installed", lambda: False)
    assert chosen() is None
    with pytest.raises(ZooError, match=r"installed; `pip install --no-deps torchrec=.*docs/scale"):
        chosen("torchrec")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gradient_clip_val": 1.0}, "clip gradients .trainer.gradient_clip_val"),
        ({"accumulate_grad_batches": 2}, "accumulate gradients .trainer.accumulate_grad_batches"),
        ({"callbacks": [GradientAccumulationScheduler({0: 2})]}, "GradientAccumulationScheduler"),
        ({"precision": "64-true"}, "in trainer.precision 64-true"),
        ({"callbacks": [EMAWeightAveraging()]}, "averaged .EMAWeightAveraging"),
        ({"callbacks": [StochasticWeightAveraging(0.1)]}, "averaged .StochasticWeightAveraging"),
        ({"model": {"optimizer": "adam"}}, "choose such a model.optimizer"),
        ({"model": {"optimizer": "sgd", "embedding_weight_decay": 0.1}}, "weight decay of the emb"),
        (
            {"model": {"optimizer": {"class_path": "sgd", "init_args": {"momentum": 0.9}}}},
            "without momentum",
        ),
        (
            {"model": {"optimizer": {"class_path": "adagrad", "init_args": {"lr_decay": 0.9}}}},
            "lr_decay",
        ),
    ],
)
def test_what_the_steps_of_torchrec_leave_out(installed, options, message):
    """Said where TorchRec is wanted; `auto` takes the exchange."""
    with pytest.raises(ZooError, match=f"^backend of trainer.strategy: TorchRec.*{message}"):
        chosen("torchrec", **options)
    assert chosen("auto", **options) is None


def test_a_model_that_makes_another_optimizer_than_its_options_say():
    table, other = (torch.nn.Parameter(torch.zeros(2)) for _ in range(2))
    groups = [{"params": [other], "weight_decay": 0.1}, {"params": [table], "weight_decay": 0.0}]
    joined = []
    shard = SimpleNamespace(optimizer="sgd", join=lambda *what: joined.append(what))
    optimizer = torch.optim.SGD(groups, lr=0.1)
    backends.join(shard, [optimizer], table)
    assert joined == [(optimizer, table)]
    for made in (torch.optim.Adam([table]), torch.optim.SGD([table], 0.1, momentum=0.9)):
        with pytest.raises(ZooError, match="configure_optimizers makes another"):
            backends.join(shard, [made], table)


def test_misspelt_backend():
    with pytest.raises(ZooError, match="must be one of auto, exchange, torchrec, got 'fbgemm'"):
        chosen("fbgemm")


def test_strategies_by_name():
    names = {"sharded": "auto", "sharded_torchrec": "torchrec"}
    for name, backend in names.items():
        assert pl.Trainer(**QUIET, strategy=name).strategy.backend == backend
