"""Processes that are killed, or whose disk is full, for the tests of what they leave."""

import builtins
import contextlib
import errno
import io
import multiprocessing
import os
import resource
import signal
import sys
from pathlib import Path
from unittest import mock

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["datamodules"])


def killed(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def killed_in_the_manifest(manifest, folder):
    """Stands in for `Manifest.save`."""
    (folder / "manifest.json").write_text('{"source": {"path"')
    killed()


def limit_files(size):
    """From now on every write past `size` bytes of a file fails, as it would on a full disk."""
    sys.stdout = sys.stderr = io.StringIO()  # what catches the output is a file too
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def run_process(target, *arguments):
    """Runs a function in a process of its own; gives its exit code."""
    process = processes.Process(target=target, args=arguments)
    process.start()
    process.join(60)
    code = process.exitcode
    process.close()
    return code


@contextlib.contextmanager
def fails_half_way(folder, size):
    """Files below a folder take `size` bytes each; what follows fails as on a full disk."""
    real = builtins.open

    def limited(path, mode="r", *args, **kwargs):
        file = real(path, mode, *args, **kwargs)
        inside = isinstance(path, str | Path) and Path(folder).resolve() in Path(path).parents
        return FullDisk(file, size) if inside and "w" in mode else file

    with mock.patch("builtins.open", limited), mock.patch("io.open", limited):
        yield


class FullDisk:
    """A file whose disk is full after some bytes."""

    def __init__(self, file, size):
        self.file, self.left = file, size

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.file.close()

    def write(self, data):
        self.left -= len(data)
        if self.left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.file.write(data)
