"""Makes a process that is there to score fast from its first call on."""

from rewards.allocator import keep_freed_memory
from rewards.matching import load_compiled

_KEPT_BYTES = 64 << 20  # far more than a call of 1,024 completions works in


def warm_up() -> bool:
    """Load the compiled matching of large problems, and keep freed memory for the next call.

    Fetching the same pages anew takes a third of the time of a step of small problems (`benchmarks/bench_rewards.py` measures
    both). It is a setting of the whole process, so importing this package leaves it alone; the replicas of the reward pool call
    this at their start.

    Returns:
        Whether the compiled matching is in use; see `rewards.matching.load_compiled`.
    """
    keep_freed_memory(_KEPT_BYTES)
    return load_compiled()
