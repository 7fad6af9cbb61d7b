"""Recorded training steps, by a stand-in for a CUDA graph: the steps are those of plain ones."""

from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging, LambdaCallback, ModelPruning
from support.captured import Losses, Tape, stand_in
from support.resuming import QUIET, Diary, SmallRows, WeightedRows, fit, state_of

import zoo
from zoo import Field, Schema, ZooError
from zoo.data.batch import take
from zoo.data.lists import Lists
from zoo.nn.captured import PLAIN_STEPS

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")
MODELS = (
    "AdditiveNetwork",
    "AutoInt",
    "DCN",
    "DeepFM",
    "FiBiNET",
    "InterHAt",
    "InterpretableMLP",
    "WideDeep",
    "xDeepFM",
)
OPTIMIZERS = (
    {},
    {"optimizer": "lazy_adam"},
    {"optimizer": "adam", "weight_decay": 0.01},
    {"optimizer": "adamw"},
    {"optimizer": "sgd", "sparse_gradients": False},
    {"optimizer": {"class_path": "adagrad", "init_args": {"lr_decay": 0.1}}},
    {"optimizer": {"class_path": "adagrad", "init_args": {"lr_decay": 0.1, "maximize": True}}},
)


def losses_of(model="DeepFM", cuda_graphs="auto", data=None, epochs=4, trainer=None, **options):
    """Losses of all steps, and the weights at the end."""
    torch.manual_seed(1)
    data = data or SmallRows()
    made = getattr(zoo, model)(data.schema, cuda_graphs=cuda_graphs, **options)
    seen = Losses()
    settings = {"max_epochs": epochs, **QUIET, **(trainer or {})}
    settings["callbacks"] = [*(make() for make in settings.get("callbacks", ())), seen]
    settings["enable_checkpointing"] = False
    pl.Trainer(**settings).fit(made, data)
    return torch.tensor(seen.losses, dtype=torch.float64), made


def assert_equal_steps(replays=None, tolerance=1e-6, precision="64-true", **options):
    """Of double precision, as MKL rounds by where a tensor lies, which steps amplify."""
    options["trainer"] = {"precision": precision, **options.get("trainer", {})}
    with stand_in():
        plain, weights = losses_of(cuda_graphs=False, **options)
        assert Tape.made == 0
        recorded, others = losses_of(cuda_graphs=True, **options)
        assert Tape.replays == replays if replays is not None else Tape.replays > 0
    torch.testing.assert_close(recorded, plain, rtol=tolerance, atol=tolerance)
    # Adam's steps are as long by the smallest of gradients as by others
    close = {"rtol": 100 * tolerance, "atol": 100 * tolerance}
    torch.testing.assert_close(others.state_dict(), weights.state_dict(), **close)


class Changed:
    """Batches of a loader, changed by their number."""

    def __init__(self, loader, change):
        self.loader, self.change = loader, change

    def __iter__(self):
        for i, batch in enumerate(self.loader):
            yield self.change(i, batch)


@pytest.mark.parametrize("model", MODELS)
def test_recorded_steps_are_those_of_a_plain_fit(model):
    """77 rows are five batches of 15 or 16: of each size three steps are plain."""
    options = {"embed_numerical": True} if model == "FiBiNET" else {}
    assert_equal_steps(model=model, epochs=20, replays=100 - 2 * PLAIN_STEPS, **options)
    assert Tape.made == 2


@pytest.mark.parametrize("options", OPTIMIZERS, ids=str)
def test_of_each_optimizer(options):
    assert_equal_steps(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"warmup_steps": 9},
        {"lr_scheduler": "StepLR", "lr_scheduler_interval": "step"},
        {"plateau_decay": 0.5},
        {"dropout": 0.5, "batch_norm": True, "embedding_dropout": 0.2},
        {"embedding_weight_decay": 0.01, "optimizer": "adam"},
    ],
    ids=str,
)
def test_with_what_changes_in_each_step(options):
    if "lr_scheduler" in options:
        init = {"step_size": 2, "gamma": 0.5}
        options["lr_scheduler"] = {"class_path": "StepLR", "init_args": init}
    assert_equal_steps(**options)


@pytest.mark.parametrize("algorithm", ["norm", "value"])
@pytest.mark.parametrize("optimizer", ["adagrad", "adam"])
def test_with_clipping(algorithm, optimizer):
    trainer = {"gradient_clip_val": 0.01, "gradient_clip_algorithm": algorithm}
    assert_equal_steps(optimizer=optimizer, trainer=trainer)


def test_with_weights_and_groups():
    assert_equal_steps(data=WeightedRows())


def test_in_single_precision():
    assert_equal_steps(precision="32-true", tolerance=1e-6)


def test_in_mixed_precision():
    assert_equal_steps(precision="bf16-mixed", tolerance=1e-2)


