"""`inspect`: the warnings of a checkpoint."""

import math

import pytest
import torch
from support.inspection import changed, lightning_warnings
from support.small_checkpoints import fitted, saved, small

from zoo.inspect import load

pytestmark = lightning_warnings


@pytest.mark.parametrize("optimizer", ["adagrad", "adam", "sgd"])
def test_embedding_rows_that_were_never_trained_are_found(optimizer, tmp_path):
    rates = {"adagrad": 0.1, "adam": 0.1, "sgd": 10.0}
    options = {"optimizer": optimizer, "learning_rate": rates[optimizer]}
    found = load(fitted(small("WideDeep", **options), tmp_path / "model.ckpt"))
    rows = [inspected.rows for inspected in found.fields if inspected.rows]
    assert [row.untrained for row in rows] == [3, 7, 1]  # 4 and above
    assert {(row.unknown, row.missing) for row in rows} == {(False, False)}
    (warning,) = found.warnings
    assert warning.startswith("11 values of the vocabulary have an embedding that was never")
    assert "<b>c1</b> (7), [red]c0[/red] (3)" in warning


def test_untrained_rows_are_not_guessed_without_an_optimizer_or_a_start(deepfm):
    def forget(content):
        content["optimizer_states"] = []
        del content["hyper_parameters"]["embedding_std"]

    found = load(changed(deepfm, forget))
    rows = [inspected.rows for inspected in found.fields if inspected.rows]
    assert {row.untrained for row in rows} == {None}


def test_weights_that_are_not_finite_or_exploded_are_reported(deepfm):
    def spoil(content):
        weights = content["state_dict"]
        weights["deep.linears.0.weight"][0, :2] = torch.tensor([math.nan, math.inf])
        weights["head.weight"][0, 0] = -5e4

    found = load(changed(deepfm, spoil))
    size = small("DeepFM").deep.linears[0].weight.numel()
    assert found.warnings[:2] == (
        f"2 of {size} weights of deep.linears.0.weight are NaN or infinite",
        "a weight of head.weight has grown to 50,000",
    )
    assert found.parts["deep"].not_finite == 2
    assert math.isfinite(found.parts["deep"].rms)


def test_a_parameter_without_a_gradient_is_reported(deepfm):
    def untouched(content):
        names = list(content["state_dict"])
        (optimizer,) = content["optimizer_states"]
        (group,) = optimizer["param_groups"]
        squares = optimizer["state"][names.index("head.weight")]["sum"]
        squares.fill_(group["initial_accumulator_value"])

    assert load(changed(deepfm, untouched)).warnings[0] == (
        "parameters that no gradient ever reached: head.weight"
    )


def test_a_model_that_was_never_trained_is_reported(tmp_path):
    found = load(saved(small("DCN"), tmp_path / "new.ckpt"))
    assert found.warnings == ("saved before the first step: all weights are at their random start",)
    assert not found.training.optimizer_state


def test_batch_normalisation_has_buffers_that_are_no_parameters(tmp_path):
    model = small("DeepFM", batch_norm=True)
    found = load(fitted(model, tmp_path / "model.ckpt"))
    assert found.parameters == sum(p.numel() for p in model.parameters())
    assert found.fields[1].rows.untrained == 3  # the optimiser's state is still that of the table
