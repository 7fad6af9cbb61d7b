"""Models of sessions: neither padding nor anything outside its subset reaches an expert."""

import itertools
import json
import math
import warnings
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

import train
from zoo import (
    Field,
    InterpretableGRU,
    InterpretableTransformer,
    LastSkip,
    MeanSkip,
    Schema,
    SessionBatch,
    ZooError,
)
from zoo.experts.attention import MaskedAttention, _attend, _attend_by_steps
from zoo.experts.lattice import Lattice
from zoo.experts.mixture import GATES, auxiliary_loss, gem_loss, log_selection
from zoo.experts.stacked import StackedLinear, StackedNorm
from zoo.run import PredictionWriter

ROOT = Path(train.__file__).parent
SCHEMA = Schema(
    (
        Field("position", "numerical", group="position"),
        Field("hour", "numerical", group="context", past_only=True),
        Field("premium", "numerical", group="context", past_only=True),
        Field("skip_2", "numerical", group="interaction", past_only=True),
        Field("year", "numerical", group="general"),
        Field("energy", "numerical", group="music"),
        Field("valence", "numerical", group="music"),
    )
)
NAMES = [field.name for field in SCHEMA.fields]
FUTURE = [field.name for field in SCHEMA.future]
# as those of the paper: three left sides whose right side is the position alone
SUBSETS = {
    "context": ["position", "context"],
    "interaction": ["position", "interaction"],
    "music": ["position", "music"],
    "listening": ["position", "context", "interaction"],
    "all": ["*"],
}
MODELS = [InterpretableTransformer, InterpretableGRU]
T, T_NEXT = 4, 3

each_model = pytest.mark.parametrize("model_class", MODELS)
# the right side of a subset must not be empty
subsets = st.lists(
    st.sets(st.sampled_from(NAMES)).map(lambda s: sorted(s | {"position"})),
    min_size=1,
    max_size=5,
    unique_by=tuple,
).map(lambda sets: {f"s{i}": fields for i, fields in enumerate(sets)})


def build(model_class, given_subsets=SUBSETS, seed=0, **options):
    torch.manual_seed(seed)
    experts = len(given_subsets) if given_subsets else 1
    sizes = {"width": 4 * experts}
    if model_class is InterpretableTransformer:
        sizes |= {"blocks": 2, "heads": 2 * experts, "feed_forward": 6 * experts}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "fields in no subset")
        return model_class(SCHEMA, subsets=given_subsets, **(sizes | options))


def ends(lengths, time):
    return torch.arange(time) < torch.tensor(lengths).unsqueeze(1)


