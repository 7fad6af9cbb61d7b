"""Who does tasks in tests, and what they do."""

import os
from pathlib import Path

from support.calls import NotedFile

from datamodules import Criteo
from datamodules.tabular.plain_file import PlainFile


class Here:
    """Does tasks in this process, one after another; may be interrupted before some of them."""

    share = threads = 1

    def __init__(self, workers=1, stop=None):
        self.workers, self.left = workers, stop

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def run(self, function, calls):
        for number, call in enumerate(calls):
            if self.left is not None:
                self.left -= 1
                if self.left < 0:
                    raise KeyboardInterrupt
            yield number, function(*call)


def is_alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"


class NotedCriteo(Criteo):
    """Criteo, whose files of text note who reads them."""

    @property
    def dataset(self):
        return "Criteo"

    def table_file(self, path):
        found = super().table_file(path)
        if isinstance(found, PlainFile):
            return NotedFile(path, found.delimiter, found.in_order)
        return found
