"""Processes that are killed, or whose disk is full, for the tests of what they leave."""

import io
import multiprocessing
import os
import resource
import signal
import sys

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
