"""Optimizers by name and class path, weight decay, embedding dropout."""

from inspect import signature

import pytest
import torch
from support.resuming import Diary, SmallRows, fit
from support.small_checkpoints import MODELS, fitted, small
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, dropout

from zoo import DeepFM
from zoo.inspect import load
from zoo.models.optimizers import OPTIMIZERS, groups_of
from zoo.models.sparse import takes_rows
from zoo.nn.embedding import FusedEmbedding
from zoo.nn.optim import Adagrad

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")
ADAMW = {"class_path": "torch.optim.AdamW", "init_args": {"betas": [0.9, 0.95]}}
SCHEDULERS = "torch.optim.lr_scheduler."


def deepfm(**options):
    torch.manual_seed(1)
    settings = {"embedding_dim": 2, "hidden_units": [4], "learning_rate": 0.3}
    return DeepFM(SmallRows.schema, **{**settings, **options})


def by_hand(model, optimizer, epochs):
    """Trains as any loop of torch would."""
    data = SmallRows()
    data.setup("fit")
    model.train()
    for epoch in range(epochs):
        loader = data.train_dataloader()
        if hasattr(loader, "set_epoch"):
            loader.set_epoch(epoch)
        for batch in loader:
            optimizer.zero_grad()
            binary_cross_entropy_with_logits(model(batch), batch.label).backward()
            optimizer.step()
    return model.state_dict()


def same(found, expected):
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


# Optimizers


def test_adamw_is_a_loop_of_torch_bit_for_bit():
    options = {"optimizer": ADAMW, "weight_decay": 0.1, "embedding_weight_decay": 0.01}
    found = fit(Diary(), model=options, max_epochs=1).lightning_module
    model = deepfm()
    parts = {
        0.1: ["deep.linears.0.weight", "head.weight"],
        0.01: ["embedding.table", "embedding.numerical_weight"],
        0.0: ["bias", "deep.linears.0.bias"],
    }
    named = dict(model.named_parameters())
    groups = [
        {"params": [named.pop(name) for name in names], "weight_decay": decay}
        for decay, names in parts.items()
    ]
    assert not named
    optimizer = torch.optim.AdamW(groups, lr=0.3, betas=(0.9, 0.95), fused=True)
    same(found.state_dict(), by_hand(model, optimizer, 1))


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_short_names_and_class_paths_are_the_same_optimizer(name):
    path = f"torch.optim.{OPTIMIZERS[name].__name__}"
    found = [
        fit(Diary(), model={"optimizer": spec, "sparse_gradients": False}, max_epochs=1)
        for spec in (name, path, {"class_path": path}, {"class_path": name, "init_args": {}})
    ]
    for trainer in found[1:]:
        same(trainer.lightning_module.state_dict(), found[0].lightning_module.state_dict())


def test_without_decay_there_is_one_group_in_the_order_of_before():
    for name, made in (("adagrad", Adagrad), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)):
        model = deepfm(optimizer=name)
        options = {"fused": True} if name == "adam" else {}
        expected = made(model.parameters(), lr=0.3, **options)
        found = model.configure_optimizers()["optimizer"]
        same(found.state_dict()["state"], expected.state_dict()["state"])
        (group,), (other,) = found.param_groups, expected.param_groups
        assert found.state_dict()["param_groups"] == expected.state_dict()["param_groups"]
        assert all(a is b for a, b in zip(group["params"], other["params"], strict=True))


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_every_optimizer_trains_and_its_checkpoint_is_plain_data(name, tmp_path):
    path = fitted(small("DeepFM", optimizer=name), tmp_path / "model.ckpt")
    model = DeepFM.load_from_checkpoint(path, weights_only=True)
    assert model.hparams["optimizer"] == name
    assert all(torch.isfinite(p).all() for p in model.parameters())


@pytest.mark.parametrize("name", ["adagrad", "adam", "adamw"])
def test_gradients_are_clipped_in_half_precision_too(name):
    options = {"gradient_clip_val": 1.0, "precision": "bf16-mixed", "max_epochs": 1}
    assert fit(Diary(), model={"optimizer": name}, **options).global_step == 5


def test_adamw_has_no_decay_of_its_own():
    (group,) = deepfm(optimizer="adamw").configure_optimizers()["optimizer"].param_groups
    assert group["weight_decay"] == 0


# Groups


@pytest.mark.parametrize("name", MODELS)
def test_neither_biases_nor_normalisations_decay(name):
    takes = signature(MODELS[name]).parameters
    model = small(name, **{norm: True for norm in ("layer_norm", "batch_norm") if norm in takes})
    if not [*model.parameters()]:
        return
    groups = {g["weight_decay"]: dict(g["params"]) for g in groups_of(model, 0.1, 0.0)}
    dense = groups[0.1]
    kept = {k: v for rate, group in groups.items() if rate == 0 for k, v in group.items()}
    assert {*dense, *kept} <= {*dict(model.named_parameters())}
    assert all(p.ndim > 1 for p in dense.values())
    assert not any("bias" in k or "norm" in k or k.endswith(".bn") for k in dense)
    biases = {k for k, _ in model.named_parameters() if k.rpartition(".")[2] == "bias"}
    assert not biases & {*dense}
    assert sum(len(g["params"]) for g in groups_of(model, 0.1, 0.0)) == len([*model.parameters()])


