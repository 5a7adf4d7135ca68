"""Kills workers, drivers and nodes of a supervised stage at random moments, changes the number of workers, and compares.

    python benchmarks/drill_resume.py                 # 1,000 steps
    python benchmarks/drill_resume.py --steps 60      # a quick look

Three runs of the same plan, a tiny Qwen3-VL on a Ray of three nodes, all on this machine's CPU: one undisturbed; one whose
workers, driver and nodes (their raylets) are killed with SIGKILL; one that goes from 2 to 3 to 1 workers. Each must consume
the samples of the plan, none twice and none missing; the killed run's metrics and final weights must be those of the
undisturbed one bit by bit, the resized run's losses within 1e-5. Exit status 1 if not. Writes benchmarks/results/resume.json.
"""

import argparse
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from resume_verdict import LIMIT, MicroBatches, compare_losses, count_samples, planned, sample_rows, show

EXAMPLES = Path(__file__).parents[1] / "tests" / "examples"
sys.path.insert(0, str(EXAMPLES))
RESULT = Path(__file__).parent / "results" / "resume.json"
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


@dataclass(frozen=True)
class Kill:
    """What is killed, and when: at a step, while a checkpoint is written after it, or before the first step of an attempt."""

    what: str
    step: int
    moment: str = "in a step"


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

    def ranks(self, phase: int | None = None) -> list[int]:
        """The living processes of ranks that train, or of those that are in this phase."""
        notes = [_note(file) for file in sorted((self.directory / "heartbeats").glob("rank-*.json"))]
        return [note["pid"] for note in notes if phase in (None, note["phase"]) and _lives(note["pid"])]

    def wait(self, until: Callable[[], bool], pause_s: float = 0.02) -> None:
        """Wait for something that a driver at work brings about."""
        while not until():
            if self.driver is None or self.driver.poll() is not None:
                sys.exit(f"{self.directory.name} ended early:\n{(self.directory / 'log').read_text()[-3000:]}")
            time.sleep(pause_s)

    def finish(self) -> None:
        if self.driver is None or self.driver.wait() != 0:
            sys.exit(f"{self.directory.name} failed:\n{(self.directory / 'log').read_text()[-3000:]}")

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


