"""Every exported model: equal to a reference, trainable, reloadable."""

import copy

import pytest
import pytorch_lightning as pl
import torch
from support import deepctr_reference
from torch.utils.data import DataLoader

import zoo
from zoo import (
    DCN,
    AutoInt,
    Batch,
    DeepFM,
    FiBiNET,
    Field,
    InterHAt,
    Schema,
    WideDeep,
    ZooError,
    xDeepFM,
)
from zoo.data.batch import chunks
from zoo.nn.embedding import FusedEmbedding

MODELS = [WideDeep, DeepFM, DCN, xDeepFM, AutoInt, FiBiNET, InterHAt]
SCHEMA = Schema(
    (
        Field("n0", "numerical"),
        Field("n1", "numerical"),
        Field("c0", "categorical", 7, "user"),
        Field("c1", "categorical", 11, "item"),
        Field("c2", "categorical", 5),
    )
)


def random_batch(rows=64, schema=SCHEMA, seed=0):
    generator = torch.Generator().manual_seed(seed)
    ids = [torch.randint(f.cardinality, (rows,), generator=generator) for f in schema.categorical]
    return Batch(
        numerical=torch.randn(rows, len(schema.numerical), generator=generator),
        categorical=torch.stack(ids, 1).int(),
        label=torch.randint(2, (rows,), generator=generator).float(),
    )


@pytest.fixture
def model(request):
    torch.manual_seed(0)
    return request.param(SCHEMA, embedding_dim=4, embedding_std=0.5, hidden_units=[8, 6])


each_model = pytest.mark.parametrize("model", MODELS, indirect=True)


def test_all_exported_models_are_tested():
    exported = {name for name, home in zoo.MODELS.items() if home.startswith("zoo.ctr.")}
    assert exported == {model.__name__ for model in MODELS}, "add the new model to MODELS"


@each_model
def test_logits_have_the_shape_of_the_batch(model):
    assert model(random_batch(13)).shape == (13,)


@each_model
def test_gradient_reaches_every_parameter(model):
    model.training_step(random_batch()).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


@each_model
def test_loss_is_the_cross_entropy_of_the_sigmoid(model):
    batch = random_batch()
    p = model(batch).sigmoid()
    expected = -(batch.label * p.log() + (1 - batch.label) * (1 - p).log()).mean()
    torch.testing.assert_close(model.training_step(batch), expected)


@each_model
def test_a_checkpoint_reloads_by_itself_with_equal_logits(model, tmp_path):
    path = tmp_path / "model.ckpt"
    trainer = pl.Trainer(barebones=True, accelerator="cpu")
    trainer.strategy.connect(model)
    trainer.save_checkpoint(path, weights_only=True)
    loaded = type(model).load_from_checkpoint(path, weights_only=True)
    batch = random_batch()
    torch.testing.assert_close(loaded(batch), model(batch), rtol=0, atol=0)
    assert loaded.schema == SCHEMA


@each_model
def test_a_checkpoint_holds_plain_data_only(model, tmp_path):
    path = tmp_path / "model.ckpt"
    trainer = pl.Trainer(barebones=True, accelerator="cpu")
    trainer.strategy.connect(model)
    trainer.save_checkpoint(path, weights_only=True)
    hyper_parameters = torch.load(path, weights_only=True)["hyper_parameters"]
    assert Schema.from_dict(hyper_parameters["schema"]) == SCHEMA
    assert hyper_parameters["hidden_units"] == [8, 6]


