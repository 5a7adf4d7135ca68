"""How a process that makes micro-batches keeps its memory."""

import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_FROM_HEAP, _KEPT_FREE = 32 << 20, 256 << 20
"""Of glibc's mallopt: its two settings and their values here, bytes; it takes no larger first one."""


def keep_freed_memory() -> None:
    """Let this process use again what it freed, where the C library can be told to.

    A micro-batch is megabytes that are allocated, copied out and freed; handed back to the system each time, they come
    back as pages that have to be cleared first.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_MMAP_THRESHOLD, _LARGEST_FROM_HEAP)
        library.mallopt(_M_TRIM_THRESHOLD, _KEPT_FREE)
