"""The reward pool on a real local Ray: scaled while it is in use, a replica killed under it, and gone altogether."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Awaitable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import ray
from local_ray import local_ray
from ray import serve
from ray.serve._private.constants import SERVE_CONTROLLER_NAME, SERVE_NAMESPACE

from rewards import LabelledBox, format_boxes
from rewards.pool import ForeignPoolError, PoolGoneError, RewardPool, connect, deploy, scale, shutdown, status
from rewards.pool_cli import main
from rewards.records import RewardSettings, Score, ScoreRequest, Truth
from rewards.scorer import Scorer

pytestmark = pytest.mark.integration


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


METRICS_PORT = free_port()


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    metrics = {"_metrics_export_port": METRICS_PORT, "_system_config": {"metrics_report_interval_ms": 500}}
    with local_ray(num_cpus=4, **metrics):
        yield
        serve.shutdown()  # else its cached client would look for this Ray's controller in the next module


@pytest.fixture
def pool() -> Iterator[RewardPool]:
    deploy(num_replicas=1)
    yield connect(batch_size=8)
    shutdown()


def requests(number: int) -> list[ScoreRequest]:
    """Completions that differ in what they are worth, so that a score cannot pass for another."""
    truth = Truth((LabelledBox("fracture", (10, 10, 300, 200)),), width=512, height=512).to_json()
    boxes = ((10.0, 10.0, 300.0, 20.0 + i / 4) for i in range(number))
    return [ScoreRequest(f"c{i}", format_boxes([("fracture", box)]), truth, 40) for i, box in enumerate(boxes)]


def replica_pids() -> list[int]:
    controller = ray.get_actor(SERVE_CONTROLLER_NAME, namespace=SERVE_NAMESPACE)
    details = ray.get(controller.get_serve_instance_details.remote())
    replicas = details["applications"]["rewards"]["deployments"]["RewardScorer"]["replicas"]
    return [replica["pid"] for replica in replicas if replica["state"] == "RUNNING"]


def wait_for_replicas(number: int, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while (status().num_running, status().num_starting, status().num_stopping) != (number, 0, 0):
        assert time.monotonic() < deadline, f"{status()} after {timeout_s} s; {number} replicas are wanted"
        time.sleep(0.1)


def test_nothing_is_lost_while_replicas_come_go_and_die(pool: RewardPool) -> None:
    asked = requests(1000)

    async def meanwhile(part: list[ScoreRequest], event: Awaitable[None]) -> list[Score]:
        """Scores `part` in calls that overlap, spread over the time that `event` takes."""
        happening = asyncio.ensure_future(event)
        calls = []
        for start in range(0, len(part), 20):
            calls.append(asyncio.create_task(pool.score(part[start : start + 20])))
            await asyncio.sleep(0 if happening.done() else 0.1)
        await happening
        return [score for call in calls for score in await call]

    async def kill_a_replica() -> None:
        (victim, *_) = await asyncio.to_thread(replica_pids)
        os.kill(victim, signal.SIGKILL)

    async def everything() -> list[Score]:
        scores = await meanwhile(asked[:300], asyncio.to_thread(scale, 3, 60))
        scores += await meanwhile(asked[300:600], kill_a_replica())
        return scores + await meanwhile(asked[600:], asyncio.to_thread(scale, 1))

    scores = asyncio.run(everything())
    assert [score.completion_id for score in scores] == [request.completion_id for request in asked]
    assert [score.total for score in scores] == [score.total for score in Scorer().score(asked)]
    wait_for_replicas(1)


def test_scaling_keeps_the_replicas_there_are(pool: RewardPool) -> None:
    before = replica_pids()
    scale(3, wait_s=60)
    assert len(replica_pids()) == 3
    assert set(before) < set(replica_pids())


def test_a_caller_waits_for_a_pool_that_is_gone(pool: RewardPool) -> None:
    shutdown()

    async def score_while_it_comes_back() -> list[Score]:
        scoring = asyncio.create_task(pool.score(requests(20)))
        await asyncio.sleep(2)
        assert not scoring.done()
        await asyncio.to_thread(deploy)
        return await scoring

    scores = asyncio.run(score_while_it_comes_back())
    assert scores == Scorer().score(requests(20))
    assert all(score.served is not None and score.served.attempts > 1 for score in scores)


def test_a_pool_that_stays_away_is_an_error() -> None:
    with pytest.raises(PoolGoneError, match="scale_rewards"):
        connect(wait_for_pool_s=1).score_sync(requests(1))


def test_a_lost_pool_comes_back_with_the_settings_it_had(pool: RewardPool) -> None:
    settings = RewardSettings(lambda_fp=0.5)
    deploy(settings, num_replicas=1)
    serve.delete("rewards")
    wait_for_replicas(0)
    main(["1"])
    (score,) = connect(settings_json=settings.to_json()).score_sync(requests(1))
    assert score.served is not None
    assert (score.served.settings_json, score.served.version) == (settings.to_json(), Scorer(settings).version)
    with pytest.raises(ForeignPoolError, match="--settings FILE"):
        connect(settings_json=RewardSettings().to_json()).score_sync(requests(1))


def test_a_score_says_how_it_came(pool: RewardPool) -> None:
    (score,), (other,) = pool.score_sync(requests(1)), pool.score_sync(requests(1))
    assert score.served == other.served
    assert score.served is not None
    assert (score.served.version, score.served.attempts) == (Scorer().version, 1)
    assert score.served.replica


def test_callers_in_actors_and_one_at_a_time(pool: RewardPool) -> None:
    @ray.remote
    class Worker:
        """An asynchronous actor that is given one completion at a time, as verl's reward workers are."""

        def __init__(self) -> None:
            self.pool = connect()

        async def score(self, request: ScoreRequest) -> float:
            return (await self.pool.score_one(request)).total

    worker = Worker.remote()
    asked = requests(50)
    totals = ray.get([worker.score.remote(request) for request in asked])
    assert totals == [score.total for score in Scorer().score(asked)]
    assert status().num_scored == 50