DEEP = {"hidden_units": [8, 6]}
PARITY = [
    (WideDeep, "WDL", DEEP, {}),
    (DeepFM, "DeepFM", DEEP, {}),
    (DCN, "DCN", {"cross_layers": 3, "first_order": True}, {"cross_num": 3}),
    (DCN, "DCN", {"cross_layers": 2}, {"cross_num": 2, "first_order": False}),
    (
        DCN,
        "DCN",
        {"cross_layers": 3, "parameterization": "matrix"},
        {"cross_num": 3, "cross_parameterization": "matrix", "first_order": False},
    ),
    (xDeepFM, "xDeepFM", {"cin_layers": [6, 4, 3]}, {"cin_layer_size": (6, 4, 3)}),
    (
        xDeepFM,
        "xDeepFM",
        {"cin_layers": [5, 4], "split_half": False},
        {"cin_layer_size": (5, 4), "cin_split_half": False},
    ),
    (AutoInt, "AutoInt", {"first_order": True}, {"att_layer_num": 3}),
    (AutoInt, "AutoInt", {"residual": False}, {"att_res": False, "first_order": False}),
    (AutoInt, "AutoInt", {"hidden_units": None}, {"dnn_hidden_units": (), "first_order": False}),
    (FiBiNET, "FiBiNET", {}, {}),
    (
        FiBiNET,
        "FiBiNET",
        {"bilinear": "each", "reduction": 2},
        {"bilinear_type": "each", "reduction_ratio": 2},
    ),
    (
        FiBiNET,
        "FiBiNET",
        {"bilinear": "all", "first_order": False},
        {"bilinear_type": "all", "first_order": False},
    ),
]


@pytest.mark.parametrize("numerical", [0, 3])
@pytest.mark.parametrize(("ours", "theirs", "options", "their_options"), PARITY)
def test_logits_equal_those_of_deepctr_torch(ours, theirs, options, their_options, numerical):
    fields = [Field(f"n{i}", "numerical") for i in range(numerical)]
    fields += [Field(f"c{i}", "categorical", 4 + i) for i in range(4)]
    schema = Schema(tuple(fields))
    torch.manual_seed(1)
    options = {**DEEP, **options}
    if ours is AutoInt:  # deepctr-torch attends to categorical fields in the embedding's width
        options |= {"attention_dim": None, "embed_numerical": False}
        their_options = {"att_layer_num": 3, "att_head_num": 2, **their_options}
    mine = ours(schema, embedding_dim=6, **options)
    peer = deepctr_reference.model(
        theirs, schema, 6, **{"dnn_hidden_units": (8, 6), **their_options}
    )
    deepctr_reference.copy_weights(mine, peer)
    batch = random_batch(200, schema)
    expected = deepctr_reference.logits(peer, batch)
    assert expected.std() > 0.1
    torch.testing.assert_close(mine(batch), expected, rtol=1e-5, atol=1e-5)


TABLE_4 = [  # millions of parameters on Criteo and Avazu
    (WideDeep, 18.1, 27.3),
    (DeepFM, 17.5, 26.7),
    (DCN, 17.5, 26.1),
    (xDeepFM, 18.5, 27.6),
    (AutoInt, 16.4, 25.1),
    (FiBiNET, 21.55, 29.88),  # which have no place in it: those of docs/models.md
    (InterHAt, 16.16, 24.89),
]


@pytest.mark.parametrize(("model_class", "criteo", "avazu"), TABLE_4)
def test_parameter_counts_of_the_papers_table_4(model_class, criteo, avazu):
    for numerical, categorical, ids, expected in (
        (13, 26, 998_960, criteo),
        (0, 23, 1_544_428, avazu),
    ):
        fields = [Field(f"n{i}", "numerical") for i in range(numerical)]
        sizes = [2] * (categorical - 1) + [ids - 2 * (categorical - 1)]
        fields += [Field(f"c{i}", "categorical", size) for i, size in enumerate(sizes)]
        with torch.device("meta"):
            model = model_class(Schema(tuple(fields)))
        count = sum(p.numel() for p in model.parameters())
        assert count / 1e6 == pytest.approx(expected, abs=0.1)


