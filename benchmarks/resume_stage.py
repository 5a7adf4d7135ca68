"""A supervised stage whose processes can be killed: a Ray of several nodes on this machine, and a driver of its own."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from resume_verdict import MicroBatches, planned

EXAMPLES = Path(__file__).parents[1] / "tests" / "examples"
sys.path.insert(0, str(EXAMPLES))
SIZE, PER_STEP, WINDOW, SEED = 2, 6, 2, 0
"""Samples of a micro-batch; micro-batches of a step, shared by 1, 2 or 3 workers; row groups of a window; of the order."""
IMAGES, TEXTS = 51, 46
"""Odd numbers: some micro-batches are short, and steps reach across the ends of epochs."""
CHECKPOINTS = 40
"""Of a run."""
NODE_CPUS = 6
"""Logical cores of a node: three workers and the readers find room on one."""
TAIL_BYTES = 4096
"""More than a row of metrics takes."""
LOADING = 1
"""Number of the phase in a rank's heartbeat in which it loads the model."""

DRIVER = """
import json, logging, sys
from pathlib import Path
import ray
from small_run import recipe
from medmo_ray.sft.train import run_sft
here, stage, address = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
run_sft(recipe(**json.loads(sys.argv[4])), stage, model=here / "model", corpus=here / "corpus")
"""


