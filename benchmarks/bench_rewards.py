"""How long the bounding-box reward takes, text in, reward out; and what the pool adds.

    python benchmarks/bench_rewards.py              # one core; then a local Ray for the pool
    python benchmarks/bench_rewards.py --no-pool

The peer below goes completion by completion, as the rewards of published trainers do: a regular expression, `json.loads`,
pairwise arrays in numpy, scipy's assignment. Both sides take turns in one process on one core; the figure is the ratio of
the medians of their CPU times, which a busy neighbour disturbs less than the clock on the wall.

near: predictions are the true boxes moved by up to 15 px, one in ten missing, one in ten made up, in any order.
far:  predictions have nothing to do with the truth, as at the start of a training; every matching is contested.
"""

import argparse
import json
import os
import platform
import re
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from tqdm import tqdm

from rewards import LabelledBox, bbox_rewards, format_boxes
from rewards.records import ScoreRequest, Truth
from rewards.scorer import Scorer

BATCH = 1024
CALLS_PER_TURN = 5
TARGETS = {1: 10.0, 4: 10.0, 20: 3.0, 100: 3.0}
RESULTS = Path(__file__).parent / "results" / "rewards.json"
Boxes = NDArray[np.float64]

_GROUP = re.compile(r"<box>(.*?)</box>", re.DOTALL)


def peer_reward(completion: str, truth: Boxes) -> float:
    """Equations 1 to 6 for one completion; each intermediate array is computed once."""
    boxes: list[list[float]] = []
    for group in _GROUP.findall(completion):
        try:
            boxes += [box for box in json.loads(group) if len(box) == 4]
        except ValueError:
            continue
    if len(truth) == 0:
        return 0.5
    if not boxes:
        return 0.0
    p, g = np.array(boxes, dtype=np.float64)[:, None, :], truth[None, :, :]
    l1 = np.abs(p - g).sum(axis=-1) / (2 * np.sqrt(truth[:, 2].max() ** 2 + truth[:, 3].max() ** 2))
    overlap = np.minimum(p[..., 2:], g[..., 2:]) - np.maximum(p[..., :2], g[..., :2])
    overlap = np.maximum(overlap, 0)
    hull = np.maximum(p[..., 2:], g[..., 2:]) - np.minimum(p[..., :2], g[..., :2])
    shared = overlap[..., 0] * overlap[..., 1]
    area_p = (p[..., 2] - p[..., 0]) * (p[..., 3] - p[..., 1])
    area_g = (g[..., 2] - g[..., 0]) * (g[..., 3] - g[..., 1])
    union = area_p + area_g - shared
    hull_area = hull[..., 0] * hull[..., 1]
    giou = shared / union - (hull_area - union) / hull_area
    rows, columns = linear_sum_assignment(5 * l1 + 2 * (1 - giou))
    scores = (5 * (1 - np.minimum(l1[rows, columns], 1)) + (giou[rows, columns] + 1)) / 7
    return float(min(max(scores.sum() / len(truth), 0.0), 1.0))


def random_boxes(rng: np.random.Generator, number: int) -> Boxes:
    corner = rng.integers(0, 900, (number, 2)).astype(np.float64)
    return np.concatenate([corner, corner + rng.integers(20, 120, (number, 2))], axis=1)


def near(rng: np.random.Generator, truth: Boxes) -> Boxes:
    moved = np.clip(truth + rng.integers(-15, 16, truth.shape), 0, 1023)
    first, second = moved[:, :2], moved[:, 2:]
    moved = np.concatenate([np.minimum(first, second), np.maximum(first, second) + 1], axis=1)
    kept = moved[rng.random(len(moved)) < 0.9]
    return rng.permutation(np.concatenate([kept, random_boxes(rng, int(rng.binomial(len(truth), 0.1)))]))


def far(rng: np.random.Generator, truth: Boxes) -> Boxes:
    return random_boxes(rng, len(truth))


def cases(kind: Callable[..., Boxes], number: int) -> tuple[list[str], list[Boxes]]:
    rng = np.random.default_rng(number)
    truths = [random_boxes(rng, number) for _ in range(BATCH)]
    predicted = (kind(rng, truth) for truth in truths)
    return [
        format_boxes([LabelledBox("fracture", tuple(box)) for box in boxes.tolist()]) for boxes in predicted
    ], truths


def take_turns(*sides: Callable[[], Any], rounds: int) -> list[float]:
    """Median CPU seconds of each side; a turn is some calls in a row, as a scorer makes them."""
    times: list[list[float]] = [[] for _ in sides]
    for _ in range(rounds):
        for side, spent in zip(sides, times, strict=True):
            for _ in range(CALLS_PER_TURN):
                started = time.process_time()
                side()
                spent.append(time.process_time() - started)
    return [statistics.median(spent) for spent in times]