def test_attention_weights_are_those_of_the_layer():
    torch.manual_seed(0)
    model = AutoInt(SCHEMA, embedding_dim=4, attention_dim=6, heads=3, embedding_std=1.0)
    batch = random_batch()
    embedded = model.embedding(batch)
    fields, (first, *_) = model.attention(batch)
    assert fields == tuple(field.name for field in (*SCHEMA.numerical, *SCHEMA.categorical))
    layer = model.attention_layers[0]
    value = (embedded.vectors @ layer.weight.chunk(4, 1)[2]).unflatten(2, (3, 2))
    residual = embedded.vectors @ layer.weight.chunk(4, 1)[3]
    expected = torch.einsum("bhmk,bkha->bmha", first, value).flatten(2) + residual
    torch.testing.assert_close(layer(embedded.vectors), expected.relu())
    torch.testing.assert_close(first.sum(3), torch.ones(64, 3, 5))


def test_embedded_numbers_are_value_times_vector():
    embedding = FusedEmbedding(SCHEMA, 4, embed_numerical=True, init_std=1.0)
    batch = random_batch()
    vectors = embedding(batch).vectors
    assert vectors.shape == (64, 5, 4)
    expected = batch.numerical[:, 1, None] * embedding.numerical_vectors[1]
    torch.testing.assert_close(vectors[:, 1], expected)


def test_fields_do_not_share_rows_of_the_table():
    embedding = FusedEmbedding(SCHEMA, 4)
    last_of_first = torch.tensor([[6, 0, 0]])
    first_of_second = torch.tensor([[0, 0, 0]])
    rows = embedding.offsets + torch.cat((last_of_first, first_of_second))
    assert rows.tolist() == [[6, 7, 18], [0, 7, 18]]


@pytest.mark.parametrize("optimizer", ["adagrad", "sgd"])
def test_sparse_and_dense_gradients_give_equal_weights(optimizer):
    weights = []
    for sparse in (True, False):
        torch.manual_seed(0)
        model = DeepFM(
            SCHEMA, embedding_dim=4, hidden_units=[8], optimizer=optimizer, sparse_gradients=sparse
        )
        train(model, [random_batch(seed=s) for s in range(8)])
        assert model.embedding.sparse == sparse
        weights.append(model.state_dict())
    for name, expected in weights[1].items():
        torch.testing.assert_close(weights[0][name], expected, rtol=0, atol=1e-6)


def train(model, batches, **options):
    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    loader = DataLoader(batches, batch_size=None)
    trainer.fit(model, loader, loader)


def test_the_learning_rate_decays_after_each_epoch_without_progress():
    torch.manual_seed(0)
    model = DeepFM(SCHEMA, hidden_units=[8], optimizer="adam", plateau_decay=0.1)
    batch = random_batch()
    opposite = batch._replace(label=1 - batch.label)  # what is learned from one is wrong there
    rates = []
    keep = pl.callbacks.LambdaCallback(
        on_train_epoch_start=lambda trainer, _: rates.append(
            trainer.optimizers[0].param_groups[0]["lr"]
        )
    )
    trainer = pl.Trainer(
        max_epochs=4,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[keep],
    )
    trainer.fit(
        model, DataLoader([batch], batch_size=None), DataLoader([opposite], batch_size=None)
    )
    assert rates == pytest.approx([0.01, 0.01, 0.001, 0.0001])


@pytest.mark.parametrize("model_class", MODELS)
def test_learns_a_cross_that_a_linear_model_cannot(model_class):
    schema = Schema((Field("a", "categorical", 4), Field("b", "categorical", 4)))
    ids = torch.randint(2, 4, (4000, 2), generator=torch.Generator().manual_seed(0))
    label = (ids[:, 0] == ids[:, 1]).float()  # neither field alone says anything
    batch = Batch(numerical=torch.empty(len(ids), 0), categorical=ids, label=label)
    torch.manual_seed(0)
    options = {"embedding_dim": 4, "embedding_std": 0.1, "hidden_units": [16]}
    model = model_class(schema, learning_rate=0.05, **options)
    train(model, [*chunks(batch, 100)])
    assert ((model(batch) > 0) == (label > 0)).float().mean() > 0.99


