"""What tests of GLIDER share."""

import torch

from zoo import Batch
from zoo.glider.madex import MadexConfig
from zoo.glider.surrogate import SurrogateConfig

SMALL = SurrogateConfig(hidden_units=(32, 16), max_epochs=15)
QUICK = MadexConfig(surrogate=SMALL, samples=(1000, 200, 200))


def instance(seed=0):
    random = torch.Generator().manual_seed(seed)
    return Batch(
        numerical=torch.randn(1, 2, generator=random),
        categorical=torch.randint(1, 7, (1, 2), generator=random).int(),
        label=torch.zeros(1),
    )
