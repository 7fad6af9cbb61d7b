"""Fits: a planted truth is found, a teacher is learned from, terms that are not needed vanish."""

import math

import pytest
import pytorch_lightning as pl
import torch
from support.additive import SCHEMA, network, rows
from support.small_checkpoints import QUIET, saved
from torch.utils.data import DataLoader

from zoo import AdditiveNetwork, DeepFM, Field, Schema, ZooDataModule, ZooError
from zoo.data.batch import chunks

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers")
ROWS, STRENGTH = 4000, 1.5
SINGLES = [["a"], ["c"], ["b"], ["d"]]
OPTIONS = {"embedding_dim": 4, "rank": 2, "numerical_bins": 6, "learning_rate": 0.1}


def effects(batch):
    """Of `a` alone, and of `b` with `c`, which has no effect of either."""
    sign = 1 - 2 * (batch.categorical[:, 0] % 2).float()
    sign = sign - sign.mean()
    return batch.numerical[:, 0].clamp(-1, 1) * STRENGTH, sign * batch.numerical[:, 1].tanh() * 2


def planted(seed):
    batch = rows(seed, ROWS)
    generator = torch.Generator().manual_seed(seed)
    chance = sum(effects(batch)).sigmoid()
    return batch._replace(label=torch.bernoulli(chance, generator=generator))


class Rows(ZooDataModule):
    """Rows of the planted truth."""

    schema = SCHEMA

    def _loader(self, seed):
        return DataLoader([*chunks(planted(seed), 200)], batch_size=None)

    def train_dataloader(self):
        return self._loader(0)

    def val_dataloader(self):
        return self._loader(1)


def fit(model, epochs=3, data=None):
    with torch.enable_grad():
        _fit(model, epochs, data or Rows())
    return model.eval()


def _fit(model, epochs, data):
    trainer = pl.Trainer(max_epochs=epochs, accelerator="cpu", enable_checkpointing=False, **QUIET)
    trainer.fit(model, datamodule=data)


def made(terms, **options):
    torch.manual_seed(0)
    return AdditiveNetwork(SCHEMA, terms=terms, **{**OPTIONS, **options})


@torch.no_grad()
def test_planted_effects_are_found():
    model, batch = fit(made([*SINGLES, ["b", "c"], ["a", "d"]])), rows(2, 2000)
    found = dict(zip([t.name for t in model.terms], model.contributions(batch).T, strict=True))
    for name, effect in zip(("a", "c x b"), effects(batch), strict=True):
        assert torch.corrcoef(torch.stack([found[name], effect]))[0, 1] > 0.95, name
    others = {name: float(values.std()) for name, values in found.items()}
    assert max(std for name, std in others.items() if name not in ("a", "c x b")) < 0.3
    torch.testing.assert_close(
        model.intercept + model.contributions(batch).sum(1), model(batch), atol=1e-5, rtol=1e-5
    )
    known = model.contributions(planted(0))  # all of which were kept
    torch.testing.assert_close(known.mean(0), torch.zeros(6), atol=1e-5, rtol=0)


def test_terms_that_are_not_needed_are_switched_off(tmp_path):
    model = fit(made([*SINGLES, ["b", "c"], ["a", "d"]], sparsity=0.05, smallest_effect=0.15), 4)
    assert [term.name for term in model.terms if term.on] == ["a", "c x b"]
    loaded = AdditiveNetwork.load_from_checkpoint(saved(model, tmp_path / "m.ckpt")).eval()
    assert loaded.terms == model.terms
    assert torch.equal(loaded(rows()), model(rows()))
    again = made([*SINGLES, ["b", "c"], ["a", "d"]])
    again.on_load_checkpoint(torch.load(tmp_path / "m.ckpt", weights_only=True))  # as a resumed fit
    assert again.terms == model.terms


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """The checkpoint of a black box that knows the truth well."""
    torch.manual_seed(0)
    model = fit(DeepFM(SCHEMA, hidden_units=[32, 32], learning_rate=0.05, embedding_dim=4), 4)
    return saved(model, tmp_path_factory.mktemp("teacher") / "t.ckpt")


def test_a_student_learns_what_its_teacher_says_and_loads_without_it(teacher, tmp_path):
    path = tmp_path / "teacher.ckpt"
    path.write_bytes(teacher.read_bytes())
    terms = [*SINGLES, ["b", "c"]]
    student = fit(made(terms, teacher=str(path), teacher_share=1.0))
    black, batch = DeepFM.load_from_checkpoint(teacher).eval(), rows(2, 2000)
    assert torch.corrcoef(torch.stack([student(batch), black(batch)]))[0, 1] > 0.95
    checkpoint = saved(student, tmp_path / "m.ckpt")
    path.unlink()
    loaded = AdditiveNetwork.load_from_checkpoint(checkpoint, weights_only=True).eval()
    assert torch.equal(loaded(batch), student(batch))
    content = torch.load(checkpoint, weights_only=True)
    assert not [name for name in content["state_dict"] if "teacher" in name]
    with pytest.raises(ZooError, match=r"no such file: .*teacher.ckpt \(model.teacher\)"):
        fit(loaded)


def test_what_is_learned_is_the_mean_of_label_and_teacher(teacher):
    """BCE(z, (1 - s) y + s p), of sampled negatives with the odds of the sample."""
    model = network(teacher=str(teacher), teacher_share=0.25)
    model.negative_sampling_rate = 0.5
    model._trainer = pl.Trainer(barebones=True, accelerator="cpu")
    model.setup("fit")
    batch = rows(3)
    black = DeepFM.load_from_checkpoint(teacher).eval()
    p = (black(batch) - math.log(0.5)).sigmoid()
    z = model.train()(batch)
    target = 0.75 * batch.label + 0.25 * p
    expected = -(target * z.sigmoid().log() + (1 - target) * (1 - z.sigmoid()).log()).mean()
    loss, logits = model.losses(batch)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(logits, z)
    loss, _ = model.eval().losses(batch)  # of validation rows the labels alone
    plain = torch.nn.functional.binary_cross_entropy_with_logits(model(batch), batch.label)
    torch.testing.assert_close(loss, plain)


def test_a_teacher_of_other_data_is_refused(tmp_path):
    schema = Schema((*SCHEMA.fields[:3], Field("d", "categorical", 6)))
    path = saved(DeepFM(schema, hidden_units=[4]), tmp_path / "t.ckpt")
    with pytest.raises(ZooError, match="was trained on another schema than these data: field d"):
        fit(made(None, teacher=str(path)))


def test_a_damaged_teacher_is_refused(tmp_path):
    path = tmp_path / "t.ckpt"
    path.write_bytes(b"nonsense")
    with pytest.raises(ZooError, match=r"model.teacher: .*t.ckpt cannot be used"):
        fit(made(None, teacher=str(path)))
    torch.save({"state_dict": {}}, path)
    with pytest.raises(ZooError, match=r"model.teacher: .*t.ckpt cannot be used"):
        fit(made(None, teacher=str(path)))