@pytest.mark.parametrize(
    ("model_class", "options", "message"),
    [
        (DeepFM, {"embedding_dim": 0}, "embedding_dim must be at least 1"),
        (DeepFM, {"learning_rate": 0.0}, "learning_rate must be positive"),
        (DeepFM, {"plateau_decay": 1.0}, "plateau_decay must be between 0 and 1, got 1.0"),
        (DeepFM, {"optimizer": "magic"}, "optimizer must be one of"),
        (DeepFM, {"optimizer": "adam", "sparse_gradients": True}, "sparse_gradients needs"),
        (DeepFM, {"hidden_units": []}, "hidden_units must name at least one layer"),
        (DeepFM, {"hidden_units": [8, 0]}, "hidden_units must be positive"),
        (WideDeep, {"dropout": -0.1}, "dropout must be at least 0"),
        (DCN, {"cross_layers": 0}, "cross_layers must be at least 1"),
        (DCN, {"parameterization": "tensor"}, "parameterization must be vector or matrix"),
        (xDeepFM, {"cin_layers": []}, "cin_layers must name at least one layer"),
        (xDeepFM, {"cin_layers": [5, 4]}, "cin_layers must be even where split_half"),
        (AutoInt, {"heads": 3}, "heads must divide the width 64, got 3"),
        (AutoInt, {"heads": 0}, "heads must be at least 1"),
        (AutoInt, {"attention_layers": 0}, "attention_layers must be at least 1"),
        (FiBiNET, {"bilinear": "some"}, "bilinear must be one of all, each, interaction"),
        (FiBiNET, {"reduction": 0}, "reduction must be at least 1"),
    ],
)
def test_an_impossible_option_is_named(model_class, options, message):
    with pytest.raises(ZooError, match=message):
        model_class(SCHEMA, **options)


def test_an_unknown_option_is_an_error():
    with pytest.raises(TypeError, match="embeding_dim"):
        DeepFM(SCHEMA, embeding_dim=3)


def test_fibinet_without_a_pair_of_embedded_fields_is_refused():
    few = Schema((Field("n0", "numerical"), Field("c0", "categorical", 4)))
    with pytest.raises(ZooError, match=r"embed_numerical must be true.* must be two, got 1"):
        FiBiNET(few)
    assert FiBiNET(few, embed_numerical=True)(random_batch(3, few)).shape == (3,)


def test_xdeepfm_without_embedded_fields_is_refused():
    with pytest.raises(ZooError, match="embed_numerical must be true where no field is categor"):
        xDeepFM(Schema((Field("n0", "numerical"),)))


def test_a_checkpoint_of_another_schema_is_refused():
    other = Schema((*SCHEMA.fields[:-1], Field("c2", "categorical", 6)))
    checkpoint = {"model_class": "DeepFM", "hyper_parameters": {"schema": other.to_dict()}}
    with pytest.raises(ZooError, match=r"another schema.*field c2 .* 6 ids and .* 5 ids"):
        DeepFM(SCHEMA).on_load_checkpoint(checkpoint)


def test_a_checkpoint_of_another_model_is_refused():
    with pytest.raises(ZooError, match="holds AutoInt, not DeepFM"):
        DeepFM(SCHEMA).on_load_checkpoint({"model_class": "AutoInt"})


def test_a_checkpoint_of_other_options_is_refused(tmp_path):
    path, trainer = tmp_path / "model.ckpt", pl.Trainer(barebones=True, accelerator="cpu")
    trainer.strategy.connect(DeepFM(SCHEMA, hidden_units=[8], learning_rate=0.1))
    trainer.save_checkpoint(path, weights_only=True)
    content = torch.load(path, weights_only=True)
    with pytest.raises(ZooError, match=r"model.hidden_units is \[8\] there and \[9\] here$"):
        DeepFM(SCHEMA, hidden_units=[9], learning_rate=0.1).on_load_checkpoint(content)
    with pytest.raises(ZooError, match=r"deep.linears.1.bias is of another shape, or only in one"):
        DeepFM.load_from_checkpoint(path, hidden_units=[8, 8])
    assert DeepFM.load_from_checkpoint(path, learning_rate=0.2).learning_rate == 0.2


