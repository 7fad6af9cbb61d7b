"""What tests of GLIDER share."""

from dataclasses import replace
from unittest import mock

import torch

from zoo import Batch
from zoo.glider.surrogates.madex import DETECTORS, MadexConfig
from zoo.glider.surrogates.networks import SurrogateConfig

SMALL = SurrogateConfig(hidden_units=(32, 16), max_epochs=15)
QUICK = MadexConfig(surrogate=SMALL, samples=(1000, 200, 200))


def instance(seed=0):
    random = torch.Generator().manual_seed(seed)
    return Batch(
        numerical=torch.randn(1, 2, generator=random),
        categorical=torch.randint(1, 7, (1, 2), generator=random).int(),
        label=torch.zeros(1),
    )


def small_surrogates():
    """A context in which `detect` trains narrow networks, for tests of all but what it finds."""
    small = {"hidden_units": (64, 32, 16), "max_epochs": 30}
    few = {name: replace(config, **small) for name, config in DETECTORS.items()}
    return mock.patch.dict(DETECTORS, few)
