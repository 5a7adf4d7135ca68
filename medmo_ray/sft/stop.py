"""A run that is asked to end: by SIGTERM to its driver or to a worker, or because Ray empties a worker's node.

What is asked of one process reaches all ranks at the next step: each says in the step's first collective whether it was
asked, and rank 0 also whether the driver was, which leaves a file for it.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

_ASKED = threading.Event()


def listen() -> None:
    """From now on SIGTERM asks this process to end, instead of ending it; call it from the main thread."""
    _ASKED.clear()
    signal.signal(signal.SIGTERM, _note)


def ask() -> None:
    """Ask this process's rank to end at its next step."""
    _ASKED.set()


def was_asked(file: Path | None = None) -> bool:
    """Whether this process was asked to end, or, with a file, the driver."""
    return _ASKED.is_set() or (file is not None and file.exists())


@contextlib.contextmanager
def sigterm_leaves(file: Path) -> Iterator[None]:
    """While the body runs, SIGTERM to this process leaves a file instead of ending it.

    Signals can only be caught in a main thread; elsewhere nothing changes.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: file.touch())
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
        file.unlink(missing_ok=True)


def _note(number: int, frame: FrameType | None) -> None:
    _ASKED.set()
