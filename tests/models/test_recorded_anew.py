"""What a recorded step has taken from Python changes in a fit; how recordings begin and fail."""

import weakref
from copy import deepcopy
from functools import partial
from types import SimpleNamespace
from unittest import mock

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelPruning, StochasticWeightAveraging
from support.captured import Tape, stand_in
from support.resuming import QUIET, SmallRows
from test_capturing import assert_equal_steps, losses_of, says
from torch import nn

import zoo
from zoo.nn.captured import CUDAGraph, DeviceRates
from zoo.nn.device import as_on_gpu
from zoo.nn.optim import Adagrad, LazyAdam

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")
MOMENTUM = {"class_path": "sgd", "init_args": {"momentum": 0.9}}


class Changes(pl.Callback):
    """Does something at the start of the sixth epoch."""

    def __init__(self, change):
        self.change = change

    def on_train_epoch_start(self, trainer, module):
        if trainer.current_epoch == 5:
            self.change(trainer, module)


def drop_more(trainer, module):
    for part in module.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.6


def clip_more(trainer, module):
    trainer.gradient_clip_val = 0.001


def load_state(trainer, module):
    """As a learning-rate finder does that is called again; numbers of steps come on the CPU."""
    optimizer = trainer.optimizers[0]
    optimizer.load_state_dict(deepcopy(optimizer.state_dict()))


@pytest.mark.parametrize(
    ("change", "options"),
    [
        (drop_more, {"dropout": 0.1}),
        (clip_more, {"trainer": {"gradient_clip_val": 1.0}}),
        (load_state, {"optimizer": "adam"}),
    ],
)
def test_numbers_of_python_that_change(change, options):
    trainer = {**options.pop("trainer", {}), "callbacks": [partial(Changes, change)]}
    assert_equal_steps(epochs=8, trainer=trainer, **options)
    assert Tape.made > 2


class Thaws(pl.Callback):
    def on_fit_start(self, trainer, module):
        module.deep.requires_grad_(False)

    def on_train_epoch_start(self, trainer, module):
        module.deep.requires_grad_(trainer.current_epoch > 1)


def test_a_part_that_is_trained_later_with_momentum():
    trainer = {"callbacks": [Thaws]}
    assert_equal_steps(epochs=5, optimizer=MOMENTUM, sparse_gradients=False, trainer=trainer)


def test_stochastic_weight_averaging_is_recorded():
    average = partial(StochasticWeightAveraging, 0.01, swa_epoch_start=2)
    assert_equal_steps(epochs=6, trainer={"callbacks": [average]})


def test_weights_that_are_pruned_in_the_midst_of_an_epoch():
    options = {"amount": 0.3, "parameter_names": ["weight"], "prune_on_train_epoch_end": False}
    pruned = partial(ModelPruning, "l1_unstructured", **options)
    trainer = {"callbacks": [pruned], "val_check_interval": 2}
    data = SmallRows(batch_size=7)  # all batches of one size, eleven
    options = {"precision": "32-true", "tolerance": 1e-5, "epochs": 3, "data": data}
    assert_equal_steps(model="WideDeep", trainer=trainer, **options)


@pytest.mark.parametrize("options", [{"foreach": True}, {"foreach": True, "momentum": 0.9}])
def test_sgd_by_lists_of_tensors(options):
    optimizer = {"class_path": "sgd", "init_args": options}
    assert_equal_steps(optimizer=optimizer, sparse_gradients=False)


class Watches(pl.Callback):
    """As `WandbLogger.watch`."""

    def __init__(self, epoch=0):
        self.epoch = epoch

    def on_fit_start(self, trainer, module):
        if not self.epoch:
            module.bias.register_hook(print)

    def on_train_epoch_start(self, trainer, module):
        if trainer.current_epoch == self.epoch:
            module.deep.register_forward_hook(print)


def test_hooks_are_called_in_each_step(capsys):
    says(capsys, "bias has a hook", trainer={"callbacks": [Watches]})
    with stand_in():
        losses_of(epochs=6, trainer={"callbacks": [partial(Watches, 4)]})
        assert Tape.made == 2
        assert "deep has a hook" in capsys.readouterr().err


