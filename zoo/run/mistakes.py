"""What is said of an error that the user can correct: one sentence."""

import errno
import os
from traceback import walk_tb

from zoo.data.errors import ZooError, causes

# Errors of the operating system that name what a user can change
ADVICE = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota of the disk is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "the permission is missing",
    errno.EPERM: "the permission is missing",
    errno.ENOENT: "the file or its folder does not exist, or has been deleted meanwhile",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EEXIST: "a file is where a folder is needed",
    errno.EISDIR: "it is a folder, not a file",
    errno.ENAMETOOLONG: "the name is too long",
    errno.EFBIG: "the file grows larger than the file system or `ulimit -f` allows",
    errno.EMFILE: "too many files are open: raise the limit with `ulimit -n 4096`",
    errno.ENFILE: "too many files are open on this machine",
    errno.ESTALE: "the network file system has lost it",
    errno.EIO: "the disk reports an error",
}


# These say something whichever file it was, and whatever was made of the error
OF_THE_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EIO}

# and these are why a file cannot be read that is taken for damaged
NOT_DAMAGE = {errno.EMFILE, errno.ENFILE, errno.EIO, errno.EACCES, errno.ESTALE}
TRACKERS = {"mlflow", "wandb"}  # whose errors say what they cannot reach or take
LIGHTNING = {"pytorch_lightning", "lightning_fabric"}


class ProcessLost(ZooError):
    """Another process of this command has failed, as `zoo.run.watch` has said."""


def is_lost_connection(error: BaseException) -> bool:
    """Whether an error is that of an exchange with another process, such as one that has ended."""
    return any(map(_is_of_exchange, causes(error)))


def _is_of_exchange(error: BaseException) -> bool:
    kinds = {kind.__name__ for kind in type(error).__mro__}  # without torch, which takes seconds
    return "DistError" in kinds or (isinstance(error, RuntimeError) and "gloo" in str(error))


def sentence_of(error: BaseException) -> str | None:
    """The sentence of an error that the user can correct; None of any other."""
    meant = True  # not only what was being handled when another error was raised
    for cause in causes(error):  # jsonargparse wraps what it meets
        if isinstance(cause, ZooError):
            behind = cause.__cause__
            if isinstance(behind, OSError) and behind.errno in NOT_DAMAGE:
                return _of_system(behind)
            return str(cause)
        if meant and _is_of_exchange(cause):
            text = " ".join(str(cause).split())
            return f"a process has ended, or cannot be reached by the others: {text}"
        if meant and _is_of_lightning(cause) and str(cause).strip():
            return " ".join(str(cause).split())
        if meant and type(cause).__module__.partition(".")[0] in TRACKERS:
            return f"trainer.logger: {' '.join(str(cause).split())}"
        if isinstance(cause, OSError) and (meant or cause.errno in OF_THE_MACHINE):
            found = _of_system(cause)
            if found:
                return found
        meant = meant and cause.__cause__ is not None
    return None


def _is_of_lightning(error: BaseException) -> bool:
    """Whether Lightning refuses something, such as an option that does not suit the data."""
    if type(error).__name__ == "MisconfigurationException":
        return True
    frames = [frame for frame, _ in walk_tb(error.__traceback__)]
    raised_in = frames[-1].f_globals.get("__name__", "") if frames else ""
    return raised_in.partition(".")[0] in LIGHTNING and isinstance(error, ValueError | RuntimeError)


def _of_system(error: OSError) -> str | None:
    advice, name = ADVICE.get(error.errno or 0), error.filename
    if advice is None or (name is None and error.errno not in OF_THE_MACHINE):
        return None
    named = isinstance(name, str | bytes | os.PathLike)
    return f"{os.fsdecode(name)}: {advice}" if named else advice
