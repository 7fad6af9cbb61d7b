"""Effects over rows that share their masks: intervals, p-values, and the summary of a detection."""

import numpy as np
import pytest

from zoo.glider.walsh import SharedMasks
from zoo.glider.walsh.detector import WalshRows
from zoo.glider.walsh.effects import Effects, Noise
from zoo.glider.walsh.fit import Design
from zoo.glider.walsh.search import WalshConfig
from zoo.glider.walsh.summary import summarise_effects

FEATURES, MASKS = 8, 200
PAIR, NONE = (0, 1), (2, 3)
WAVE = np.sqrt(np.arange(1, 31))
NAMES = [*"abcdefgh", *map(str, range(22))]


def effects(random, rows, together=0.7, apart=0.5, least=0.0):
    """Of a pair whose coefficients are N(0.3, 0.2^2) over the rows, and of one that is none.

    Args:
        random: Random numbers.
        rows: Number of rows.
        together: Deviation of the noise that all rows share, a function of the mask.
        apart: Deviation of the noise of each row.
        least: Share up to which an effect does not matter.
    """
    z = 2.0 * random.integers(0, 2, (MASKS, FEATURES)) - 1
    design = Design(z, z[:2])
    c = random.normal(0.3, 0.2, (rows, 1))
    noise = together * random.normal(size=MASKS) + apart * random.normal(size=(rows, MASKS))
    y = c * z[:, 0] * z[:, 1] + z[:, 4] + noise
    fits = design.fits(y, np.zeros((rows, 2)))
    columns = [design.sets.index(s) for s in (PAIR, NONE)]
    values = np.stack([fit.values[columns] for fit in fits])
    residuals = np.stack([fit.residual for fit in fits])
    chance = Noise(residuals, y.var(1), MASKS - len(design.sets))
    return Effects.of(values, design.inverse.diagonal()[columns], chance, least), fits


def test_intervals_hold_the_mean_over_all_rows_and_masks():
    """In 93 to 97 of 100 draws, up to what 400 draws leave open; without shared noise they would
    be narrower."""
    random = np.random.default_rng(0)
    c = random.normal(0.3, 0.2, 100_000)
    share = np.mean(c**2 / (c**2 + 1 + 0.7**2 + 0.5**2))
    held = np.zeros(2)
    for _ in range(400):
        found, _ = effects(random, 40)
        held += [
            found.effect_range[0, 0] < 0.3 < found.effect_range[1, 0],
            found.share_range[0, 0] < share < found.share_range[1, 0],
        ]
    assert (held / 400 > [0.92, 0.89]).all()
    assert (held / 400 < 0.98).all()


@pytest.mark.parametrize("rows", [1, 5, 40])
def test_noise_that_all_rows_share_is_no_effect(rows):
    """In 500 draws, with nothing required of the share: rarely, however many rows agree."""
    random = np.random.default_rng(rows)
    p = np.array([effects(random, rows, together=1.0, apart=0.1)[0].p[1] for _ in range(500)])
    assert (p < 0.05).mean() <= 0.06
    assert (p < 0.01).mean() <= 0.02


def test_a_share_is_tested_against_what_does_not_matter():
    """The pair has 4 to 7 % of the variance."""
    random = np.random.default_rng(0)
    small = np.array([effects(random, 40, least=0.01)[0].p[0] for _ in range(20)])
    large = np.array([effects(random, 40, least=0.15)[0].p[0] for _ in range(20)])
    assert small.max() < 0.01
    assert large.min() > 0.5


def test_the_effect_of_one_row_is_its_coefficient_with_its_error():
    found, (fit,) = effects(np.random.default_rng(0), 1)
    column = fit.sets.index(PAIR)
    assert found.effect[0] == pytest.approx(fit.values[column])
    low, high = found.effect_range[:, 0]
    # Student's t with 163 degrees of freedom
    assert (high - low) / 2 == pytest.approx(1.9746 * fit.errors[column], rel=1e-4)


def summary(y, config, top=None, positions=None, features=FEATURES):
    shared = SharedMasks(features, config, seed=3)
    y = np.stack([of(2 * shared.masks.double().numpy() - 1) for of in y])
    rows = WalshRows.of(range(len(y)), shared.fits(y), [[]] * len(y))
    return summarise_effects(rows, shared, NAMES[:features], positions or range(len(y)), top)


def strengths(c):
    """A pair of each strength, a triple around it, and what no pair or triple explains."""
    return [
        lambda z, c=c: (
            (c + 0.5 * z[:, 2]) * z[:, 0] * z[:, 1]
            + z[:, 4]
            + 0.05 * np.sin(1e3 * z @ WAVE[: z.shape[1]])
        )
        for c in c
    ]


@pytest.mark.parametrize(("features", "masks"), [(8, 400), (30, 400)])
def test_a_summary_of_rows(features, masks):
    """With all pairs in the fit, and with those of a pursuit alone."""
    c, positions = [1.0, -2.0, 0.5, 0.5] * 3, [3, 5, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17]
    found = summary(strengths(c), WalshConfig(masks, 400), None, positions, features)
    first, second = found["interactions"]
    assert (first["fields"], second["fields"]) == (["a", "b"], ["a", "b", "c"])
    assert (first["count"], second["count"]) == (12, 12)
    assert first["effect"] == pytest.approx(0, abs=0.05)
    assert first["size"] == pytest.approx(np.sqrt((1 + 4 + 0.25 + 0.25) / 4), rel=0.05)
    assert [row["row"] for row in first["strongest"]] == [5, 11, 15]
    assert [row["effect"] for row in first["strongest"]] == pytest.approx([-2, -2, -2], abs=0.1)
    assert second["effect"] == pytest.approx(0.5, abs=0.02)
    assert second["q"] < 0.05
    assert found["matrix"][0][1] == found["matrix"][1][0] == pytest.approx(first["share"], rel=1e-5)
    assert found["matrix"][2][3] < 1e-3
    assert found["mains"][4]["effect"] == pytest.approx(1, abs=0.05)
    assert found["fidelity"]["with_interactions"] > 0.98
    assert found["masks"] == [masks, 400]


def test_the_strongest_are_kept_and_none_inside_another():
    functions = strengths([0.4, 0.4]), [lambda z: z[:, 6] * z[:, 7] + z[:, 0]] * 2
    found = summary([*functions[0], *functions[1]], WalshConfig(400, 400), top=2)
    assert [row["fields"] for row in found["interactions"]] == [["g", "h"], ["a", "b", "c"]]


def test_rows_of_constant_scores_have_no_effects():
    constant = [lambda z: np.full(len(z), 3.0)]
    found = summary(constant * 3, WalshConfig(400, 400))
    assert found["interactions"] == []
    assert np.abs(found["matrix"]).max() == 0
    mixed = summary([*constant * 2, *strengths([1.0, 1.0])], WalshConfig(400, 400))
    assert [row["count"] for row in mixed["interactions"]] == [2, 2]