def test_same_settings_keep_the_pool_and_others_replace_it(pool: RewardPool) -> None:
    before = replica_pids()
    deploy(RewardSettings(), num_replicas=1)
    assert replica_pids() == before
    deploy(RewardSettings(weights={"bbox": 2.0}), num_replicas=1)
    assert not set(before) & set(replica_pids())
    assert connect().score_sync(requests(1))[0].weighted == {"bbox": 2 * Scorer().score(requests(1))[0].terms["bbox"]}


def prometheus() -> dict[str, float]:
    """What the node's metrics endpoint says of the pool: name and labels of ours → value, summed over processes."""
    with urllib.request.urlopen(f"http://127.0.0.1:{METRICS_PORT}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found: dict[str, float] = {}
    for name, labels, value in re.findall(r"^ray_(\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
        kept = re.findall(r'\b(?:term|le|application)="[^"]*"', labels)
        key = f"{name}{{{','.join(sorted(kept))}}}" if kept else name
        found[key] = found.get(key, 0.0) + float(value)
    return found


def test_prometheus_is_told(pool: RewardPool) -> None:
    def wait_for(**grown: int) -> dict[str, float]:
        """How much each metric grew since the start of the test, once these have grown so much."""
        deadline = time.monotonic() + 30
        while True:
            now = {name: value - before.get(name, 0.0) for name, value in prometheus().items()}
            if all(now.get(f"reward_{name}_total", 0.0) >= wanted for name, wanted in grown.items()):
                return now
            assert time.monotonic() < deadline, {name: now[name] for name in now if name.startswith("reward")}
            time.sleep(0.3)

    before = prometheus()
    broken = ScoreRequest("broken", "cell", "no json", 3)
    unreadable = ScoreRequest("unreadable", "cell <box>", requests(1)[0].truth_json, 3)
    pool.score_sync([*requests(6), unreadable, broken])
    wait_for(completions=8)
    shutdown()
    with ThreadPoolExecutor(1) as thread:
        scoring = thread.submit(pool.score_sync, requests(2))
        time.sleep(1)
        deploy()
        scoring.result()
    now = wait_for(completions=10, retries=1)
    assert now["reward_completions_total"] == 10
    assert (now["reward_failures_total"], now["reward_unreadable_total"]) == (1, 2)
    assert now["reward_latency_s_count"] == now["reward_queue_delay_s_count"] == 2
    assert now["reward_latency_s_sum"] >= now["reward_queue_delay_s_sum"] > 0  # Ray adds up the middles of buckets
    assert {now[f'reward_term_count{{term="{term}"}}'] for term in ("bbox", "label", "tags", "overlong")} == {9}
    assert now['reward_term_bucket{le="1e-09",term="overlong"}'] == 9  # none was too long
    assert now['reward_term_bucket{le="1e-09",term="bbox"}'] == 1
    replicas = 'serve_deployment_replica_healthy{application="rewards"}'  # Serve's own, after its first look at each
    deadline = time.monotonic() + 30
    while prometheus().get(replicas) != status().num_running:
        assert time.monotonic() < deadline, prometheus().get(replicas)
        time.sleep(0.3)


def test_command_line(pool: RewardPool, capsys: pytest.CaptureFixture[str]) -> None:
    connect().score_sync(requests(5))
    main(["2"])
    main(["status"])
    printed = capsys.readouterr().out
    assert "2 running" in printed
    assert "5 scored" in printed
    assert re.search(r"scored within [1-9]\d* ms \(p50\), \d+ ms \(p99\)", printed)


def test_status_command_of_a_cluster_without_pool() -> None:
    address = ray.get_runtime_context().gcs_address
    script = Path(__file__).parents[2] / "jobs" / "scale_rewards.py"
    done = subprocess.run(
        [sys.executable, str(script), "status"],
        capture_output=True,
        text=True,
        env={**os.environ, "RAY_ADDRESS": address},
    )
    assert done.returncode == 0, done.stderr
    assert "MISSING" in done.stdout
