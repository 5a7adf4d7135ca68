"""A progress bar beside the job, fed by the metrics that the workers write."""

import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tqdm import tqdm

POLL_S = 1.0
TAIL_BYTES = 4096
"""More than a row takes."""


@contextlib.contextmanager
def progress_bar(metrics: Path, num_steps: int, title: str) -> Iterator[None]:
    """Show how many steps are done, and the last loss, while the body runs.

    Args:
        metrics: the stage's metrics.jsonl; it need not be there yet.
        num_steps: of the stage.
        title: in front of the bar.
    """
    over = threading.Event()
    bar = tqdm(total=num_steps, desc=title, unit="step", dynamic_ncols=True)

    def follow() -> None:
        while not over.wait(POLL_S):
            _show(bar, metrics)

    thread = threading.Thread(target=follow, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        _show(bar, metrics)
        bar.close()


def _show(bar: tqdm, metrics: Path) -> None:
    row = _last_row(metrics)
    if row is not None and row["step"] != bar.n:
        bar.n = row["step"]
        bar.set_postfix(loss=row.get("loss"), refresh=False)
        bar.refresh()


def _last_row(metrics: Path) -> dict[str, Any] | None:
    """The last whole row; of a long file only the end is read."""
    if not metrics.exists():
        return None
    with metrics.open("rb") as file:
        file.seek(max(0, metrics.stat().st_size - TAIL_BYTES))
        lines = file.read().split(b"\n")[:-1]
    return json.loads(lines[-1]) if lines else None
