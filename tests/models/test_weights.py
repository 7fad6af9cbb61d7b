"""Rows of weights: training and metrics are those of repeated rows, whatever makes up a step."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import expertise
from support.resuming import Diary, SmallRows, WeightedRows, fit, state_of

from zoo import DCN, AutoInt, DeepFM, FiBiNET, InterHAt, WideDeep, ZooError, xDeepFM
from zoo.data.batch import take
from zoo.data.batch_checks import check

MODELS = [WideDeep, DeepFM, DCN, xDeepFM, AutoInt, FiBiNET, InterHAt]
EXPERTS = [
    {},
    {"normalization": "sample", "auxiliary": 0.3},
    {"normalization": "expert", "silence": 0.5, "fallback": True},
]
SIZES = {"embedding_dim": 3, "embedding_std": 0.5, "hidden_units": [5, 4]}
multiples = st.lists(st.integers(0, 3), min_size=1, max_size=8).filter(any)


def gradients(model, batch):
    model.zero_grad()
    loss = model.training_step(batch)
    loss.backward()
    grads = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    return loss.detach(), grads


def compare(model, times):
    """Weights are those of a batch that holds each row as often as its weight says."""
    batch, times = expertise.random_batch(len(times)), torch.tensor(times)
    found = gradients(model, batch._replace(weight=times.float()))
    repeated = take(batch, torch.arange(len(times)).repeat_interleave(times))
    torch.testing.assert_close(found, gradients(model, repeated), rtol=1e-4, atol=1e-6)


@pytest.fixture(scope="module", params=[*MODELS, *EXPERTS], ids=str)
def model(request):
    torch.manual_seed(0)
    if isinstance(request.param, dict):
        return expertise.model(expertise.DIAMOND, **request.param)
    return request.param(expertise.SCHEMA, **SIZES)


@settings(deadline=None, max_examples=8)
@given(multiples)
def test_a_weight_trains_as_so_many_rows(model, times):
    compare(model, times)


def test_weights_of_one_are_no_weights(model):
    compare(model, [1] * 7)


def test_a_batch_without_weight_moves_nothing(model):
    loss, grads = gradients(model, expertise.random_batch(4)._replace(weight=torch.zeros(4)))
    assert loss == 0
    assert all((grad == 0).all() for grad in grads.values())


def weights_of(data, **options):
    trainer = fit(Diary(), data=data, max_epochs=2, num_sanity_val_steps=0, **options)
    return state_of(trainer)[0], trainer


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e6])
def test_accumulated_batches_are_one_batch_whatever_their_weights(sparse, scale):
    model = {"sparse_gradients": sparse}
    large, _ = weights_of(WeightedRows(16, rows=80, scale=scale), model=model)
    small, trainer = weights_of(
        WeightedRows(8, rows=80, scale=scale), model=model, accumulate_grad_batches=2
    )
    assert trainer.global_step == 10
    torch.testing.assert_close(small, large, rtol=1e-4, atol=1e-6)
    unweighted, _ = weights_of(SmallRows(16, rows=80), model=model)
    assert not torch.allclose(large["bias"], unweighted["bias"], rtol=1e-3)


def test_metrics_of_a_fit_are_weighted_and_name_those_of_groups():
    data = WeightedRows(16)
    _, trainer = weights_of(data)
    model, found = trainer.lightning_module, trainer.callback_metrics
    assert {"val/gauc", "train/gauc"} <= set(found)
    batch = next(iter(data.val_dataloader()))
    for split in ("train/", "val/"):
        assert {f"{split}{name}" for name in ("auc", "logloss", "gauc")} == model.metric_names(
            split, batch
        )
        assert f"{split}gauc" not in model.metric_names(split, batch._replace(group=None))


@pytest.mark.parametrize("wrong", [-1.0, math.nan, math.inf])
def test_a_batch_of_wrong_weights_is_refused(wrong):
    batch = expertise.random_batch(2)._replace(weight=torch.tensor([1.0, wrong]))
    with pytest.raises(ZooError, match=f"batch.weight holds {wrong}: weights are a finite number"):
        check(batch, expertise.SCHEMA)
