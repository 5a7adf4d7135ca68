"""Connecting a job to Ray, with the resources that it needs, and leaving nothing behind.

A rehearsal runs on a machine that has fewer cores than the recipe has actors, and no GPU where verl's placement groups
ask for one. Ray's resources are logical, so a rehearsal declares what it needs: on a cluster of its own directly, on one
that is already running by joining a second, logical node for the time of the job.
"""

import contextlib
import logging
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass

import ray

from medmo_ray.config.base import ClusterSettings
from medmo_ray.errors import ClusterError

REHEARSAL_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_V2_ENABLED": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
}
"""What every process of a rehearsal gets: two cores are oversubscribed quickly."""


@dataclass(frozen=True)
class Needs:
    """Logical resources that a job's actors reserve in all."""

    num_cpus: float
    num_gpus: float = 0


@contextlib.contextmanager
def connected(settings: ClusterSettings, needs: Needs) -> Iterator[None]:
    """Connect to Ray for the time of a job.

    A Ray that this process is connected to already is used as it is. Otherwise the cluster of `settings.address` or of
    RAY_ADDRESS (which `ray job submit` sets) is joined; without one, a local Ray is started and ended with the job.

    Raises:
        ClusterError: no cluster answers at the address, or it lacks what a GPU run needs.
    """
    if ray.is_initialized():
        yield
        return
    address = settings.address or os.environ.get("RAY_ADDRESS")
    if not settings.use_gpu:
        os.environ.update({name: os.environ.get(name, value) for name, value in REHEARSAL_ENVIRONMENT.items()})
    with _interrupt_on_terminate(), contextlib.ExitStack() as stack:
        stack.callback(_leave)
        if address is None:
            _start_local(settings, needs)
        else:
            _join(address)
            if settings.use_gpu:
                _require(needs)
            else:
                stack.enter_context(rehearsal_node(needs))
        print(f"Ray {ray.__version__}: {_describe()}", flush=True)
        yield


@contextlib.contextmanager
def rehearsal_node(needs: Needs) -> Iterator[None]:
    """Join a logical node to the connected cluster when it does not have what a rehearsal reserves.

    The node is a process of this machine, `ray start --block`, and ends with the context.

    Raises:
        ClusterError: the node did not appear within a minute.
    """
    if _lacking(needs) is None:
        yield
        return
    # A folder of its own: two nodes that share one replace each other's copy of a submitted job's code.
    with tempfile.TemporaryDirectory(prefix="medmo-", ignore_cleanup_errors=True) as folder:
        node = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", f"--address={ray.get_runtime_context().gcs_address}",
             f"--num-cpus={max(1, math.ceil(needs.num_cpus))}", f"--num-gpus={math.ceil(needs.num_gpus)}",
             "--object-store-memory=1000000000", f"--temp-dir={folder}", "--disable-usage-stats"],
            cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            _wait_for(needs, node)
            yield
        finally:
            _end(node)


def _start_local(settings: ClusterSettings, needs: Needs) -> None:
    logical = {} if settings.use_gpu else {"num_cpus": round(needs.num_cpus), "num_gpus": round(needs.num_gpus)}
    options = {"address": "local", "namespace": "medmo", "logging_level": logging.WARNING, **logical}
    try:
        ray.init(include_dashboard=True, **options)
    except Exception as error:  # the class that Ray itself raises here
        # A dashboard that does not start within its 30 s (a very busy machine) is no reason to lose the run.
        if "dashboard" not in str(error):
            raise
        print("Ray's dashboard did not start within its 30 s; the run goes on without it", flush=True)
        ray.shutdown()
        ray.init(include_dashboard=False, **options)


def _leave() -> None:
    """Disconnect, and let Serve forget its controller, which it would look for on the next cluster."""
    serve_context = sys.modules.get("ray.serve.context")
    if serve_context is not None:
        serve_context._set_global_client(None)
    ray.shutdown()


def _join(address: str) -> None:
    try:
        ray.init(address=address, namespace="medmo", logging_level=logging.WARNING)
    except (ConnectionError, RuntimeError) as error:
        raise ClusterError(
            f"no Ray cluster answers at {address} ({error}): start one with `ray start --head`, or unset it"
        ) from None


def _require(needs: Needs) -> None:
    lacking = _lacking(needs)
    if lacking:
        raise ClusterError(
            f"the cluster lacks {lacking}; it has {_describe()}. Add nodes, or lower cluster.num_workers"
        )


def _lacking(needs: Needs) -> str | None:
    have = ray.cluster_resources()
    gaps = [
        f"{want - have.get(name, 0):g} {name}"
        for name, want in (("CPU", needs.num_cpus), ("GPU", needs.num_gpus))
        if have.get(name, 0) < want
    ]
    return " and ".join(gaps) or None


def _describe() -> str:
    resources, nodes = ray.cluster_resources(), [node for node in ray.nodes() if node["Alive"]]
    return f"{len(nodes)} node(s), {resources.get('CPU', 0):g} CPU, {resources.get('GPU', 0):g} GPU"


def _wait_for(needs: Needs, node: "subprocess.Popen[str]", timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while _lacking(needs):
        if node.poll() is not None:
            said = node.stderr.read().strip() if node.stderr else ""
            raise ClusterError(
                f"the logical node of the rehearsal did not start (exit code {node.returncode}): {said[-500:]}"
            )
        if time.monotonic() > deadline:
            raise ClusterError(f"the logical node of the rehearsal did not join within {timeout_s:.0f} s")
        time.sleep(0.2)


def _end(node: "subprocess.Popen[str]") -> None:
    for number, wait_s in ((signal.SIGTERM, 10), (signal.SIGKILL, 5)):
        if node.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(node.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            node.wait(wait_s)


@contextlib.contextmanager
def _interrupt_on_terminate() -> Iterator[None]:
    """Let SIGTERM (a stopped job, a preempted machine) unwind the run as Ctrl-C does."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