def random_batch(sessions=5, seed=0, past=None, future=None):
    """Random sessions, padding as random as the rest."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, T + 1, (2, sessions), generator=generator)
    future_mask = ends(future or lengths[1].clamp(max=T_NEXT).tolist(), T_NEXT)
    labels = torch.randint(2, (sessions, T_NEXT), generator=generator)
    batch = SessionBatch(
        torch.randn(sessions, T, len(NAMES), generator=generator),
        ends(past or lengths[0].tolist(), T),
        torch.randn(sessions, T_NEXT, len(FUTURE), generator=generator),
        future_mask,
        labels * future_mask.float(),
        torch.arange(sessions) * 2,
    )
    batch.past[..., NAMES.index("skip_2")].gt_(0)
    return batch


def train_some(model, batches, **options):
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **options,
    )
    loader = DataLoader(batches, batch_size=None)
    trainer.fit(model, loader, loader)
    return trainer


# Restriction is exact


def expert_gradients(network, batch, expert):
    """z of an expert over the tracks that exist, and the gradients of its part of the loss."""
    network.zero_grad()
    known = network.known(batch)
    z = network.opinions(batch)[known]
    log_alpha = log_selection(z.detach(), network.inclusion, network.gate)
    part = torch.full((len(network.lattice),), -math.inf)
    part[expert] = 0
    gem_loss(z, batch.label[known], log_alpha + part).backward()  # weight zero for all others
    gradients = {n: p.grad.clone() for n, p in network.named_parameters()}
    return z[:, expert].detach().clone(), gradients


def changed(batch, field):
    past, future = batch.past.clone(), batch.future.clone()
    past[..., NAMES.index(field)] += 1.5
    if field in FUTURE:
        future[..., FUTURE.index(field)] -= 2.5
    return batch._replace(past=past, future=future)


def assert_the_same_bits(found, expected):
    assert torch.equal(found[0], expected[0])
    for name, gradient in expected[1].items():
        assert torch.equal(found[1][name], gradient), name


@each_model
@given(subsets, st.sampled_from(GATES), st.integers(0, 99))
@settings(deadline=None, max_examples=25)
def test_inputs_outside_its_subset_change_no_bit_of_an_expert(
    model_class, given_subsets, gate, seed
):
    network = build(model_class, given_subsets, seed, gate=gate)
    batch = random_batch(seed=seed)
    for i, fields in enumerate(network.lattice.fields):
        expected = expert_gradients(network, batch, i)
        for field in set(NAMES) - set(fields):
            assert_the_same_bits(expert_gradients(network, changed(batch, field), i), expected)


@each_model
def test_inputs_inside_its_subset_reach_an_expert(model_class):
    network = build(model_class)
    batch = random_batch(past=[T] * 5)
    for i, fields in enumerate(network.lattice.fields):
        z, _ = expert_gradients(network, batch, i)
        for field in fields:
            assert not torch.equal(z, expert_gradients(network, changed(batch, field), i)[0])


@each_model
@given(subsets, st.integers(0, 99), st.sampled_from([1e3, math.inf, math.nan]))
@settings(deadline=None, max_examples=25)
def test_padding_changes_no_bit(model_class, given_subsets, seed, noise):
    network = build(model_class, given_subsets, seed)
    batch = random_batch(seed=seed)
    past, future = batch.past.clone(), batch.future.clone()
    past[~batch.past_mask] = noise
    future[~batch.future_mask] = noise
    padded = batch._replace(past=past, future=future, label=batch.label)
    for i in range(len(network.lattice)):
        expected = expert_gradients(network, batch, i)
        assert all(g.isfinite().all() for g in expected[1].values())
        assert_the_same_bits(expert_gradients(network, padded, i), expected)


@each_model
@given(subsets, st.integers(0, 99))
@settings(deadline=None, max_examples=25)
def test_an_expert_gives_no_gradient_to_those_it_builds_on(model_class, given_subsets, seed):
    network = build(model_class, given_subsets, seed)
    batch = random_batch(seed=seed)
    for i in range(len(network.lattice)):
        _, gradients = expert_gradients(network, batch, i)
        for name, module in network.named_modules():
            if isinstance(module, StackedLinear):
                assert not gradients[f"{name}.blocks"][module.rows != i].any()
                gradients[f"{name}.bias"][:, i] = 0
                assert not gradients[f"{name}.bias"].any()
            elif isinstance(module, StackedNorm):
                for parameter in ("weight", "bias"):
                    gradients[f"{name}.{parameter}"][i] = 0
                    assert not gradients[f"{name}.{parameter}"].any()
        for name, gradient in gradients.items():
            if ".restriction." in name and f".experts.{i}." not in name:
                assert not gradient.any(), name


@each_model
def test_gradient_reaches_every_parameter(model_class):
    network = build(model_class)
    network.training_step(random_batch(200)).backward()
    without = [n for n, p in network.named_parameters() if not p.grad.any()]
    assert without == []


@each_model
def test_longer_padding_changes_nothing(model_class):
    network = build(model_class).eval()
    batch = random_batch(past=[0, 1, 2, 3, 4])
    longer = SessionBatch(
        *(torch.cat([t, torch.zeros_like(t)], 1) for t in batch[:5]),
        batch.row,
    )
    expected, found = network(batch), network(longer)[:, :T_NEXT]
    assert expected.isfinite().all()
    torch.testing.assert_close(found[batch.future_mask], expected[batch.future_mask])
    alone = network(SessionBatch(*(t[2:3] for t in batch)))
    torch.testing.assert_close(alone, expected[2:3])


@each_model
def test_tracks_without_a_label_are_neither_learned_nor_scored(model_class):
    network = build(model_class, fallback=True, auxiliary=0.5)
    batch = random_batch(future=[3, 3, 3, 3, 3])
    label = batch.label.clone()
    label[:, 1] = math.nan
    found = network.training_step(batch._replace(label=label))
    known = batch.future_mask.clone()
    known[:, 1] = False
    z = network.opinions(batch)[known]
    selected = log_selection(z, network.inclusion, "abs", fallback=list(SUBSETS).index("all"))
    expected = gem_loss(z, batch.label[known], selected)
    expected = expected + 0.5 * auxiliary_loss(z, batch.label[known])
    torch.testing.assert_close(found, expected)
    assert network.metrics["train/"].counts.tolist() == [10, 5, 5, 10]


# Layers


@given(subsets, st.integers(1, 3), st.integers(0, 99))
@settings(deadline=None)
def test_a_stacked_layer_is_the_full_matrix_times_its_mask(given_subsets, parts, seed):
    torch.manual_seed(seed)
    lattice = Lattice(SCHEMA, given_subsets)
    layer = StackedLinear(lattice, 2, 3, parts)
    mask = lattice.block_mask([3] * len(lattice), [2] * len(lattice)).repeat(parts, 1)
    matrix = layer.matrix()
    assert torch.equal(matrix != 0, mask)
    assert layer.blocks.numel() == int(mask.sum())
    x = torch.randn(4, 5, 2 * len(lattice), requires_grad=True)
    y = layer(x)
    torch.testing.assert_close(y, x @ matrix.T + layer.bias.flatten())
    g = torch.randn_like(y)
    y.backward(g)
    own = torch.block_diag(*[torch.ones(3, 2)] * len(lattice)).repeat(parts, 1)
    torch.testing.assert_close(x.grad, g @ (matrix.detach() * own))
    of_matrix = (g.flatten(0, 1).T @ x.detach().flatten(0, 1)).view(
        parts, len(lattice), 3, len(lattice), 2
    )
    for block, i, j in zip(layer.blocks.grad, layer.rows, layer.columns, strict=True):
        torch.testing.assert_close(block, of_matrix[:, i, :, j])
    torch.testing.assert_close(layer.bias.grad.flatten(), g.sum((0, 1)))


def test_each_expert_is_normalised_by_itself():
    norm = StackedNorm(3, 4)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    x = torch.randn(2, 5, 12)
    found = norm(x).unflatten(2, (3, 4))
    for i, part in enumerate(x.split(4, 2)):
        expected = torch.nn.functional.layer_norm(part, (4,), norm.weight[i], norm.bias[i])
        torch.testing.assert_close(found[:, :, i], expected)


@pytest.mark.parametrize("cross", [False, True])
def test_attention_of_one_subset_is_that_of_torch(cross):
    torch.manual_seed(0)
    ours = MaskedAttention(Lattice(SCHEMA), 24, 4)
    theirs = torch.nn.MultiheadAttention(24, 4, batch_first=True)
    for parameter in ours.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    layers = (ours.query, ours.memory)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([layer.matrix() for layer in layers]))
        theirs.in_proj_bias.copy_(torch.cat([layer.bias.flatten() for layer in layers]))
        theirs.out_proj.weight.copy_(ours.output.matrix())
        theirs.out_proj.bias.copy_(ours.output.bias.flatten())
    memory = torch.randn(6, 7, 24)
    query = torch.randn(6, 5, 24) if cross else memory
    mask = ends([1, 2, 3, 5, 6, 7], 7)
    expected, _ = theirs(query, memory, memory, key_padding_mask=~mask, need_weights=False)
    torch.testing.assert_close(ours(query, memory, mask), expected, rtol=1e-5, atol=1e-5)


def test_attention_by_steps_is_the_fused_one():
    q, k, v = (torch.randn(3, time, 4, 5, requires_grad=True) for time in (6, 7, 7))
    mask = ends([1, 4, 7], 7)
    results = [attend(q, k, v, mask) for attend in (_attend, _attend_by_steps)]
    torch.testing.assert_close(results[0], results[1])
    gradients = [torch.autograd.grad(result.square().sum(), (q, k, v)) for result in results]
    torch.testing.assert_close(gradients[0], gradients[1])


def test_a_gru_of_one_subset_is_that_of_torch():
    network = build(InterpretableGRU, None, width=6)
    batch = random_batch(past=[T] * 5, future=[T_NEXT] * 5)
    states = None
    for ours, x in ((network.past, batch.past), (network.future, batch.future)):
        theirs = torch.nn.GRU(x.shape[2], 6, batch_first=True)
        (first,) = ours.inputs.restriction.experts
        torch.nn.init.normal_(first.bias)
        torch.nn.init.normal_(ours.hidden.bias)
        with torch.no_grad():
            theirs.weight_ih_l0.copy_(first.weight)
            theirs.bias_ih_l0.copy_(first.bias)
            theirs.weight_hh_l0.copy_(ours.hidden.matrix())
            theirs.bias_hh_l0.copy_(ours.hidden.bias.flatten())
        features, states = theirs(x, states)
    torch.testing.assert_close(network.encode(batch), features)


def test_one_subset_is_the_plain_network():
    network = build(InterpretableTransformer, None, width=8, heads=2, feed_forward=16)
    batch = random_batch()
    torch.testing.assert_close(network(batch), 2 * network.opinions(batch)[..., 0])


# Models


@each_model
def test_a_checkpoint_reloads_by_itself_with_equal_logits(model_class, tmp_path):
    network = build(model_class)
    trainer = pl.Trainer(barebones=True, accelerator="cpu")
    trainer.strategy.connect(network)
    trainer.save_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    loaded = model_class.load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    assert loaded.schema == SCHEMA
    assert loaded.lattice.names == tuple(SUBSETS)
    assert torch.equal(loaded(random_batch()), network(random_batch()))


@each_model
def test_predictions_are_lines_of_tracks_with_their_attribution(model_class):
    network = build(model_class).eval()
    batch = random_batch(2, future=[3, 1])
    found = network.predict_step(batch)
    assert found["row"].tolist() == [0, 0, 0, 2]
    assert found["position"].tolist() == [1, 2, 3, 1]
    torch.testing.assert_close(found["probability"], network(batch)[batch.future_mask].sigmoid())
    total = sum(found[f"attribution_{name}"] for name in SUBSETS)
    torch.testing.assert_close(total, torch.ones(4))
    assert set(found) == {*network.prediction_keys, *network.prediction_columns}


@each_model
def test_a_skip_that_goes_on_is_learned_and_attributed(model_class):
    """B repeats A's last skip: what interaction sees, and context does not."""
    batches = []
    for seed in range(150):
        batch = random_batch(64, seed)
        last = batch.past_mask.sum(1, keepdim=True) - 1
        skipped = batch.past[..., NAMES.index("skip_2")].gather(1, last)
        batch.past[..., 0] = torch.arange(T) - last  # events since
        batches.append(batch._replace(label=skipped * batch.future_mask))
    network = build(model_class, width=40, learning_rate=0.01)
    with pytest.warns(UserWarning, match="^expert interaction has most to say"):
        trainer = train_some(network, batches)
    assert trainer.callback_metrics["val/acc"] > 0.97


