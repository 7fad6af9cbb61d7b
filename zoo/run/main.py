"""The command `interpretable-zoo`, which `python train.py` starts too."""

import os
import sys

from zoo.run import configs
from zoo.run.mistakes import ProcessLost, sentence_of
from zoo.run.signals import TERMINATED, status_of, terminable
from zoo.run.silence import silenced


def main() -> None:
    """Runs one command.

    Exits with 130 where Ctrl-C ended it, and with 143 where SIGTERM did; a mistake that the user
    can correct is reported in one sentence.
    """
    try:
        with silenced(), terminable():
            _run()
        sys.stdout.flush()
    except BrokenPipeError:  # such as `| head`; what is left in the buffer goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except BaseException as error:
        _end(error)
        raise


def _run() -> None:
    try:
        os.getcwd()
    except FileNotFoundError:
        sys.exit("error: the current folder has been deleted: change to another")
    sys.argv[1:] = configs.resolve(sys.argv[1:])
    if sys.argv[1:2] == ["inspect"]:
        from zoo.run import inspect as command  # without Lightning, which takes seconds to import

        command.run(sys.argv[2:])
    elif sys.argv[1:2] == ["compare"]:
        from zoo.run import compare

        compare.run(sys.argv[2:])
    elif sys.argv[1:2] == ["describe"]:
        from zoo.run import describe

        describe.run(sys.argv[2:])
    elif sys.argv[1:2] == ["consolidate"]:
        from zoo.run import consolidate

        consolidate.run(sys.argv[2:])
    elif sys.argv[1:2] == ["edit"]:
        from zoo.run.editing import command as edit

        edit.run(sys.argv[2:])
    elif sys.argv[1:2] == ["export"]:
        from zoo.run import export

        export.run(sys.argv[2:])
    elif sys.argv[1:2] == ["sweep"]:
        from zoo.run.sweeping import command as sweep

        sweep.run(sys.argv[2:])
    else:
        from zoo.run import cli

        cli.run()


def _end(error: BaseException) -> None:
    """Exits where a signal or a mistake of the user is why."""
    status = status_of(error)
    if status is not None:
        if isinstance(error, KeyboardInterrupt):  # else a trainer has said so
            print("terminated" if status == TERMINATED else "interrupted", file=sys.stderr)
        sys.exit(status)
    if isinstance(error, ProcessLost):
        sys.exit(1)
    sentence = sentence_of(error) if isinstance(error, Exception) else None
    if sentence is not None:
        sys.exit(f"error: {sentence}")


if __name__ == "__main__":
    main()
