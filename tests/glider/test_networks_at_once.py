"""How many surrogate networks are trained side by side, on fakes of GPUs."""

import json
from unittest import mock

import pytest
import torch

from zoo import Batch, ZooError
from zoo.glider.command import Detection
from zoo.glider.perturb import OnOff, generator
from zoo.glider.surrogates.detector import MadexDetector
from zoo.glider.surrogates.madex import DETECTORS, MadexConfig
from zoo.glider.surrogates.networks import NID, SurrogateConfig, SurrogateNetworks
from zoo.glider.surrogates.training import bytes_of, networks_at_once

SAMPLES = (5000, 500, 500)
GPU = torch.device("cuda", 0)


def gpu(gigabytes):
    """A GPU of so much memory, nearly all of which is taken."""
    return mock.patch("torch.cuda.mem_get_info", return_value=(10**6, int(gigabytes * 10**9)))


def test_bytes_hold_the_weights_five_times_the_samples_and_what_passes():
    config = SurrogateConfig((7, 5), batch_size=10)
    network = SurrogateNetworks.random(3, config, [generator(0)])
    weights = 5 * sum(tensor.nbytes for tensor in network.tensors)
    # x, y and weight, and once more in another order; three times what enters and leaves each layer
    samples, passed = 4 * (100 + 20 + 5 + 100) * 5, 4 * 3 * 20 * (3 + 7 + 5 + 1)
    assert bytes_of(config, 3, (100, 20, 5)) == weights + samples + passed


@pytest.mark.parametrize(
    ("gigabytes", "wanted"), [(79, 512), (8, 256), (2, 64), (0.5, 16), (0.001, 1)]
)
def test_networks_fill_a_quarter_of_the_memory(gigabytes, wanted):
    with gpu(gigabytes):
        found = networks_at_once(NID, 39, SAMPLES, GPU)
    assert found == wanted
    size = bytes_of(NID, 39, SAMPLES)
    assert found * size <= gigabytes * 10**9 / 4 or found == 1
    assert 2 * found * size > gigabytes * 10**9 / 4 or found == 512


def detector(tmp_path, instances):
    row = Batch(torch.ones(instances, 2), torch.ones(instances, 3).int(), torch.zeros(instances))
    return MadexDetector(
        lambda rows: rows.label, row, OnOff(torch.zeros(2)), MadexConfig(), tmp_path
    )


def test_each_process_has_a_share_of_the_rows(tmp_path):
    found = detector(tmp_path, 700)
    assert found.chunk_on(torch.device("cpu"), 2) == 32
    with gpu(79):
        assert [found.chunk_on(GPU, processes) for processes in (1, 2, 3)] == [512, 350, 234]
        found.chunk = found.chunk_on(GPU, 3)
    assert found.chunk_starts(3) == [0, 234, 468]


def test_an_unfinished_detection_keeps_its_number_at_once(tmp_path):
    """Whose files hold so many rows, when it goes on elsewhere."""
    checkpoint = tmp_path / "a.ckpt"
    checkpoint.write_bytes(b"weights")
    detection = Detection(tmp_path / "found.json", MadexConfig(), instances=700)
    assert detection._begin([checkpoint], [torch.ones(3)], 512) == 512
    assert detection._begin([checkpoint], [torch.ones(3)], 32) == 512
    assert json.loads((detection.folder / "options").read_text())["chunk"] == 512
    with pytest.raises(ZooError, match="unfinished detection of another model, of other data"):
        detection._begin([checkpoint], [torch.zeros(3)], 512)


def test_gradient_nid_has_its_own_networks(tmp_path):
    found = detector(tmp_path, 2000)
    found.config = MadexConfig("gradient_nid")
    with gpu(4):
        assert found.chunk_on(GPU, 1) == networks_at_once(
            DETECTORS["gradient_nid"], 5, SAMPLES, GPU
        )
