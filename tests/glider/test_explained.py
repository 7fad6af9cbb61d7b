"""Explanations of single predictions: of every model, and against exact coefficients."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import session_networks
from support.explained_rows import rows, sessions
from support.small_checkpoints import MODELS, small

import zoo
from zoo import Batch, Field, Schema, ZooError
from zoo.data.batch import take
from zoo.data.module import ZooDataModule
from zoo.glider.explained import Explainer
from zoo.glider.scoring import NotFinite
from zoo.glider.session_switches import SessionMeans, SessionOnOff
from zoo.glider.walsh import SharedMasks
from zoo.glider.walsh.search import WalshConfig
from zoo.glider.walsh.weaker import AllPairs, Weaker
from zoo.models.sessions import SessionModule
from zoo.run.explaining.python import training_means

SESSIONS = [name for name, model in MODELS.items() if issubclass(model, SessionModule)]


def loud(name):
    """A small model whose weights are large."""
    model = small(name).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    return model


# Contributions add up to the logit, whatever the model


@given(st.sampled_from([*MODELS]), st.integers(0, 100), st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_contributions_add_up_to_the_logit(name, row, seed):
    model = loud(name)
    batch = sessions(20) if name in SESSIONS else rows(101)
    row = row % len(batch.label)
    one = take(batch, slice(row, row + 1))
    found = zoo.explain(model, one, batch, seed=seed)
    with torch.no_grad():
        logits = model(one)[one.future_mask] if name in SESSIONS else model(one)
    track = found.position if name in SESSIONS else found.index
    mine = found.contribution.groupby(track.to_numpy()).sum()
    # the logits of InterHAt reach 150, where float32 has steps of 1.5e-5
    np.testing.assert_allclose(mine, logits, rtol=1e-6, atol=1e-5)
    assert found.error[found.fields != "(rest)"].notna().all()
    assert not model.training


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_explained(name):
    """The rest is small where R^2 is near one: it is one draw of what is not explained."""
    model = loud(name)
    batch = sessions(3) if name in SESSIONS else rows(3)
    explainer = Explainer(
        model,
        SessionMeans.of([batch]) if name in SESSIONS else batch.numerical.mean(0),
        WalshConfig(max_order=4),
    )
    for instance in explainer.instances(batch):
        explained = explainer.explain(instance)
        found = explained.found
        spread = np.sqrt(sum(c.value**2 for c in (*found.mains, *found.interactions)) + 1e-9)
        unexplained = max(1 - found.r2[0], 0)
        assert abs(explained.rest) <= spread * (12 * np.sqrt(unexplained) + 1e-2)


# Against all 2^d masks

NETWORK = st.tuples(st.integers(2, 10), st.integers(0, 2**16))


def function(features, seed, order):
    """A random function of on/off features: a sum of products of so many at most."""
    random = np.random.default_rng(seed)
    sizes = random.integers(0, min(order, features) + 1, 8)
    sets = {tuple(sorted(random.choice(features, size, replace=False))) for size in sizes}
    terms = {s: float(random.uniform(0.3, 2) * random.choice([-1, 1])) for s in sorted(sets)}

    def scores(z):
        found = np.zeros(len(z))
        for members, value in terms.items():
            found += value * z[:, [*members]].prod(1)
        return found

    return scores


def exact(scores, features):
    """Its Walsh coefficients, by the mean over all masks."""
    z = np.array([*itertools.product([-1.0, 1.0], repeat=features)])
    y = scores(z)
    return {
        s: float((y * z[:, [*s]].prod(1)).mean())
        for size in range(5)
        for s in itertools.combinations(range(features), size)
    }


def explained(scores, features, **options):
    masks = SharedMasks(features, WalshConfig(**options), 0)
    return masks.explain(scores(2 * masks.masks.double().numpy() - 1))


@given(NETWORK)
@settings(max_examples=40, deadline=None)
def test_up_to_pairs_coefficients_are_exact(case):
    features, seed = case
    scores = function(features, seed, 2)
    wanted, found = exact(scores, features), explained(scores, features)
    for c in (found.intercept, *found.mains, *found.interactions):
        assert c.value == pytest.approx(wanted.pop(c.features), abs=1e-9)
    assert max(map(abs, wanted.values()), default=0) < 0.3  # what is planted is found
    assert found.rest == pytest.approx(0, abs=1e-8)


@given(NETWORK)
@settings(max_examples=25, deadline=None)
def test_of_larger_sets_coefficients_are_within_their_errors(case):
    """Pure larger sets, which no pair leads to, stay in the noise: six errors hold them all."""
    features, seed = case
    scores = function(features, seed, 4)
    wanted, found = exact(scores, features), explained(scores, features)
    for c in (found.intercept, *found.mains, *found.interactions):
        assert c.value == pytest.approx(wanted[c.features], abs=6 * c.error + 1e-9)


def test_errors_cover_the_truth():
    """Larger sets that are not fitted are the noise: 1,000 functions, on 100 draws of the masks."""
    features, draws, inside = 10, 1000, []
    random = np.random.default_rng(0)
    low = [s for size in range(3) for s in itertools.combinations(range(features), size)]
    high = [s for size in (3, 4, 5) for s in itertools.combinations(range(features), size)]
    for seed in range(100):
        masks = SharedMasks(features, WalshConfig(masks=250, held_out=50, max_order=4), seed)
        z = 2 * masks.masks.double().numpy() - 1
        x, rest = (np.stack([z[:, [*s]].prod(1) for s in sets], 1) for sets in (low, high))
        for _ in range(draws // 100):
            truth = random.normal(size=len(low))
            y = x @ truth + rest @ random.normal(scale=0.05, size=len(high))
            found = masks.explain(y)
            for c, wanted in zip((found.intercept, *found.mains), truth, strict=False):
                # Student's t of 250 - 56 degrees of freedom
                inside.append(abs(c.value - wanted) <= 1.972 * c.error)
    assert len(inside) == draws * (features + 1)
    assert 0.93 <= np.mean(inside) <= 0.97


def test_many_weak_pairs_are_shown_together():
    """Around the row they are next to nothing; at the row itself they add up."""
    features = 12
    pairs = [*itertools.combinations(range(features), 2)]

    def scores(z):
        return z.sum(1) + sum(0.03 * z[:, i] * z[:, j] for i, j in pairs)

    masks = SharedMasks(features, WalshConfig(), 0)
    y = scores(2 * masks.masks.double().numpy() - 1)
    shown = masks.explain(y)
    assert shown.interactions == ()
    assert shown.rest == pytest.approx(66 * 0.03, abs=0.05)
    weaker = AllPairs(masks.design).weaker(y[1:1501], shown)
    assert weaker.count == 66
    assert weaker.value == pytest.approx(shown.rest, abs=1e-9)
    few = SharedMasks(features, WalshConfig(masks=60), 0)
    y = scores(2 * few.masks.double().numpy() - 1)
    assert AllPairs(few.design).weaker(y[1:61], few.explain(y)) == Weaker()


def test_the_error_of_weak_pairs_covers_what_they_add():
    features, inside, random = 10, [], np.random.default_rng(1)
    low = [s for size in range(3) for s in itertools.combinations(range(features), size)]
    high = [s for size in (3, 4, 5) for s in itertools.combinations(range(features), size)]
    for seed in range(50):
        masks = SharedMasks(features, WalshConfig(masks=250, held_out=50, max_order=2), seed)
        every = AllPairs(masks.design)
        z = 2 * masks.masks.double().numpy() - 1
        x, rest = (np.stack([z[:, [*s]].prod(1) for s in sets], 1) for sets in (low, high))
        for _ in range(10):
            truth = random.normal(size=len(low), scale=0.1)
            y = x @ truth + rest @ random.normal(scale=0.05, size=len(high))
            shown = masks.explain(y)
            weaker = every.weaker(y[1:251], shown)
            told = sum(c.value for c in (shown.intercept, *shown.mains, *shown.interactions))
            inside.append(abs(told + weaker.value - truth.sum()) <= 1.972 * weaker.error)
    assert 0.92 <= np.mean(inside) <= 0.98


# Sessions

SCHEMA, T = session_networks.SCHEMA, session_networks.T
BATCH = session_networks.random_batch(past=[3, 1, 4, 2, 4])
MEANS = SessionMeans.of([BATCH])


def test_means_are_those_of_events_and_tracks_that_exist():
    past = np.concatenate([BATCH.past[i, : int(m.sum())] for i, m in enumerate(BATCH.past_mask)])
    future = np.concatenate(
        [BATCH.future[i, : int(m.sum())] for i, m in enumerate(BATCH.future_mask)]
    )
    np.testing.assert_allclose(MEANS.past, past.mean(0), rtol=1e-5)
    np.testing.assert_allclose(MEANS.future, future.mean(0), rtol=1e-5)


@pytest.mark.parametrize(
    ("features", "names"),
    [
        (
            "groups",
            "past.position past.context past.interaction past.general past.music track.position "
            "track.general track.music",
        ),
        (
            "fields",
            "past.position past.hour past.premium past.skip_2 past.year past.energy past.valence "
            "track.position track.year track.energy track.valence",
        ),
        ("events", "event_1 event_2 event_3 track.position track.general track.music"),
    ],
)
def test_what_is_switched_in_a_session(features, names):
    one, switches = take(BATCH, slice(0, 1)), SessionOnOff.of(SCHEMA, MEANS, 1, features)
    assert [name.replace(" ", "_") for name in switches.names(one)] == names.split()
    count = len(switches.centre(one))
    whole = switches.apply(one, torch.ones(1, count))
    for part in ("past_mask", "future_mask", "future", "label"):
        assert torch.equal(getattr(whole, part), getattr(one, part))
    assert torch.equal(whole.past[whole.past_mask], one.past[one.past_mask])


def test_a_group_that_is_off_has_its_means():
    one, switches = take(BATCH, slice(0, 1)), SessionOnOff.of(SCHEMA, MEANS, 1)
    off = switches.apply(one, torch.tensor([[1.0, 0, 1, 1, 1, 1, 1, 0]]))
    for i, field in enumerate(SCHEMA.numerical):
        events = off.past[0, :3, i]
        wanted = MEANS.past[i].expand(3) if field.group == "context" else one.past[0, :3, i]
        assert torch.equal(events, wanted)
    assert not off.past[0, 3:].any()
    for i, field in enumerate(SCHEMA.future):
        wanted = MEANS.future[i] if field.group == "music" else one.future[0, 1, i]
        assert off.future[0, 1, i] == wanted
    assert torch.equal(off.future[0, [0, 2]], one.future[0, [0, 2]])  # the other tracks stay


def test_an_event_that_is_off_is_not_there():
    """A model sees the session that was never listened to there, padding at its end."""
    one, switches = take(BATCH, slice(0, 1)), SessionOnOff.of(SCHEMA, MEANS, 0, "events")
    off = switches.apply(one, torch.tensor([[1.0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1]]))
    assert off.past_mask.tolist() == [[True, True, False, False], [False] * T]
    assert torch.equal(off.past[0, :2], one.past[0, [0, 2]])
    assert not off.past[1].any()


@session_networks.each_model
def test_the_contribution_of_a_group_is_its_switch(model_class):
    """Of a model that sees one group of the past alone: half of what switching it changes."""
    model = session_networks.build(model_class, {"a": ["position", "interaction"]}).eval()
    one = take(BATCH, slice(2, 3))
    found = zoo.explain(model, one, BATCH, position=1).set_index("fields").contribution
    switches = SessionOnOff.of(SCHEMA, MEANS, 0)
    names = switches.names(one)
    seen = [names.index(n) for n in ("past.position", "past.interaction", "track.position")]
    unseen = [n for n in names if n.endswith(("music", "general", "context"))]
    assert found[unseen].abs().max() < 1e-5
    masks = torch.ones(8, len(names))
    masks[:, seen] = torch.tensor([*itertools.product([0.0, 1.0], repeat=3)])
    with torch.no_grad():
        y = model(switches.apply(one, masks))[:, 0].numpy()
    z = 2 * masks[:, seen].numpy() - 1
    for i, feature in enumerate(seen):
        wanted = (y * z[:, i]).mean()
        assert found[names[feature]] == pytest.approx(wanted, abs=float(0.02 * np.abs(y).max()))


def test_one_track_or_all():
    model = small("InterpretableGRU").eval()
    batch = sessions(4)
    every = zoo.explain(model, batch, batch)
    assert every.groupby(every.index).position.max().tolist() == batch.future_mask.sum(1).tolist()
    one = zoo.explain(model, batch, batch, position=2)
    pd.testing.assert_frame_equal(one, every[every.position == 2])


# What a user of a notebook has at hand


class Given(ZooDataModule):
    schema = None

    def train_dataloader(self):
        return iter([rows(50), rows(30)])


def test_means_in_any_form():
    model, batch = loud("DeepFM"), rows(3)
    mean = float(torch.cat((rows(50).numerical, rows(30).numerical)).double().mean())
    data = Given()
    type(data).schema = model.schema
    wanted = zoo.explain(model, batch, data)
    for means in ({"n0": mean}, [mean], np.array([mean])):
        pd.testing.assert_frame_equal(zoo.explain(model, batch, means), wanted, atol=1e-6)
    training = model.train()
    zoo.explain(training, batch, data)
    assert training.training


NUMBERS = Schema((Field("a", "numerical"), Field("b", "numerical"), Field("c", "categorical", 3)))


@pytest.mark.parametrize(
    ("means", "message"),
    [
        (None, "means: explain needs to know what a number is where it is off: give means=data"),
        ({"b": 1.0}, "means: there is none of the field n0"),
        ([1.0, 2.0], r"means: of shape \[2\], where the model has 1 numerical fields: n0"),
    ],
)
def test_message_of_means(means, message):
    with pytest.raises(ZooError, match=message):
        zoo.explain(loud("DeepFM"), rows(1), means)


class WithoutFile(ZooDataModule):
    def prepare_data(self):
        raise ZooError("no such file: logs.csv (data.path)")


def test_message_where_training_rows_are_absent():
    with pytest.raises(ZooError, match=r"takes what off means from the training rows.*logs\.csv"):
        training_means(WithoutFile(), NUMBERS)


def test_messages():
    model = small("InterpretableGRU").eval()
    with pytest.raises(ZooError, match=r"means=data .*, or a batch of training sessions"):
        zoo.explain(model, sessions(1))
    with pytest.raises(ZooError, match="position must be at least 1, got 0"):
        zoo.explain(model, sessions(1), sessions(1), position=0)
    with pytest.raises(ZooError, match="there are no sessions to take the means of"):
        SessionMeans.of([])
    one = Schema((Field("a", "categorical", 5),))
    model = zoo.WideDeep(one, embedding_dim=2, hidden_units=[2])
    batch = Batch(torch.zeros(1, 0), torch.ones(1, 1).int(), torch.zeros(1))
    with pytest.raises(ZooError, match="shares a prediction among fields: 1 are too few"):
        zoo.explain(model, batch)
    model = loud("DeepFM")
    with torch.no_grad():
        model.bias.fill_(torch.nan)
    with pytest.raises(NotFinite, match="NaN or infinite"):
        zoo.explain(model, rows(1), rows(9))