def bench_reward(rounds: int) -> list[dict[str, Any]]:
    rows = []
    work = [(kind, number) for kind in (near, far) for number in TARGETS]
    for kind, number in tqdm(work, desc="reward", unit="case"):
        texts, truths = cases(kind, number)
        ours, peer = bbox_rewards(texts, truths), [peer_reward(*case) for case in zip(texts, truths, strict=True)]
        difference = float(np.abs(ours - peer).max())
        if difference > 1e-12:
            raise SystemExit(f"{kind.__name__}, {number} boxes: the rewards differ by {difference}")
        peer_s, ours_s = take_turns(
            lambda texts=texts, truths=truths: [peer_reward(*case) for case in zip(texts, truths, strict=True)],
            lambda texts=texts, truths=truths: bbox_rewards(texts, truths),
            rounds=rounds,
        )
        rows.append(
            {
                "predictions": kind.__name__,
                "boxes": number,
                "peer_us": round(peer_s / BATCH * 1e6, 2),
                "ours_us": round(ours_s / BATCH * 1e6, 2),
                "ratio": round(peer_s / ours_s, 2),
                "target": TARGETS[number],
                "largest_difference": difference,
            }
        )
    return rows


def requests(number: int) -> list[ScoreRequest]:
    texts, truths = cases(near, number)
    return [
        ScoreRequest(str(index), text, truth_json, 120, "bench")
        for index, (text, truth_json) in enumerate(zip(texts, map(_truth_json, truths), strict=True))
    ]


def _truth_json(boxes: Boxes) -> str:
    return Truth(
        tuple(LabelledBox("fracture", tuple(box)) for box in boxes.tolist()), "", "pixel", 1024, 1024
    ).to_json()


def bench_pool(rounds: int) -> list[dict[str, Any]]:
    """Steps of 1,024 completions from one caller: all terms, through Ray Serve, against the scorer in the caller."""
    import ray

    from rewards.pool import connect, deploy, shutdown

    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    rows = []
    try:
        for replicas in (1, 2):
            deploy(num_replicas=replicas)
            pool, scorer = connect(), Scorer()
            for number in (1, 4):
                asked = requests(number)
                pool.score_sync(asked)  # the first call brings up the router
                through, alone = [], []
                for _ in tqdm(range(rounds), desc=f"pool, {replicas} replica(s), {number} box(es)", unit="step"):
                    started = time.perf_counter()
                    scores = pool.score_sync(asked)
                    through.append(time.perf_counter() - started)
                    started = time.perf_counter()
                    alone_scores = scorer.score(asked)
                    alone.append(time.perf_counter() - started)
                    if [score.total for score in scores] != [score.total for score in alone_scores]:
                        raise SystemExit("the pool and the scorer disagree")
                step_s, compute_s = statistics.median(through), statistics.median(alone)
                rows.append(
                    {
                        "replicas": replicas,
                        "boxes": number,
                        "step_s": round(step_s, 4),
                        "scorer_alone_s": round(compute_s, 4),
                        "added_s": round(step_s - compute_s, 4),
                        "completions_per_s": round(BATCH / step_s),
                    }
                )
    finally:
        shutdown()
        ray.shutdown()
    return rows


def print_table(rows: list[dict[str, Any]]) -> None:
    columns = list(rows[0])
    cells = [columns, *([f"{row[column]}" for column in columns] for row in rows)]
    widths = [max(len(line[index]) for line in cells) for index in range(len(columns))]
    for line in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
    print()


def machine() -> dict[str, Any]:
    info = Path("/proc/cpuinfo")
    models = re.findall(r"model name\s*: (.*)", info.read_text()) if info.exists() else []
    return {
        "cpu": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the bounding-box reward and the reward pool.")
    parser.add_argument(
        "--rounds", type=int, default=5, help="turns of either side; the medians are taken over all calls"
    )
    parser.add_argument("--no-pool", action="store_true", help="leave out the pool, which starts a local Ray")
    arguments = parser.parse_args()

    results: dict[str, Any] = {"machine": machine(), "batch": BATCH}
    every_core = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(every_core)})
    results["reward"] = bench_reward(arguments.rounds)
    os.sched_setaffinity(0, every_core)
    print_table(results["reward"])
    if not arguments.no_pool:
        results["pool"] = bench_pool(arguments.rounds)
        print_table(results["pool"])
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    print(f"written to {RESULTS.relative_to(Path.cwd()) if RESULTS.is_relative_to(Path.cwd()) else RESULTS}")
    missed = [row for row in results["reward"] if row["predictions"] == "near" and row["ratio"] < row["target"]]
    for row in missed:
        print(f"below its target: {row['boxes']} boxes, {row['ratio']} of {row['target']}")


if __name__ == "__main__":
    main()