def test_a_damaged_checkpoint_is_refused_in_a_notebook(tmp_path):
    path, trainer = tmp_path / "model.ckpt", pl.Trainer(barebones=True, accelerator="cpu")
    model = DeepFM(SCHEMA, hidden_units=[8])
    trainer.strategy.connect(model)
    trainer.save_checkpoint(path, weights_only=True)
    content = bytearray(path.read_bytes())
    weights = model.embedding.table.detach().numpy().tobytes()
    content[content.index(weights) + 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ZooError, match="is damaged: its checksums"):
        DeepFM.load_from_checkpoint(path)
    with pytest.raises(TypeError, match="on an instance"):
        model.load_from_checkpoint(path)
    loaders = DataLoader([random_batch()], batch_size=None)
    with pytest.raises(ZooError, match="is damaged: its checksums"):
        trainer.validate(model, loaders, ckpt_path=path, weights_only=True)


@pytest.mark.parametrize("sparse", [True, False])
def test_the_gradient_of_the_table_is_sparse_where_it_is_said_to_be(sparse):
    model = DeepFM(SCHEMA, hidden_units=[8])
    model.embedding.sparse = sparse
    model.training_step(random_batch()).backward()
    assert model.embedding.table.grad.is_sparse == sparse


@each_model
@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_gradients_can_be_clipped(model, algorithm):
    model.optimizer, model.learning_rate = "sgd", 1.0
    before = [p.detach().clone() for p in model.parameters()]
    clipping = {"gradient_clip_val": 1e-3, "gradient_clip_algorithm": algorithm}
    train(model, [random_batch()], **clipping)
    steps = [(p - q).flatten() for p, q in zip(model.parameters(), before, strict=True)]
    size = torch.cat(steps).norm() if algorithm == "norm" else torch.cat(steps).abs().max()
    assert size.item() == pytest.approx(1e-3, rel=1e-2)


@each_model
@pytest.mark.parametrize(
    ("precision", "tolerance"), [("bf16-mixed", 0.03), ("bf16-true", 0.1), ("64-true", 1e-4)]
)
def test_every_precision_of_the_trainer_trains_alike(model, precision, tolerance):
    other = copy.deepcopy(model)
    for one, options in ((model, {}), (other, {"precision": precision})):
        # Adagrad's first steps are of one length, whatever rounding makes of the gradient
        one.optimizer, one.learning_rate = "sgd", 0.1
        train(one, [random_batch(seed=s) for s in range(5)], **options)
    batch = random_batch(200, seed=11)
    found, expected = other.float()(batch), model(batch)
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


FEW_LAYERS = {
    DCN: {"cross_layers": 2},
    xDeepFM: {"cin_layers": [4, 3]},
    AutoInt: {"attention_layers": 1},
}


@pytest.mark.parametrize("model_class", MODELS)
@pytest.mark.filterwarnings("ignore:.*of a Tensor that is not a leaf", "ignore:.*instantiated")
def test_a_compiled_model_trains_alike(model_class):
    torch.manual_seed(0)
    few = {"hidden_units": [8], **FEW_LAYERS.get(model_class, {})}
    model = model_class(SCHEMA, embedding_dim=4, embedding_std=0.5, **few)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    # Adagrad's first steps are of one length, whatever rounding makes of the gradient
    model.optimizer, model.learning_rate = "sgd", 0.1
    other = copy.deepcopy(model)
    # the last batch is smaller than the others
    batches = [random_batch(seed=s) for s in range(3)] + [random_batch(13, seed=3)]
    train(model, batches)
    train(torch.compile(other, backend="aot_eager"), batches)
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-5)
    breaks = torch._dynamo.utils.counters["graph_break"]
    assert all("disable()" in reason for reason in breaks), breaks
    # forward and loss, in training and validation, and again for the smaller batch
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 8