class Nodes:
    """A Ray of a head, where drivers live, and two nodes for workers and readers; each is a set of processes."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
        self._nodes = [self._cluster.add_node(num_cpus=NODE_CPUS) for _ in range(2)]

    @property
    def address(self) -> str:
        return str(self._cluster.address)

    def kill(self, worker: int) -> Callable[[], None]:
        """SIGKILL to the raylet of the node that a worker's process runs on.

        Returns:
            What puts another node in its place.
        """
        (node,) = [node for node in self._nodes if psutil.Process(worker).ppid() == _raylet(node).pid]
        _raylet(node).kill()
        _raylet(node).wait()  # workers end when they miss it, and one that nobody waited for is not missed

        def replace() -> None:
            self._cluster.remove_node(node, allow_graceful=False)
            self._nodes = [
                *(other for other in self._nodes if other is not node),
                self._cluster.add_node(num_cpus=NODE_CPUS),
            ]

        return replace

    def close(self) -> None:
        self._cluster.shutdown()


def _note(file: Path) -> dict[str, Any]:
    """What a rank wrote last; it writes several times a second."""
    while True:
        try:
            return dict(json.loads(file.read_text()))
        except json.JSONDecodeError:
            time.sleep(0.001)


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _raylet(node: Any) -> "subprocess.Popen[bytes]":
    process: subprocess.Popen[bytes] = node.all_processes["raylet"][0].process
    return process


class Stage:
    """A supervised stage in a directory, and the driver that runs it at present."""

    def __init__(self, directory: Path, nodes: Nodes, steps: int, lr: float) -> None:
        directory.mkdir()
        self.directory, self._nodes, self._steps, self._lr = directory, nodes, steps, lr
        self.driver: subprocess.Popen[bytes] | None = None

    def start(self, workers: int) -> None:
        given = json.dumps(sections(self._steps, self._lr, workers))
        with (self.directory / "log").open("ab") as log:
            self.driver = subprocess.Popen(
                [sys.executable, "-c", DRIVER, str(self.directory.parent), str(self.directory), self._nodes.address, given],
                stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip

    @property
    def rows(self) -> list[dict[str, Any]]:
        """All of metrics.jsonl, of a run that has ended."""
        return [json.loads(line) for line in (self.directory / "metrics.jsonl").read_text().splitlines()]

    @property
    def step(self) -> int:
        """The last step that is done."""
        file = self.directory / "metrics.jsonl"
        if not file.is_file():
            return 0
        with file.open("rb") as stream:
            stream.seek(max(0, file.stat().st_size - TAIL_BYTES))
            lines = stream.read().split(b"\n")[-2:-1]
        return int(json.loads(lines[0])["step"]) if lines else 0

    @property
    def kept(self) -> int:
        """The step of the last complete checkpoint."""
        return max((int(path.name[5:]) for path in self._checkpoints() if path.suffix != ".part"), default=0)

    @property
    def writes(self) -> bool:
        """Whether a checkpoint is begun and not complete."""
        return any(path.suffix == ".part" for path in self._checkpoints())

    def _checkpoints(self) -> list[Path]:
        return list((self.directory / "checkpoints").glob("step-*"))

    def noted(self, phase: int | None = None) -> list[int]:
        """Processes of the ranks by their last notes, or of those that noted this phase."""
        notes = [_note(file) for file in sorted((self.directory / "heartbeats").glob("rank-*.json"))]
        return [note["pid"] for note in notes if phase in (None, note["phase"])]

    def ranks(self, phase: int | None = None) -> list[int]:
        """Those of `noted` that live."""
        return [pid for pid in self.noted(phase) if _lives(pid)]

    @property
    def end_of_log(self) -> str:
        return (self.directory / "log").read_text()[-3000:]

    def wait(self, until: Callable[[], bool], pause_s: float = 0.02) -> None:
        """Wait for something that a driver at work brings about."""
        while not until():
            if self.driver is None or self.driver.poll() is not None:
                sys.exit(f"{self.directory.name} ended early:\n{self.end_of_log}")
            time.sleep(pause_s)

    def wait_for_step(self, step: int) -> None:
        """Wait until a step is done."""
        self.wait(lambda: self.step >= step)

    def finish(self) -> None:
        if self.driver is None or self.driver.wait() != 0:
            sys.exit(f"{self.directory.name} failed:\n{self.end_of_log}")

    def close(self) -> None:
        """End a driver that still runs, after a drill that broke off."""
        if self.driver is not None:
            self.driver.kill()
            self.driver.wait()

    def restart(self, workers: int) -> None:
        """SIGKILL to the driver, and another at once; back when the ranks of the killed one are gone, which takes a while."""
        assert self.driver is not None
        ranks = self.ranks()
        self.driver.kill()
        self.driver.wait()
        self.start(workers)
        self.wait_for_end(ranks)

    def wait_for_end(self, ranks: list[int]) -> None:
        """Wait until these processes are gone."""
        self.wait(lambda: not any(map(_lives, ranks)))


def sections(steps: int, lr: float, workers: int) -> dict[str, Any]:
    """Of a recipe: a step's samples and its plan are the same for any number of workers."""
    return {
        "epochs": steps, "max_steps": steps, "max_failures": 20, "run": {"seed": SEED}, "optimizer": {"lr": lr},
        "checkpoint": {"every_steps": max(2, steps // CHECKPOINTS), "keep": 2}, "data": {"window_row_groups": WINDOW},
        "batch": {"per_worker": SIZE, "accumulation": PER_STEP // workers}, "cluster": {"num_workers": workers},
    }  # fmt: skip


def environment(folder: Path) -> dict[str, str]:
    """What nodes and drivers are started under; `folder` is short, as it comes before the names of Ray's sockets."""
    return {
        "PYTHONPATH": os.pathsep.join([str(EXAMPLES), os.environ.get("PYTHONPATH", "")]), "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false", "RAY_TMPDIR": str(folder), "RAY_prestart_worker_first_driver": "0",
    }  # fmt: skip


def inputs(here: Path) -> None:
    """A corpus and a model, beside which stages lie."""
    from small_run import write_corpus, write_model

    write_corpus(here / "corpus", num_images=IMAGES, num_texts=TEXTS, side_px=32)
    write_model(here / "model", here / "corpus")


def plan_of(here: Path, steps: int) -> MicroBatches:
    return planned(here / "corpus", SEED, SIZE, WINDOW, steps * PER_STEP)
