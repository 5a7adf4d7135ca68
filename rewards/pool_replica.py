"""What runs inside the reward pool: the replica, a thin shell around `Scorer`, and the meter that adds up what they did."""

import math
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from ray import serve

from rewards.pool_metrics import ReplicaMetrics
from rewards.pool_wire import Requests, Scores, pack_scores, unpack_requests
from rewards.records import RewardSettings, Served
from rewards.scorer import Scorer
from rewards.warm_up import warm_up

METER = "reward_pool_meter"
NAMESPACE = "rewards"
WINDOW_S = 30.0


@dataclass(frozen=True)
class Load:
    """What the pool has done, in all and over a window: the last `WINDOW_S` seconds, or those since `Meter.forget`.

    Attributes:
        num_scored: completions scored since the pool was deployed.
        num_failed: completions of these that could not be scored (`Score.failed`).
        num_unreadable: completions of these with a problem in their text.
        per_s: completions scored per second, in the window.
        queue_delay_s: mean time a call waited between caller and replica, in the window; clocks of nodes that differ
            show up here.
        busy_s: seconds that replicas spent scoring, in the window.
        latency_p50_s: median time from the caller to the score of a call, in the window.
        latency_p99_s: time within which 99 of 100 calls were scored, in the window.
        window_s: length of the window.
    """

    num_scored: int = 0
    num_failed: int = 0
    num_unreadable: int = 0
    per_s: float = 0.0
    queue_delay_s: float = 0.0
    busy_s: float = 0.0
    latency_p50_s: float = 0.0
    latency_p99_s: float = 0.0
    window_s: float = WINDOW_S


@dataclass(frozen=True)
class Deployed:
    """What a pool was deployed with.

    Attributes:
        version: `Scorer.version`.
        settings_json: `RewardSettings.to_json()`.
        num_cpus: logical CPUs of each replica.
        resources: custom resources of each.
    """

    version: str
    settings_json: str
    num_cpus: float = 0.1
    resources: Mapping[str, float] = field(default_factory=dict)


class Meter:
    """Adds up the calls of all replicas, and remembers what they were deployed with; it outlives each of them."""

    def __init__(self, deployed: Deployed) -> None:
        self._deployed = deployed
        self._since = -math.inf
        self._scored = self._failed = self._unreadable = 0
        self._calls: deque[tuple[float, int, float, float]] = deque()

    def add(self, num_scored: int, num_failed: int, num_unreadable: int, delay_s: float, busy_s: float) -> None:
        self._scored += num_scored
        self._failed += num_failed
        self._unreadable += num_unreadable
        now = time.monotonic()
        if now - delay_s - busy_s >= self._since:
            self._calls.append((now, num_scored, delay_s, busy_s))
        self._forget_old()

    def load(self) -> Load:
        self._forget_old()
        calls, window_s = self._calls, min(WINDOW_S, time.monotonic() - self._since)
        latencies = sorted(delay_s + busy_s for _, _, delay_s, busy_s in calls)
        return Load(
            self._scored,
            self._failed,
            self._unreadable,
            sum(call[1] for call in calls) / window_s if calls else 0.0,
            sum(call[2] for call in calls) / len(calls) if calls else 0.0,
            sum(call[3] for call in calls),
            _share_within(latencies, 0.50),
            _share_within(latencies, 0.99),
            window_s,
        )

    def forget(self) -> None:
        """Begins the window anew: calls that were made before now say nothing of the replicas there are."""
        self._since = time.monotonic()
        self._calls.clear()

    def deployed(self) -> Deployed:
        return self._deployed

    def _forget_old(self) -> None:
        while self._calls and self._calls[0][0] < time.monotonic() - WINDOW_S:
            self._calls.popleft()


def _share_within(ordered: Sequence[float], share: float) -> float:
    """The smallest of the ordered values that `share` of them do not exceed; 0 without any."""
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else 0.0


def start_meter(deployed: Deployed) -> Any:
    """The meter of a new pool, in place of the one before it."""
    stop_meter()
    options = {"name": METER, "namespace": NAMESPACE, "lifetime": "detached", "num_cpus": 0, "max_restarts": -1}
    return ray.remote(Meter).options(**options).remote(deployed)


def find_meter() -> Any | None:
    """The meter of the running pool, if there is one."""
    try:
        return ray.get_actor(METER, namespace=NAMESPACE)
    except ValueError:  # Ray's word for a name that no actor has
        return None


def stop_meter() -> None:
    meter = find_meter()
    if meter is not None:
        ray.kill(meter, no_restart=True)


class RewardScorer:
    """One replica of the pool."""

    def __init__(self, settings_json: str) -> None:
        self._scorer = Scorer(RewardSettings.from_json(settings_json))
        warm_up()  # before there are calls to wait for it
        replica = serve.get_replica_context().replica_id.unique_id
        self._served = Served(replica, self._scorer.version, self._scorer.settings.to_json())
        self._meter = find_meter()
        self._metrics = ReplicaMetrics()

    async def score(self, packed: Requests, sent_at: float) -> Scores:
        """Scores one call; `sent_at` is the caller's clock, `time.time()`."""
        delay_s, started = max(0.0, time.time() - sent_at), time.perf_counter()
        scores = self._scorer.score(unpack_requests(packed))
        busy_s = time.perf_counter() - started
        self._metrics.add_call(scores, delay_s, busy_s)
        if self._meter is not None:
            num_failed = sum(score.failed for score in scores)
            num_unreadable = sum(bool(score.problems) for score in scores)
            self._meter.add.remote(len(scores), num_failed, num_unreadable, delay_s, busy_s)
        return pack_scores(scores, self._served)

    async def version(self) -> str:
        """`Scorer.version` of this replica."""
        return self._scorer.version