@pytest.mark.filterwarnings("ignore:.*of a Tensor that is not a leaf", "ignore:.*instantiated")
@each_model
@pytest.mark.parametrize(
    "precision", ["bf16-mixed", "64-true", pytest.param("compiled", marks=pytest.mark.slow)]
)
def test_every_precision_trains_alike(model_class, precision):
    batches = [random_batch(32, seed) for seed in range(5)]
    found, expected = (build(model_class, optimizer="sgd", learning_rate=0.01) for _ in range(2))
    train_some(expected, batches)
    if precision == "compiled":
        train_some(torch.compile(found, backend="aot_eager"), batches)
    else:
        if precision == "64-true":
            batches = [b._replace(past=b.past.double(), future=b.future.double()) for b in batches]
        train_some(found, batches, precision=precision)
    found, tolerance = found.float(), 0.1 if precision == "bf16-mixed" else 1e-3
    batch = random_batch(50, 9)
    # of experts that know nothing, rounding decides which of them the mixture hears
    found, expected = found.opinions(batch), expected.opinions(batch)
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("model_class", "options", "message"),
    [
        (InterpretableTransformer, {"width": 12}, r"width must be .* of experts, 5, got 12"),
        (InterpretableTransformer, {"heads": 6}, r"heads must be .* of experts, 5, got 6"),
        (InterpretableTransformer, {"heads": 0}, "heads must be a positive multiple"),
        (InterpretableTransformer, {"heads": 15}, "heads must divide the width 20, got 15"),
        (InterpretableTransformer, {"feed_forward": 3}, "feed_forward must be a positive"),
        (InterpretableTransformer, {"blocks": 0}, "blocks must be at least 1"),
        (InterpretableGRU, {"width": -5}, "width must be a positive multiple"),
        (InterpretableGRU, {"dropout": 1.0}, "dropout must be at least 0 and less than 1"),
        (InterpretableGRU, {"gate": "soft"}, "gate must be one of"),
        (InterpretableGRU, {"normalization": "batch"}, "normalization must be one of"),
        (InterpretableGRU, {"learning_rate": 0}, "learning_rate must be positive"),
        (InterpretableGRU, {"min_learning_rate": 1.0}, "min_learning_rate must be between 0"),
    ],
)
def test_an_option_that_makes_no_sense_is_named(model_class, options, message):
    with pytest.raises(ZooError, match=f"^model.{message}"):
        build(model_class, **options)


