"""Makes a process that is there to score fast from its first call on."""

import ctypes

from rewards.matching import load_compiled

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # M_… of glibc's malloc.h
_KEPT_BYTES = 64 << 20  # far more than a call of 1,024 completions works in
_LARGEST_HEAP_BYTES = 32 << 20  # glibc takes no more


def warm_up() -> bool:
    """Load the compiled matching of large problems, and keep freed memory for the next call.

    Every call works in arrays of the same sizes. glibc hands them back to the system at its end and fetches them page by page at
    the next, which takes a third of the time of a step of small problems (`benchmarks/bench_rewards.py` measures both). It is a
    setting of the whole process, so importing this package leaves it alone; the replicas of the reward pool call this at their
    start.

    Returns:
        Whether the compiled matching is in use; see `rewards.matching.load_compiled`.
    """
    _keep_freed_memory()
    return load_compiled()


def _keep_freed_memory() -> bool:
    """Whether the C library took the setting; others than glibc have no such function."""
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(set_option(_TRIM_THRESHOLD, _KEPT_BYTES) and set_option(_MMAP_THRESHOLD, _LARGEST_HEAP_BYTES))
