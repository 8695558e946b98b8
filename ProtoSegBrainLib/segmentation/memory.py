"""Memory that a program of ours keeps for its next volume; no torch."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Parameters of glibc's ``mallopt``."""


def keep_freed_memory() -> bool:
    """Have the C library keep freed memory for what is allocated next; for programs, not for libraries.

    Arrays of tens of megabytes come and go with every case. By default glibc gives each back to the system at once,
    which clears its pages again for the next. The process then holds the most that it ever
    needed until it ends.

    Returns:
        Whether it was done: only glibc, on Linux, has the switch; elsewhere nothing changes.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return bool(mallopt(M_MMAP_MAX, 0)) and bool(mallopt(M_TRIM_THRESHOLD, -1))