@each_model
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({}, "at least one subset"),
        ({"a": []}, "a is empty"),
        ({"a": ["mood"]}, "a names mood, which is neither a field nor a group"),
        ({"a": ["interaction"], "b": ["*"]}, "a holds no field that is known of the tracks"),
    ],
)
def test_subsets_that_make_no_sense_are_told(model_class, bad, message):
    with pytest.raises(ZooError, match=message):
        model_class(SCHEMA, subsets=bad, width=8)


@pytest.mark.parametrize("model_class", [*MODELS, LastSkip])
def test_sessions_have_numerical_fields_only(model_class):
    schema = Schema((*SCHEMA.fields, Field("track", "categorical", 9)))
    with pytest.raises(ZooError, match=f"{model_class.__name__} takes .* here: track$"):
        model_class(schema)


def test_the_learning_rate_falls_to_its_floor_and_no_further():
    network = build(InterpretableGRU, plateau_decay=0.1, min_learning_rate=1e-6)
    chosen = network.configure_optimizers()
    for _ in range(5):  # the first is the best
        chosen["lr_scheduler"]["scheduler"].step(1.0)
    assert chosen["optimizer"].param_groups[0]["lr"] == pytest.approx(1e-6)
    assert chosen["lr_scheduler"]["monitor"] == "val/logloss"


