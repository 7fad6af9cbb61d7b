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


@contextmanager
def silenced() -> Iterator[None]:
    """Hides them while it lasts."""
    logger = logging.getLogger("pytorch_lightning.utilities.rank_zero")
    level = logger.level
    with warnings.catch_warnings():
        for message in MESSAGES:
            warnings.filterwarnings("ignore", message)
        logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            logger.setLevel(level)