def kills(steps: int, each: int, rng: random.Random) -> list[Kill]:
    """Random steps for each kind; then, at random steps too, one of each kind before a first step and in a checkpoint."""
    kinds = ["worker", "driver", "node"]
    moments = sorted(rng.sample(range(2, steps - steps // 20), len(kinds) * (each + 2) - 1))
    chosen = [(kind, "in a step") for kind in kinds * each]
    chosen += [(kind, "while it writes a checkpoint") for kind in kinds]
    chosen += [(kind, "before its first step") for kind in kinds[1:]]
    rng.shuffle(chosen)
    return [
        Kill("worker", 0, "before its first step"),
        *(Kill(kind, step, when) for (kind, when), step in zip(chosen, moments, strict=True)),
    ]


def killed(stage: Stage, nodes: Nodes, plan: list[Kill], rng: random.Random) -> list[dict[str, Any]]:
    """Run a stage and kill; a driver that was killed is started again."""
    stage.start(2)
    events: list[dict[str, Any]] = []
    for kill in plan:
        stage.wait(lambda kill=kill: stage.step >= kill.step)
        if kill.moment == "before its first step":
            if kill.step:  # end an attempt, so that another begins
                os.kill(stage.ranks()[0], signal.SIGKILL)
                stage.wait_for_end(stage.ranks())
            stage.wait(lambda: len(stage.ranks(LOADING)) == 2)
        elif kill.moment == "while it writes a checkpoint":
            stage.wait(lambda: stage.writes, pause_s=0.0005)
        else:
            time.sleep(rng.uniform(0, 0.2))
        events.append(strike(stage, nodes, kill, rng))
        print(events[-1], flush=True)
    stage.finish()
    return events


def strike(stage: Stage, nodes: Nodes, kill: Kill, rng: random.Random) -> dict[str, Any]:
    """Kill now, and wait until the step that was under way is done by other processes."""
    ranks, started, restore = stage.ranks(), time.monotonic(), None
    if kill.what == "driver":
        stage.restart(2)
    elif kill.what == "node":
        restore = nodes.kill(rng.choice(ranks))
    else:
        os.kill(rng.choice(ranks), signal.SIGKILL)
    stage.wait_for_end(ranks)
    gone_s, at, kept, torn = time.monotonic() - started, stage.step, stage.kept, stage.writes
    stage.wait(lambda: stage.step > at, pause_s=0.1)
    seconds = time.monotonic() - started
    if restore is not None:
        restore()
    return {
        "killed": kill.what, "moment": kill.moment, "in_step": at + 1, "steps_redone": at - kept, "torn_checkpoint": torn,
        "seconds_until_gone": round(gone_s, 1), "seconds_lost": round(seconds, 1),
    }  # fmt: skip


def resized(stage: Stage, steps: int) -> None:
    """2 workers for a third of the run, then 3, then 1; a driver ends by SIGKILL."""
    stage.start(2)
    for workers, since in ((3, steps // 3), (1, 2 * steps // 3)):
        stage.wait(lambda since=since: stage.step >= since)
        stage.restart(workers)
    stage.finish()


def plan_of(here: Path, steps: int) -> MicroBatches:
    return planned(here / "corpus", SEED, SIZE, WINDOW, steps * PER_STEP)


def weights_differ(one: Path, other: Path) -> bool:
    """Whether the exports of two runs differ in a bit."""
    files = sorted(path.name for path in one.glob("*.safetensors"))
    return not files or any((one / name).read_bytes() != (other / name).read_bytes() for name in files)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument(
        "--kills", type=int, default=2, help="of each kind at random steps, besides those at chosen moments"
    )
    parser.add_argument("--seed", type=int, default=0, help="of what is killed when")
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="drill-") as folder:
        here, steps = Path(folder), arguments.steps
        os.environ |= environment(here)
        inputs(here)
        nodes = Nodes()
        stages = {name: Stage(here / name, nodes, steps, arguments.lr) for name in ("undisturbed", "killed", "resized")}
        try:
            rng = random.Random(arguments.seed)
            started = time.monotonic()
            stages["undisturbed"].start(2)
            stages["undisturbed"].finish()
            print(f"undisturbed: {time.monotonic() - started:.0f} s", flush=True)
            events = killed(stages["killed"], nodes, kills(steps, arguments.kills, rng), rng)
            resized(stages["resized"], steps)
            print(show(events))
        finally:
            nodes.close()
        result = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "steps": steps,
            "lr": arguments.lr,
            "kills": events,
            **judged(
                stages,
                plan_of(here, steps),
            ),
        }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    sys.exit(0 if result["holds"] else 1)


def judged(stages: dict[str, Stage], due: MicroBatches) -> dict[str, Any]:
    """Print and hand back what came of the three runs."""
    samples = {name: count_samples(stage.directory / "consumed", due, PER_STEP) for name, stage in stages.items()}
    calm, killed, resized = stages.values()
    same, near = compare_losses(calm.rows, killed.rows), compare_losses(calm.rows, resized.rows)
    other_weights = weights_differ(calm.directory / "export", killed.directory / "export")
    print(show(sample_rows(samples)))
    print(show([{"run": "killed", **asdict(same)}, {"run": "resized", **asdict(near)}]))
    print("weights of the killed run:", "others" if other_weights else "bit-equal")
    holds = (
        all(found.as_planned for found in samples.values())
        and not same.steps_that_differ
        and not other_weights
        and near.largest_difference < LIMIT
        and set(samples["resized"].steps_by_workers) == {1, 2, 3}
    )
    return {
        "samples": {name: asdict(found) for name, found in samples.items()}, "killed": asdict(same), "weights_bit_equal": not other_weights,
        "resized": asdict(near), "holds": holds,
    }  # fmt: skip


if __name__ == "__main__":
    main()