# Baselines


@pytest.mark.filterwarnings("ignore:.*contains no parameters")
@pytest.mark.parametrize("baseline", [LastSkip, MeanSkip])
def test_a_baseline_reloads_too(baseline, tmp_path):
    trainer = pl.Trainer(barebones=True, accelerator="cpu")
    trainer.strategy.connect(baseline(SCHEMA))
    trainer.save_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    loaded = baseline.load_from_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    assert torch.equal(loaded(random_batch()), baseline(SCHEMA)(random_batch()))


def test_baselines_by_hand():
    skipped = torch.tensor([[1.0, 0, 0, 1], [1, 1, 0, 1], [1, 0, 1, 1], [1, 1, 1, 1]])
    batch = random_batch(4, past=[4, 3, 2, 0])
    batch.past[..., NAMES.index("skip_2")] = skipped
    for baseline, expected in (
        (LastSkip(SCHEMA), [2 / 3, 1 / 3, 1 / 3, 1 / 2]),
        (MeanSkip(SCHEMA), [1 / 2, 3 / 5, 1 / 2, 1 / 2]),
    ):
        found = baseline(batch).sigmoid()
        torch.testing.assert_close(found, torch.tensor(expected).unsqueeze(1).expand(4, T_NEXT))
        assert not list(baseline.parameters())


