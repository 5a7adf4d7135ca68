"""A progress bar beside the job, fed by the metrics that the workers write."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from medmo_ray.telemetry import read_metrics

POLL_S = 1.0


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
    rows = read_metrics(metrics)
    if rows and rows[-1]["step"] != bar.n:
        bar.n = rows[-1]["step"]
        bar.set_postfix(loss=rows[-1].get("loss"), refresh=False)
        bar.refresh()
