"""The pool's client over a handle whose calls fail: what is tried again, for how long, and what each request gets."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from ray import serve
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError
from ray.serve.schema import ApplicationStatus, ApplicationStatusOverview, DeploymentStatusOverview, ServeStatus

from rewards import pool_client
from rewards.pool import PoolError, PoolGoneError, RewardPool, status
from rewards.pool_control import APP, DEPLOYMENT
from rewards.pool_wire import Requests, Scores, pack_scores, unpack_requests
from rewards.records import Score, ScoreRequest, Served, Truth
from rewards.scorer import Scorer

Fault = Callable[[list[ScoreRequest]], Awaitable[None] | None]


class Replicas:
    """Stands in for Serve: a handle whose calls fail as `fault` says, and as many running replicas as `running`."""

    def __init__(self, fault: Fault) -> None:
        self.fault, self.running, self.num_calls = fault, 1, 0
        self.scorer = Scorer()
        self.score = SimpleNamespace(remote=self._score)

    async def _score(self, packed: Requests, sent_at: float) -> Scores:
        self.num_calls += 1
        await asyncio.sleep(0)
        asked = unpack_requests(packed)
        if (slow := self.fault(asked)) is not None:
            await slow
        return pack_scores(self.scorer.score(asked), Served("r", self.scorer.version, "{}"))

    def status(self) -> ServeStatus:
        states = {"RUNNING": self.running} if self.running else {"STARTING": 1}
        deployment = DeploymentStatusOverview("HEALTHY", "UNSPECIFIED", states, "")
        return ServeStatus(
            applications={APP: ApplicationStatusOverview(ApplicationStatus.RUNNING, "", 0.0, {DEPLOYMENT: deployment})}
        )


@pytest.fixture
def replicas(monkeypatch: pytest.MonkeyPatch) -> Callable[[Fault], Replicas]:
    def put_in(fault: Fault) -> Replicas:
        made = Replicas(fault)
        monkeypatch.setattr(serve, "get_app_handle", lambda _: made)
        monkeypatch.setattr(serve, "status", made.status)
        monkeypatch.setattr(ray, "is_initialized", lambda: True)
        monkeypatch.setattr(ray, "get_actor", _no_actor)
        return made

    return put_in


def _no_actor(*_: Any, **__: Any) -> None:
    raise ValueError("no such actor")


def raised_in_a_replica() -> RayTaskError:
    return RayTaskError("score", "ZeroDivisionError in a term", ZeroDivisionError())


def requests(number: int) -> list[ScoreRequest]:
    return [ScoreRequest(f"c{index}", f"text {index}", Truth().to_json(), 1) for index in range(number)]


async def one_at_a_time(pool: RewardPool, asked: Sequence[ScoreRequest]) -> list[Score | BaseException]:
    return await asyncio.gather(*map(pool.score_one, asked), return_exceptions=True)


def test_a_call_that_fails_leaves_the_others_their_handle(
    replicas: Callable[[Fault], Replicas], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All calls of a process share one; a failing call forgets it, between another's start and its turn to run."""

    def fault(asked: list[ScoreRequest]) -> None:
        nonlocal num_left
        num_left -= 1
        if num_left >= 0:
            raise RayActorError()

    num_left = 40
    replicas(fault)
    pool = RewardPool(batch_size=1, max_retries=100)
    scores = asyncio.run(pool.score(requests(20)))
    assert [score.completion_id for score in scores] == [f"c{index}" for index in range(20)]


def test_a_request_that_breaks_the_scorer_loses_no_other(replicas: Callable[[Fault], Replicas]) -> None:
    def fault(asked: list[ScoreRequest]) -> None:
        if any(request.completion_id == "c5" for request in asked):
            raise raised_in_a_replica()

    pool = replicas(fault)
    outcomes = asyncio.run(one_at_a_time(RewardPool(linger_s=0.0), requests(16)))
    broken = outcomes.pop(5)
    assert isinstance(broken, PoolError) and "'c5'" in str(broken)
    assert broken.attempts == 5  # 16, 8, 4, 2, 1
    assert all(isinstance(outcome, Score) for outcome in outcomes)
    assert pool.num_calls == 9
    with pytest.raises(PoolError, match="'c5'"):
        RewardPool().score_sync(requests(16))


