"""What the process does with freed memory."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
KEPT_BYTES = 1 << 30  # larger pieces still go back to the system


def keep_freed_memory() -> None:
    """Has glibc keep freed memory up to 1 GB instead of handing it back to the system.

    A training step on a CPU frees and allocates the same megabytes again and again. By default
    they go back to Linux each time, which then has to clear and map every page anew: up to half
    of the time of a step. Elsewhere than on Linux with glibc nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
