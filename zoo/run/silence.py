"""Lightning's hints and its use of deprecated names, which no user can correct, are hidden."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

MESSAGES = (
    r".*LeafSpec.*is deprecated",
    r"predict returned None",
    r".*configure_optimizers` returned `None`",
    r"The state dict .* contains no parameters",
    r"Be aware that when using `ckpt_path`",
    r"You're using the WeightAveraging callback, but loading",
    r"The number of training batches .* is smaller than the logging",
)


LOGGER = "pytorch_lightning.utilities.rank_zero"
SEED = "lightning_fabric.utilities.seed"  # which says what seed it is given


@contextmanager
def silenced(*more: str) -> Iterator[None]:
    """Hides them while it lasts.

    Args:
        more: Names of further loggers that say nothing meanwhile.
    """
    loggers = [logging.getLogger(name) for name in (LOGGER, *more)]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for message in MESSAGES:
            warnings.filterwarnings("ignore", message)
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
