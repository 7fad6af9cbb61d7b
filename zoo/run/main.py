"""The command `interpretable-zoo`, which `python train.py` starts too."""

import errno
import logging
import os
import sys
import warnings

from zoo.data.errors import ZooError
from zoo.run import configs


def main() -> None:
    """Runs one command; a mistake that the user can correct is reported in one sentence."""
    # Lightning's hints and its use of deprecated names are not for the user to correct
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", r".*LeafSpec.*is deprecated")
    warnings.filterwarnings("ignore", r"predict returned None")
    warnings.filterwarnings("ignore", r".*configure_optimizers` returned `None`")
    warnings.filterwarnings("ignore", r"The state dict .* contains no parameters")
    warnings.filterwarnings("ignore", r"Be aware that when using `ckpt_path`")
    warnings.filterwarnings("ignore", r"You're using the WeightAveraging callback, but loading")
    warnings.filterwarnings(
        "ignore", r"The number of training batches .* is smaller than the logging"
    )
    try:
        sys.argv[1:] = configs.resolve(sys.argv[1:])
        if sys.argv[1:2] == ["inspect"]:
            from zoo.run import (
                inspect as command,  # without Lightning, which takes seconds to import
            )

            command.run(sys.argv[2:])
        else:
            from zoo.run import cli

            cli.run()
        sys.stdout.flush()
    except BrokenPipeError:  # such as `| head`; what is left in the buffer goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit("interrupted")
    except Exception as error:
        sentence = _sentence(error)
        if sentence is None:
            raise
        sys.exit(f"error: {sentence}")


def _sentence(error: BaseException | None) -> str | None:
    """The message of an error that the user can correct; jsonargparse may have wrapped it."""
    while error is not None:
        if isinstance(error, ZooError):
            return str(error)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            return f"the disk is full: {error}"
        error = error.__cause__ or error.__context__
    return None


if __name__ == "__main__":
    main()