def test_metrics_and_averages_are_those_of_a_plain_fit():
    found = []
    for graphs in (False, True):
        with stand_in():
            average = EMAWeightAveraging(decay=0.9)
            trainer = fit(Diary(), model={"cuda_graphs": graphs}, callbacks=[average], max_epochs=3)
        found.append((trainer.callback_metrics, state_of(trainer)[0]))
    (metrics, weights), (recorded, others) = found
    assert recorded.keys() == metrics.keys() >= {"train/auc", "train/logloss", "val/auc"}
    for name, value in metrics.items():
        torch.testing.assert_close(recorded[name], value, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(others, weights, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["adagrad", "lazy_adam", "adam"])
def test_a_fit_goes_on_from_a_checkpoint_on_either_device(tmp_path, optimizer):
    """From the midst of a recorded fit to a recorded one, to a plain one, and to that of a CPU."""

    def go_on(graphs):
        found = fit(Diary(), path, model={**model, "cuda_graphs": graphs}, max_epochs=4)
        torch.testing.assert_close(state_of(found)[:2], expected, rtol=1e-3, atol=1e-4)
        return found.optimizers[0].param_groups[0]

    model = {"optimizer": optimizer}
    with stand_in():
        whole = Diary(tmp_path)
        expected = state_of(fit(whole, model=model, max_epochs=4))[:2]
        path = next(p for p, n in whole.checkpoints if "batch" in p.name and n > 15)
        assert Tape.replays
        go_on("auto")
        go_on(False)
    group = go_on("auto")
    assert isinstance(group["lr"], float)
    assert not group.get("capturable")


def test_batches_of_many_shapes_are_trained_on_plainly():
    class AnySize(SmallRows):
        def loader(self, split, **options):
            cut = lambda i, batch: take(batch, slice(0, 3 + i % 5))  # noqa: E731
            return Changed(super().loader(split, **options), cut)

    assert_equal_steps(data=AnySize(batch_size=8), epochs=6)
    assert Tape.made == 4


class Freezes(pl.Callback):
    """Trains the deep part in every other pair of steps alone, and swaps a weight once."""

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        module.deep.requires_grad_(trainer.global_step // 10 % 2 == 0)

    def on_train_epoch_start(self, trainer, module):
        if trainer.current_epoch == 5:
            module.embedding.table.data = module.embedding.table.data.clone()


def test_what_is_changed_in_the_midst_is_recorded_anew():
    assert_equal_steps(epochs=12, trainer={"callbacks": [Freezes]})
    assert Tape.made > 4
    pruned = partial(ModelPruning, "l1_unstructured", amount=0.5, parameter_names=["weight"])
    options = {"precision": "32-true", "tolerance": 1e-5, "trainer": {"callbacks": [pruned]}}
    assert_equal_steps(model="WideDeep", epochs=6, **options)
    assert Tape.made > 2


class Looks(pl.Callback):
    def on_after_backward(self, trainer, module):
        pass


def says(capsys, reason, **options):
    with stand_in():
        losses_of(**options)
        assert Tape.made == 0
        said = capsys.readouterr().err
        assert reason in said
        assert said.count("not recorded as CUDA graphs") == 1
        if "data" not in options:
            with pytest.raises(ZooError, match=r"model\.cuda_graphs is true"):
                losses_of(cuda_graphs=True, **options)


@pytest.mark.parametrize(
    ("reason", "options"),
    [
        ("callback Looks looks at", {"trainer": {"callbacks": [Looks]}}),
        (
            "callback LambdaCallback looks at",
            {"trainer": {"callbacks": [partial(LambdaCallback, on_before_optimizer_step=print)]}},
        ),
        ("accumulated", {"trainer": {"accumulate_grad_batches": 2}}),
        ("Adafactor has no step", {"optimizer": "adafactor", "sparse_gradients": False}),
        ("SGD has no step of rows", {"optimizer": "sgd"}),
        ("detect_anomaly", {"trainer": {"detect_anomaly": True}}),
        (
            "options of the optimizer other than its learning rate",
            {
                "optimizer": "adam",
                "lr_scheduler": {"class_path": "OneCycleLR"},
                "lr_scheduler_interval": "step",
            },
        ),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_what_cannot_be_recorded_is_said_once(capsys, reason, options):
    says(capsys, reason, **options)


def test_lists_are_trained_on_plainly(capsys):
    class WithLists(SmallRows):
        schema = Schema((*SmallRows.schema.fields, Field("l", "multi", 4)))

        def loader(self, split, **options):
            return Changed(super().loader(split, **options), self.with_lists)

        def with_lists(self, _, batch):
            places = torch.arange(batch.rows)
            ids, ones = torch.zeros_like(places).int(), torch.ones_like(places)
            return batch._replace(lists=Lists(ids, places.unsqueeze(1), ones.unsqueeze(1)))

    says(capsys, "hold lists", data=WithLists())


class Mine(zoo.DeepFM):
    calls = 0

    def forward(self, batch):
        type(self).calls += 1  # of which a recording would know nothing
        return super().forward(batch)


def test_models_of_ones_own_are_recorded_where_asked(capsys):
    zoo_models = pytest.MonkeyPatch()
    zoo_models.setattr(zoo, "Mine", Mine, raising=False)
    try:
        with stand_in():
            losses_of("Mine")
            assert Tape.made == 0
            assert "Mine is not of this package" in capsys.readouterr().err
            losses_of("Mine", cuda_graphs=True)
            assert Tape.made == 2
    finally:
        zoo_models.undo()


def test_a_failed_recording_is_said_and_trained_plainly(capsys):
    class Fails(Tape):
        def __init__(self, function, beside=None):
            raise RuntimeError("operation not permitted\nwhen stream is capturing")

    with stand_in():
        plain, _ = losses_of(cuda_graphs=False)
    with stand_in(Fails):
        found, _ = losses_of()
        assert torch.equal(found, plain)
        said = capsys.readouterr().err
        assert "PyTorch cannot record them (operation not permitted when stream is" in said
        with pytest.raises(ZooError, match="operation not permitted"):
            losses_of(cuda_graphs=True)


def test_on_a_cpu_nothing_is_recorded_or_said(capsys):
    losses_of(epochs=1)
    assert "recorded" not in capsys.readouterr().err
    with pytest.raises(ZooError, match="cannot be recorded: the device is cpu"):
        losses_of(cuda_graphs=True)
    with pytest.raises(ZooError, match="cuda_graphs must be auto, true or false, got 'no'"):
        losses_of(cuda_graphs="no")
