"""How `train.py detect` explains a row, by its options."""

from dataclasses import replace
from typing import Any

from zoo.data.errors import ZooError
from zoo.glider.surrogates.madex import DETECTORS, MadexConfig
from zoo.glider.walsh.search import WALSH, WalshConfig

OF_SURROGATES = {  # options that Walsh regression does not have, with their defaults
    "sampler": "bernoulli",
    "lime_weights": False,
    "patience": 5,
    "prune_subsets": False,
    "region_points": 100,
    "bf16": False,
}


def settings_of(
    detector: str, contexts: bool, max_order: int | None, min_gain: float, **of_surrogates: Any
) -> MadexConfig | WalshConfig:
    """How a detector explains a row, by the options of `ZooTrainer.detect`.

    Args:
        detector: Name of the detector.
        contexts: Whether contexts are looked at, which only Walsh regression does.
        max_order: Largest number of fields in an interaction; None is 4 for Walsh regression.
        min_gain: Share of the variance that an interaction must have.
        of_surrogates: The options that `OF_SURROGATES` names.

    Raises:
        ZooError: Where an option is of other detectors.
    """
    if detector == WALSH:
        for option in (o for o, value in of_surrogates.items() if value != OF_SURROGATES[o]):
            raise ZooError(f"{option} is an option of nid and gradient_nid: leave it out")
        return WalshConfig(max_order=4 if max_order is None else max_order, min_gain=min_gain)
    if contexts:
        raise ZooError("contexts is an option of walsh: leave it out")
    given = {k: v for k, v in of_surrogates.items() if k not in ("sampler", "bf16")}
    networks = replace(DETECTORS[detector], bf16=of_surrogates["bf16"])
    return MadexConfig(detector, networks, max_order=max_order, min_gain=min_gain, **given)