def test_what_runs_without_callbacks_finds_no_recording():
    """A learning-rate finder in the midst of a fit takes steps without those of the model."""
    found = set()

    class Looks(pl.Callback):
        def on_train_epoch_start(self, trainer, module):
            found.add(module.captured.replay)

    with stand_in():
        losses_of(trainer={"callbacks": [Looks]})
        assert Tape.replays
    assert found == {None}


def test_a_model_is_fitted_twice_and_its_recordings_are_let_go():
    alive = weakref.WeakSet()

    class Counted(Tape):
        def __init__(self, function, beside=None):
            assert beside is None or beside in alive
            super().__init__(function)
            alive.add(self)

    with stand_in(Counted):
        data, model = SmallRows(), zoo.DeepFM(SmallRows.schema)
        for made in (2, 4):
            trainer = pl.Trainer(max_epochs=4, enable_checkpointing=False, **QUIET)
            trainer.fit(model, data)
            assert Counted.made == made
            assert not alive


def test_a_failed_recording_leaves_stream_and_random_numbers(monkeypatch):
    class Broken:
        def __init__(self, graph, pool, capture_error_mode):
            assert pool == "pool of another"
            assert capture_error_mode == "thread_local"

        def __enter__(self):
            cuda.stream = "of the recording"

        def __exit__(self, *error):
            raise RuntimeError("operation failed due to a previous error during capture")

    random = mock.Mock()
    cuda = SimpleNamespace(stream="default")
    for name, value in {
        "graph": Broken,
        "CUDAGraph": object,
        "current_stream": lambda: cuda.stream,
        "set_stream": lambda stream: setattr(cuda, "stream", stream),
        "current_device": lambda: 0,
        "default_generators": [random],
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    other = SimpleNamespace(graph=SimpleNamespace(pool=lambda: "pool of another"))
    with pytest.raises(RuntimeError, match="operation failed"):
        CUDAGraph(tuple, other)
    assert cuda.stream == "default"
    random.graphsafe_set_state.assert_called_once_with(random.clone_state())


def test_rates_of_groups_that_come_later():
    first, second = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2))
    steps = torch.optim.SGD([first], lr=0.5)
    rates = DeviceRates(steps, torch.device("cpu"))
    steps.add_param_group({"params": [second], "lr": 0.25})
    first.grad, second.grad = torch.ones(2), torch.ones(2)
    with rates.read():
        steps.step()
    assert [first.tolist(), second.tolist()] == [[0.5, 0.5], [0.75, 0.75]]
    assert [group["lr"] for group in steps.param_groups] == [0.5, 0.25]


def test_each_parameter_decays_by_its_own_steps():
    found = []
    for way in (False, True):
        parameters = [nn.Parameter(torch.ones(2, dtype=torch.float64)) for _ in range(2)]
        steps = Adagrad(parameters, lr=0.1, lr_decay=0.5)
        for begun in (parameters[:1], parameters, parameters):
            for parameter in begun:
                parameter.grad = torch.ones_like(parameter)
            if way:
                with as_on_gpu():
                    steps.step()
            else:
                steps.step()
            steps.zero_grad()
        found.append([parameter.detach() for parameter in parameters])
    torch.testing.assert_close(*found)


def test_lazy_adam_without_eps_leaves_no_nan():
    table = nn.Parameter(torch.ones(3, 1))
    with torch.sparse.check_sparse_tensor_invariants(False), as_on_gpu():
        table.grad = torch.sparse_coo_tensor(
            torch.tensor([[1, 1, 2]]), torch.ones(3, 1), (3, 1), check_invariants=False
        )
        LazyAdam([table], lr=0.1, eps=0.0).step()
    torch.testing.assert_close(table.detach(), torch.tensor([[1.0], [0.9], [0.9]]))


@pytest.mark.parametrize("options", [{"embedding_dims": {"c": 4}}, {"batch_norm": True}])
def test_what_is_computed_without_numbers_of_the_host(options):
    assert_equal_steps(model="DCN", **options)
