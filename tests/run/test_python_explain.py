"""What fields and interactions add to the logits of a DataFrame's rows."""

import numpy as np
import pandas as pd
import pytest
import scipy.special
import torch
from support.python_runs import fit, table

import zoo
from datamodules.tabular.declared import TableField
from zoo import ZooError

FIELDS = [
    TableField("price", "numerical", transform="log"),
    TableField("item", "categorical"),
    TableField("user", "categorical"),
    TableField("tags", "multi"),
]
MODELS = {
    **{
        name: {"hidden_units": [8]}
        for name in ("WideDeep", "DeepFM", "DCN", "AutoInt", "FiBiNET", "InterHAt")
    },
    "AdditiveNetwork": {"terms": [["price"], ["user"], ["tags"], ["item", "price"]]},
    "xDeepFM": {"hidden_units": [8], "cin_layers": [4]},
    "InterpretableMLP": {},
}
LEFT = ("(weaker interactions)", "(rest)")


def rows(count=300):
    frame = table(count)
    frame["tags"] = [["new", "old"][: i % 3] for i in range(count)]
    return frame


def logits(explained, index):
    """The sum of the lines of each row, in the order of the rows."""
    number = (explained.fields == "(intercept)").cumsum() - 1
    assert explained.index.equals(pd.Index(index).take(number))
    return explained.contribution.groupby(number.to_numpy()).sum().to_numpy()


@pytest.mark.parametrize("name", MODELS)
def test_contributions_add_up_to_the_logit(name, workplace):
    model = {"class_path": name, "embedding_dim": 4, **MODELS[name]}
    run = fit(rows(), model=model, fields=FIELDS)
    with torch.no_grad():  # so that the model says something
        for parameter in run.model.parameters():
            parameter.mul_(3)
    few = rows(12)[4:9].set_index(pd.Index([*"abcad"]))
    before = {*workplace.rglob("*")}
    found = run.explain(few)
    assert {*workplace.rglob("*")} == before
    mine = scipy.special.expit(logits(found, few.index))
    np.testing.assert_allclose(mine, run.predict(few), atol=1e-5)
    named = {name for text in found.fields for name in text.split(" x ")}
    assert named <= {"price", "item", "user", "tags", "(intercept)", *LEFT}
    assert found.error[found.fields != "(rest)"].notna().all()


def test_an_additive_model_has_its_own_weights(workplace):
    """A linear model: the contribution of a field is half of what switching it off takes away."""
    run = fit(rows(), model={"class_path": "WideDeep", "hidden_units": [4]}, fields=FIELDS[1:3])
    with torch.no_grad():
        run.model.embedding.table.normal_()
        run.model.head.weight.zero_()
    few = rows(5)
    found = run.explain(few)
    (batch,) = run._encoded(few).batches
    places = batch.categorical.long() + run.model.embedding.offsets
    weights = run.model.embedding.table[places, -1] / 2
    for j, field in enumerate(("item", "user")):
        mine = found.contribution[found.fields == field].to_numpy()
        np.testing.assert_allclose(mine, weights[:, j].detach(), atol=1e-5)
    assert found[~found.fields.isin(["item", "user", "(intercept)", *LEFT])].empty
    assert found.contribution[found.fields.isin(LEFT)].abs().max() < 1e-4


def test_rows_that_cannot_be_used_are_left_out(workplace):
    run = fit(rows(), fields=FIELDS)
    few = rows(4).assign(price=["1.5", "much", "2", "3"])
    with pytest.warns(UserWarning, match="1 of 4 rows cannot be used"):
        found = run.explain(few)
    assert [*found.index.unique()] == [0, 2, 3]


def test_messages(workplace):
    run = fit(rows(), fields=FIELDS)
    with pytest.raises(ZooError, match="max_order must be at least 2, got 1"):
        run.explain(rows(3), max_order=1)
    with torch.no_grad():
        next(run.model.parameters()).fill_(torch.nan)
    with pytest.raises(ZooError, match="NaN or infinite"):
        run.explain(rows(3))
    assert zoo.load(run.path).explain(rows(3)).contribution.notna().all()
