"""How this process keeps what it freed, where its C library is glibc and can be told to."""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_… of glibc's malloc.h
_LARGEST_FROM_HEAP = 32 << 20  # bytes; glibc takes no more


def keep_freed_memory(num_bytes: int) -> bool:
    """Keep up to so many freed bytes for the next allocation.

    Work that comes again and again allocates arrays of the same sizes. Handed back to the system each time, they come back as
    pages that are fetched, and cleared, one by one.

    Returns:
        Whether the setting was taken; it is one of the whole process.
    """
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(set_option(_TRIM_THRESHOLD, num_bytes) and set_option(_MMAP_THRESHOLD, _LARGEST_FROM_HEAP))
