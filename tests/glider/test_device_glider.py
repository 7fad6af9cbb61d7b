"""Explanations on the way of GPUs: those of CPUs, in fewer calls that are waited for."""

import tempfile
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from support.calls_of_aten import Kernels
from support.explained_rows import rows, sessions
from support.explaining import QUICK, SMALL
from support.small_checkpoints import ROWS, small

from zoo.glider.between import Between
from zoo.glider.explained import Explainer
from zoo.glider.perturb import OnOff, generator
from zoo.glider.scoring import NotFinite, score_each
from zoo.glider.session_switches import SessionMeans
from zoo.glider.surrogates.detector import MadexDetector, read_results
from zoo.glider.surrogates.nid import Candidate
from zoo.glider.surrogates.threshold import threshold
from zoo.glider.surrogates.training import Samples, fit, standardise
from zoo.glider.walsh import WalshConfig, walsh
from zoo.glider.walsh.detector import WalshDetector, WalshRows
from zoo.nn.device import as_on_gpu

ASKING = ("aten::_local_scalar_dense", "aten::nonzero", "aten::lift_fresh", "aten::unique")
MEANS = torch.zeros(1)


class Counted:
    """A black box that counts its calls."""

    def __init__(self, function):
        self.function, self.calls = function, 0

    def __call__(self, rows):
        self.calls += 1
        return self.function(rows)


def both_ways(function):
    """What a function returns on the way of CPUs, and on that of GPUs."""
    found = []
    for way in (nullcontext, as_on_gpu):
        with way():
            found.append(function())
    return found


def asked(function):
    """Calls of a function, on the way of GPUs, that read tensors or copy from the host."""
    with as_on_gpu(), Kernels() as counted:
        function()
    return sum(counted.names[name] for name in ASKING)


def planted(x):
    return 2 * x[:, 0] * x[:, 1] + 1.5 * x[:, 2] * x[:, 3] * x[:, 4] + x.sum(1)


def test_parts_are_scored_at_once():
    parts = [torch.randn(6000, 3) for _ in range(5)]
    parts[3][7] = torch.nan
    counted = Counted(lambda x: x.sum(1))
    with as_on_gpu():
        found = [*score_each(counted, iter(parts))]
    assert counted.calls == 3  # of 16,384 rows at most
    for part, y in zip(parts, found, strict=True):
        if part.isnan().any():
            assert isinstance(y, NotFinite)
            assert "1 of 6000 rows" in str(y)
        else:
            torch.testing.assert_close(y, part.sum(1))


def test_walsh_of_several_points_is_that_of_cpus():
    points = [torch.randn(6) for _ in range(9)]
    counted = Counted(planted)
    of_cpus, of_gpus = both_ways(lambda: walsh(counted, points, Between(torch.zeros(6))))
    assert counted.calls == 9 + 2  # of 2,000 rows each
    for expected, found in zip(of_cpus, of_gpus, strict=True):
        assert [c.features for c in found.interactions] == [
            c.features for c in expected.interactions
        ]
        assert found.score == pytest.approx(expected.score)
        assert found.r2 == pytest.approx(expected.r2)


def lines_of(explainer, batch):
    return [
        found if isinstance(found, NotFinite) else [*found.lines()]
        for _, found in explainer.explain_each(explainer.instances(batch))
    ]


@pytest.mark.parametrize("name", ["DeepFM", "InterpretableMLP", "InterpretableTransformer"])
def test_explained_rows_are_those_of_cpus(name):
    model = small(name).eval()
    of_sessions = name == "InterpretableTransformer"
    batch = sessions(2) if of_sessions else rows(10)
    means = SessionMeans.of([batch]) if of_sessions else MEANS
    explainer = Explainer(model, means, WalshConfig())
    of_cpus, of_gpus = both_ways(lambda: lines_of(explainer, batch))
    for expected, found in zip(of_cpus, of_gpus, strict=True):
        expected, found = ({line[0]: line[1:] for line in lines} for lines in (expected, found))
        assert found.keys() == expected.keys()
        for fields, numbers in found.items():
            assert numbers == pytest.approx(expected[fields], rel=1e-3, abs=1e-5, nan_ok=True)


@pytest.mark.parametrize("kind", [MadexDetector, WalshDetector])
def test_detections_are_those_of_cpus(kind, tmp_path):
    model = small("DeepFM").eval()
    for weight in model.parameters():
        weight.data.mul_(3)
    config = QUICK if kind is MadexDetector else WalshConfig()
    batch = rows(6)
    batch.numerical[2, 0] = torch.nan

    def detected():
        counted, folder = Counted(model), Path(tempfile.mkdtemp(dir=tmp_path))
        made = kind(counted, batch, OnOff.of(ROWS, MEANS), config, folder)
        made.write(folder / f"found{made.suffix}", range(6))
        if kind is MadexDetector:
            results, left_out = read_results(folder)
            found = [(result.instance, result.found, result.null) for result in results]
        else:
            results, left_out = WalshRows.read(folder)
            found = [[s for s, *_ in row["kept"]] for row in results.sets]
        return counted.calls, left_out, found

    (calls, left_out, expected), (of_gpu, of_gpu_left_out, found) = both_ways(detected)
    assert (calls, of_gpu) == (6, 1)
    assert left_out == of_gpu_left_out == 1
    assert found == expected
    assert any(found)


def samples(networks=3, features=6):
    random = torch.Generator().manual_seed(0)
    x = torch.randint(2, (networks, 1400, features), generator=random).float()
    y = torch.stack([planted(part) for part in x])
    return standardise(*Samples(x, y).split((1000, 200, 200)))


def test_surrogates_are_those_of_cpus_and_are_asked_once_an_epoch():
    train, val, _ = samples()

    def fitted():
        return fit(train, val, SMALL, [generator(i) for i in range(3)])

    (expected, errors), (networks, found) = both_ways(fitted)
    torch.testing.assert_close(found, errors, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(networks.tensors, expected.tensors, rtol=1e-3, atol=1e-4)
    assert asked(fitted) == 0  # but for the list of those that go on


def test_the_threshold_keeps_what_it_keeps_on_cpus():
    train, val, test = (part.of(0) for part in samples())
    sets = ((0, 1), (2, 3, 4), (0, 1, 5), (1, 2), (3, 5), (0, 4))
    ranking = [Candidate(s, 1 / (i + 1)) for i, s in enumerate(sets)]

    def kept():
        options = {"min_gain": 1e-3, "patience": 5, "pure": True}
        return threshold(train, val, test, ranking, **options)

    expected, found = both_ways(kept)
    assert [c.features for c in found[0]] == [c.features for c in expected[0]]
    assert {c.features for c in found[0]} == {(0, 1), (2, 3, 4)}
    assert found[1:] == pytest.approx(expected[1:])
    assert asked(kept) <= 40