def test_a_call_that_is_given_up_loses_no_other(
    replicas: Callable[[Fault], Replicas], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(asked: list[ScoreRequest]) -> None:
        if asked[0].completion_id == "c4":
            raise RayActorError()

    monkeypatch.setattr(pool_client, "RETRY_FOR_S", 0.0)
    replicas(fault)
    pool = RewardPool(linger_s=0.1, batch_size=4, max_retries=0)

    async def ask() -> list[Score | BaseException]:
        pool._waiting = [(one, asyncio.get_running_loop().create_future()) for one in requests(8)]
        futures = [future for _, future in pool._waiting]
        await pool._flush(0.0)
        return await asyncio.gather(*futures, return_exceptions=True)

    assert [isinstance(outcome, Score) for outcome in asyncio.run(ask())] == [True] * 4 + [False] * 4


def test_a_dead_replica_that_serve_still_counts_costs_no_completion(replicas: Callable[[Fault], Replicas]) -> None:
    """Serve looks every two seconds; until then the calls to it fail at once."""

    def fault(asked: list[ScoreRequest]) -> None:
        if time.monotonic() < back_at:
            raise RayActorError()

    back_at = time.monotonic() + 1.5
    replicas(fault)
    (score,) = RewardPool(max_retries=1).score_sync(requests(1))
    assert score.served is not None and score.served.attempts > 2


def test_replicas_that_die_one_after_the_other_are_not_tried_for_ever(
    replicas: Callable[[Fault], Replicas], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(asked: list[ScoreRequest]) -> None:
        pool.running = 0
        raise RayActorError()

    def status_now() -> ServeStatus:
        pool.running += 1  # the next replica is there at the second look
        return pool.status() if pool.running > 1 else Replicas.status(SimpleNamespace(running=0))  # type: ignore[arg-type]

    pool = replicas(fault)
    monkeypatch.setattr(serve, "status", status_now)
    monkeypatch.setattr(pool_client, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(pool_client, "MAX_REPEATS", 3)
    with pytest.raises(PoolError, match="failed 4 times") as raised:
        RewardPool(max_retries=1).score_sync(requests(1))
    assert raised.value.attempts == pool.num_calls == 4


def test_waits_for_a_replica_add_up(replicas: Callable[[Fault], Replicas], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each comes back within the limit, and dies again."""
    looks = 0

    def fault(asked: list[ScoreRequest]) -> None:
        nonlocal looks
        looks = 0
        raise RayActorError()

    def status_now() -> ServeStatus:
        nonlocal looks
        looks += 1
        pool.running = int(looks > 10)  # so each is away for ten pauses or longer
        return pool.status()

    pool = replicas(fault)
    monkeypatch.setattr(serve, "status", status_now)
    monkeypatch.setattr(pool_client, "LOOK_EVERY_S", 0.02)
    with pytest.raises(PoolGoneError, match="scale_rewards"):
        RewardPool(wait_for_pool_s=1.0).score_sync(requests(1))
    assert 1 < pool.num_calls <= 6


def test_a_full_queue_is_no_failure(replicas: Callable[[Fault], Replicas], monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(asked: list[ScoreRequest]) -> None:
        if pool.num_calls < 4:
            raise BackPressureError(10, 10)

    monkeypatch.setattr(pool_client, "RETRY_FOR_S", 0.0)
    pool = replicas(fault)
    (score,) = RewardPool(max_retries=0).score_sync(requests(1))
    assert score.served is not None and score.served.attempts == 4


def test_time_in_a_queue_is_no_failure(replicas: Callable[[Fault], Replicas], monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that runs out of time while the pool answers others stands in their queue."""

    def fault(asked: list[ScoreRequest]) -> Awaitable[None] | None:
        turns.append(asked[0].completion_id)
        return asyncio.sleep(60) if asked[0].completion_id == "c0" and turns.count("c0") < 3 else None

    async def ask() -> Score:
        waiting = asyncio.create_task(pool.score([first]))
        while not waiting.done():
            await pool.score([other])
            await asyncio.sleep(0.02)
        return (await waiting)[0]

    turns: list[str] = []
    monkeypatch.setattr(pool_client, "RETRY_FOR_S", 0.0)
    replicas(fault)
    pool = RewardPool(max_retries=0, timeout_s=0.2)
    first, other = requests(2)
    score = asyncio.run(ask())
    assert score.served is not None and score.served.attempts == 3


@pytest.mark.parametrize("error", [RayActorError(), GetTimeoutError()])
def test_replicas_are_counted_without_the_meter(
    replicas: Callable[[Fault], Replicas], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Its actor may be starting again, or hang; the pool is there all the same."""

    def get(_: Any, timeout: float | None = None) -> None:
        assert timeout is not None, "would wait for ever"
        raise error

    replicas(lambda asked: None).running = 3
    meter = SimpleNamespace(load=SimpleNamespace(remote=lambda: None))
    monkeypatch.setattr(ray, "get_actor", lambda *_, **__: meter)
    monkeypatch.setattr(ray, "get", get)
    assert pool_client._num_running() == 3
    with pytest.raises(PoolError, match="meter of the reward pool does not answer"):
        status()