def test_a_shared_parameter_is_in_one_group():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.words = nn.Embedding(5, 3)
            self.out = nn.Linear(3, 5)
            self.out.weight = self.words.weight
            self.norm = nn.LayerNorm(3)
            self.memory = nn.GRU(3, 3)

    found = groups_of(Tied(), 0.1, 0.2)
    names = {g["weight_decay"]: [name for name, _ in g["params"]] for g in found}
    assert names == {
        0.1: ["memory.weight_ih_l0", "memory.weight_hh_l0"],
        0.2: ["words.weight"],
        0.0: ["out.bias", "norm.weight", "norm.bias", "memory.bias_ih_l0", "memory.bias_hh_l0"],
    }


@pytest.mark.parametrize(
    ("name", "arguments", "equal"),
    [
        ("adagrad", {"initial_accumulator_value": 0.1, "eps": 1e-6}, True),
        ("torch.optim.Adagrad", {"lr_decay": 0.1}, True),
        ("torch.optim.SGD", {}, True),
        ("sgd", {"momentum": 0.9}, False),
        ("adam", {}, False),
    ],
)
def test_several_processes_step_rows_also_with_options_of_the_optimizer(name, arguments, equal):
    """A single process takes the dense steps of before, whose numbers stay as they are."""
    spec = {"class_path": name, "init_args": arguments}
    for several in (True, False):
        found = takes_rows("auto", spec, decays=False, possible=True, several=several)
        assert found == (equal and several)


def test_sparse_gradients_go_with_a_decay_of_the_other_weights():
    options = {"optimizer": "adagrad", "weight_decay": 0.1}
    found = []
    for sparse in (True, False):
        trainer = fit(Diary(), model=options | {"sparse_gradients": sparse}, max_epochs=1)
        assert trainer.lightning_module.embedding.sparse == sparse
        found.append(trainer.lightning_module.state_dict())
    torch.testing.assert_close(*found, rtol=0, atol=1e-6)
    trainer = fit(Diary(), model=options | {"embedding_weight_decay": 0.1}, max_epochs=1)
    assert not trainer.lightning_module.embedding.sparse


def test_lazy_adam_leaves_the_rows_of_other_batches_where_they_are():
    for spec in ("lazy_adam", {"class_path": "zoo.nn.optim.LazyAdam"}):
        model = fit(Diary(), model={"optimizer": spec}, max_epochs=1).lightning_module
        assert model.embedding.sparse
        moved = (model.embedding.table != deepfm().embedding.table).any(1)
        assert moved.tolist() == [False] * 2 + [True] * 6  # whose ids are in the rows


@pytest.mark.parametrize("optimizer", ["adagrad", "adam", "adamw"])
def test_inspect_knows_which_state_is_whose(optimizer, tmp_path):
    options = {"optimizer": optimizer, "learning_rate": 0.1, "weight_decay": 0.1}
    model = small("WideDeep", **options, embedding_weight_decay=0.01)
    rows = [f.rows for f in load(fitted(model, tmp_path / "decays/model.ckpt")).fields if f.rows]
    # where the decay is a part of the gradient, all rows have gradients
    assert [row.untrained for row in rows] == ([3, 7, 1] if optimizer == "adamw" else [None] * 3)
    path = fitted(small("WideDeep", **options), tmp_path / "kept/model.ckpt")
    assert [f.rows.untrained for f in load(path).fields if f.rows] == [3, 7, 1]


def test_inspect_shows_the_classes_and_their_arguments(tmp_path):
    options = {"optimizer": ADAMW, "lr_scheduler": {"class_path": "ExponentialLR"}}
    options["lr_scheduler"]["init_args"] = {"gamma": 0.9}
    found = load(fitted(small("DeepFM", **options), tmp_path / "model.ckpt"))
    shown = [str(shown) for section in found.sections() for shown in section.content]
    assert any("torch.optim.AdamW" in text and "0.95" in text for text in shown)
    assert any("ExponentialLR" in text and "0.9" in text for text in shown)


# Dropout of embeddings


def test_embedding_dropout_is_one_mask_for_all_parts():
    embedding = FusedEmbedding(SmallRows.schema, 3, init_std=1.0, dropout=0.5)
    data = SmallRows()
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    whole = embedding.eval()(batch)
    torch.manual_seed(3)
    found = embedding.train()(batch)
    torch.manual_seed(3)
    expected = dropout(whole.vectors, 0.5)
    same(found.vectors, expected)
    same(found.flat, torch.cat((expected.flatten(1), batch.numerical), 1))
    same(found.linear, whole.linear)
    found.flat.square().sum().backward()
    kept = expected.square().mul(2 * 2).div(whole.vectors.detach())  # d (2 v)^2 = 8 v
    table = torch.zeros_like(embedding.table)
    table[:, :3].index_add_(0, batch.categorical[:, 0], kept[:, 0].detach() / 2)
    torch.testing.assert_close(embedding.table.grad, table)


@pytest.mark.parametrize("name", [n for n in MODELS if hasattr(small(n), "embedding")])
def test_every_model_of_rows_trains_with_embedding_dropout(name, tmp_path):
    model = small(name, embedding_dropout=0.5, embedding_std=0.1)
    assert model.embedding.dropout == 0.5
    path = fitted(model, tmp_path / "model.ckpt", epochs=1)
    assert MODELS[name].load_from_checkpoint(path, weights_only=True).embedding.dropout == 0.5