@pytest.mark.parametrize("baseline", [LastSkip, MeanSkip])
def test_a_baseline_needs_the_known_skips(baseline):
    schema = Schema(tuple(field for field in SCHEMA.fields if field.name != "skip_2"))
    with pytest.raises(ZooError, match=f"{baseline.__name__} reads the field skip_2, .* position"):
        baseline(schema)


class Sessions(pl.LightningDataModule):
    """Random sessions.

    Args:
        predict_path: unused.
        predict_output: unused.
        encoder: unused.
    """

    def __init__(
        self,
        predict_path: str | None = None,
        predict_output: str | None = None,
        encoder: str | None = None,
    ):
        super().__init__()
        self.schema = SCHEMA
        self.predict_path, self.predict_output, self.encoder = predict_path, predict_output, encoder
        self.predict_rows = 5 * 2 + 3

    def ceiling(self):
        return {}

    def train_dataloader(self):
        return DataLoader([random_batch(5, seed) for seed in range(4)], batch_size=None)

    val_dataloader = test_dataloader = train_dataloader

    def predict_dataloader(self):
        return DataLoader([random_batch(5)], batch_size=None)


def command(*args):
    quiet = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
    argv = ["train.py", *map(str, args), *quiet, "--data=test_sessions_models.Sessions"]
    with mock.patch("sys.argv", argv), warnings.catch_warnings():
        train.main()


@pytest.mark.parametrize("name", ["LastSkip", "InterpretableGRU"])
def test_a_fit_on_the_command_line(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command("fit", f"--model=zoo.{name}", "--trainer.max_epochs=1", "--monitor=val/acc")
    (run,) = Path("runs").rglob("version_0")
    metrics = json.loads((run / "metrics.json").read_text())
    for split, metric in itertools.product(("val", "test"), ("acc", "acc@1", "maa", "logloss")):
        assert metrics[f"{split}/{metric}"] > 0
    checkpoint = ["--ckpt_path", run / "checkpoints/best.ckpt"]
    command("predict", "--config", run / "config.yaml", *checkpoint, "--data.predict_path=new.csv")
    table = pq.read_table(run / "predictions/new.parquet").to_pydict()
    lengths = random_batch(5).future_mask.sum(1).tolist()
    lines = [(2 * i, t) for i, length in enumerate(lengths) for t in range(1, length + 1)]
    lines += [(row, None) for row in range(13) if row not in range(0, 10, 2)]
    expected = sorted(lines, key=lambda line: (line[0], line[1] or 0))
    assert list(zip(table["row"], table["position"], strict=True)) == expected
    assert sum(p is None for p in table["probability"]) == 8


def test_several_processes_cannot_fit_a_baseline(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    two = ["--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.accelerator=cpu"]
    with pytest.raises(SystemExit, match=r"LastSkip has nothing to train, which .*devices=1$"):
        command("fit", "--model=zoo.LastSkip", "--monitor=val/acc", *two)


def test_rows_of_predictions_may_span_pieces_of_a_file(tmp_path):
    writer = PredictionWriter(tmp_path / "out.parquet")
    model = LastSkip(SCHEMA)
    trainer = mock.Mock(global_rank=0, world_size=1, is_global_zero=True)
    trainer.datamodule.predict_rows = 200_000
    writer.on_predict_start(trainer, model)
    row = torch.arange(0, 200_000, 2).repeat_interleave(2)
    outputs = {"row": row, "position": torch.arange(200_000) % 2 + 1}
    outputs |= {name: torch.rand(200_000) for name in ("probability", "label")}
    writer.on_predict_batch_end(trainer, model, outputs, None, 0)
    writer.on_predict_end(trainer, model)
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.schema.field("position").type == pa.int64()
    expected = [(r, p) for r in range(0, 200_000, 2) for p in ((r, 1), (r, 2), (r + 1, None))]
    found = zip(table["row"].to_pylist(), table["position"].to_pylist(), strict=True)
    assert list(found) == [pair for _, pair in expected]
