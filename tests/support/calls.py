"""What workers are called to do in tests; a light module, which each of them imports."""

import os
import signal
import time
from pathlib import Path

from datamodules.prepared.options import at_least
from datamodules.tabular.plain_file import PlainFile


def sleep_long(path):
    """Says which process sleeps."""
    Path(path).write_text(str(os.getpid()))
    time.sleep(300)


def refuse():
    at_least(1, batch_size=0)


class NotedFile(PlainFile):
    """One that notes who reads it, and once kills that process, if a file says so."""

    def relation(self, engine, columns):
        folder = self.path.parent.parent
        deadly = folder / f"{self.path.name}.deadly"
        with open(folder / "read", "a") as file:
            file.write(f"{self.path.name} {os.getpid()}\n")
        if deadly.exists():
            deadly.unlink()
            while not list(folder.glob("prepared/.*.work/read-*")):
                time.sleep(0.01)  # until another file has been read
            os.kill(os.getpid(), signal.SIGKILL)
        return super().relation(engine, columns)
