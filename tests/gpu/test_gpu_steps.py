"""Training steps on a GPU are those of a CPU, for every model, optimizer and option."""

import os
from unittest import mock

import pytest
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging
from pytorch_lightning.utilities import move_data_to_device
from support.launches import free_port
from support.on_gpu import CPU, NAMES, ROW_NAMES, batches_of, fitted, ways_of_gpus
from support.small_checkpoints import small
from torch import distributed

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*does not have many workers",
    "ignore:expert .* has the largest attribution",
    "ignore:barrier.*using the device under current context",
)
EXACT = {"precision": "64-true"}  # in which a sum of another order is no other step
OF_ALL = [(name, kind) for name in NAMES for kind in ("adagrad", "adam")]
OF_ROWS = [(name, "lazy_adam") for name in ROW_NAMES]


def gradients_of(name, device):
    """Logits, loss and the gradients of all weights, on the CPU."""
    model = small(name).to(device)
    batch = move_data_to_device(batches_of(name, 1)[0], device)
    loss, logits, *_ = model.losses(batch)
    loss.backward()
    gradients = {key: p.grad.cpu() for key, p in model.named_parameters() if p.grad is not None}
    return logits.detach().cpu(), loss.detach().cpu(), gradients


@pytest.mark.parametrize("name", NAMES)
def test_logits_loss_and_gradients_are_those_of_a_cpu(name, device):
    expected = gradients_of(name, CPU)
    with ways_of_gpus(device):
        found = gradients_of(name, device)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "optimizer"), OF_ALL + OF_ROWS)
def test_weights_after_steps_are_those_of_a_cpu(name, optimizer, device):
    options = {"optimizer": optimizer, "learning_rate": 0.002, "trainer": EXACT}
    if name in ROW_NAMES:  # from the tiny ones of a fit, Adam's steps are as long as of any
        options["embedding_std"] = 0.5
    losses, weights = fitted(name, CPU, **options)
    with ways_of_gpus(device) as recording:
        found, others = fitted(name, device, **options)
        assert recording.replays == len(losses) - 3
    torch.testing.assert_close(found, losses, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(others, weights, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_recorded_steps_are_plain_ones(name, device):
    """Over 100 steps; of a CPU, which runs them again, a few show the test itself."""
    with ways_of_gpus(device) as recording:
        options = {"epochs": 25 if device.type == "cuda" else 2}
        plain, _ = fitted(name, device, cuda_graphs=False, **options)
        assert recording.replays == 0
        recorded, _ = fitted(name, device, cuda_graphs=True, **options)
        assert recording.replays == len(plain) - 3
    torch.testing.assert_close(recorded, plain, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("algorithm", ["norm", "value"])
@pytest.mark.parametrize("optimizer", ["adagrad", "adam"])
def test_clipped_steps_are_those_of_a_cpu(optimizer, algorithm, device):
    clipping = {"gradient_clip_val": 0.01, "gradient_clip_algorithm": algorithm}
    options = {"optimizer": optimizer, "trainer": EXACT | clipping}
    expected = fitted("DeepFM", CPU, **options)
    with ways_of_gpus(device) as recording:
        found = fitted("DeepFM", device, **options)
        assert recording.replays
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_averaged_weights_are_those_of_a_cpu(device):
    def averaged(where):
        return fitted("DCN", where, callbacks=[EMAWeightAveraging(decay=0.8)], trainer=EXACT)

    expected = averaged(CPU)
    with ways_of_gpus(device) as recording:
        found = averaged(device)
        assert recording.replays
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:You passed .*16-mixed.* but AMP with fp16 is not supported")
@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed"])
@pytest.mark.parametrize("name", NAMES)
def test_half_precision_comes_close(name, precision, device):
    options = {"learning_rate": 0.001}  # where a step that fp16 leaves out changes little
    expected, _ = fitted(name, CPU, **options)
    with ways_of_gpus(device):
        found, weights = fitted(name, device, trainer={"precision": precision}, **options)
    assert all(weight.isfinite().all() for weight in weights.values())
    torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("name", ["DeepFM", "InterpretableMLP"])
def test_ddp_of_one_process_trains_as_a_cpu(name, device):
    """Its steps are not recorded."""
    ddp = {"strategy": "ddp", "use_distributed_sampler": False}
    expected = fitted(name, CPU, trainer=EXACT)
    # which Lightning fills with ranks, that commands of later tests would take for their launcher's
    with mock.patch.dict(os.environ, {"MASTER_PORT": str(free_port())}):
        try:
            with ways_of_gpus(device):
                found = fitted(name, device, trainer=EXACT | ddp)
        finally:
            if distributed.is_initialized():
                distributed.destroy_process_group()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
