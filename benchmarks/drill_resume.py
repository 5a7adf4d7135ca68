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
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from resume_stage import LOADING, PER_STEP, Nodes, Stage, environment, inputs, plan_of
from resume_verdict import LIMIT, MicroBatches, compare_losses, count_samples, sample_rows, show

RESULT = Path(__file__).parent / "results" / "resume.json"
IN_STEP, IN_WRITE, AT_START, STARTING_AGAIN = (
    "in a step", "while a checkpoint is written", "before the first step", "while it starts again after a worker's kill",
)  # fmt: skip


@dataclass(frozen=True)
class Kill:
    """What is killed, from which step on, and at which of the moments above."""

    what: str
    step: int
    moment: str


def kills(steps: int, each: int, rng: random.Random) -> list[Kill]:
    """At random steps: each kind so many times in a step, and each once at the moments that a random one would miss."""
    kinds = ["worker", "driver", "node"]
    moments = sorted(rng.sample(range(2, steps - steps // 20), len(kinds) * (each + 2) - 1))
    chosen = [(kind, IN_STEP) for kind in kinds * each]
    chosen += [(kind, IN_WRITE) for kind in kinds] + [(kind, STARTING_AGAIN) for kind in kinds[1:]]
    rng.shuffle(chosen)
    later = [Kill(kind, step, moment) for (kind, moment), step in zip(chosen, moments, strict=True)]
    return [Kill("worker", 0, AT_START), *later]


def killed(stage: Stage, nodes: Nodes, plan: list[Kill], rng: random.Random) -> list[dict[str, Any]]:
    """Run a stage and kill; a driver that was killed is started again."""
    stage.start(2)
    events: list[dict[str, Any]] = []
    for kill in plan:
        stage.wait_for_step(kill.step)
        if kill.moment == IN_STEP:
            time.sleep(rng.uniform(0, 0.2))
        elif kill.moment == IN_WRITE:
            stage.wait(lambda: stage.writes, pause_s=0.0005)
        else:
            if kill.moment == STARTING_AGAIN:
                ranks = stage.ranks()
                os.kill(ranks[0], signal.SIGKILL)
                stage.wait_for_end(ranks)
            stage.wait(lambda: len(stage.ranks(LOADING)) == 2)
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
    stage.wait_for_step(at + 1)
    seconds = time.monotonic() - started
    if restore is not None:
        restore()
    return {
        "killed": kill.what, "moment": kill.moment, "in_step": at + 1, "steps_redone": at - kept, "torn_checkpoint": torn,
        "seconds_until_gone": round(gone_s, 1), "seconds_lost": round(seconds, 1),
    }  # fmt: skip


def undisturbed(stage: Stage) -> None:
    """From the first step to the last in the same processes."""
    stage.start(2)
    stage.wait_for_step(1)
    ranks = stage.ranks()
    stage.finish()
    if stage.noted() != ranks:
        sys.exit(f"The run that nobody disturbed was started again:\n{stage.end_of_log}")


def resized(stage: Stage, steps: int) -> None:
    """2 workers for a third of the run, then 3, then 1; a driver ends by SIGKILL."""
    stage.start(2)
    for workers, since in ((3, steps // 3), (1, 2 * steps // 3)):
        stage.wait_for_step(since)
        stage.restart(workers)
    stage.finish()


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
            undisturbed(stages["undisturbed"])
            print(f"undisturbed: {time.monotonic() - started:.0f} s", flush=True)
            events = killed(stages["killed"], nodes, kills(steps, arguments.kills, rng), rng)
            resized(stages["resized"], steps)
        finally:
            for stage in stages.values():
                stage.close()
            nodes.close()
        result = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "steps": steps,
            "lr": arguments.lr,
            **judged(stages, events, plan_of(here, steps)),
        }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    sys.exit(0 if all(result["holds"].values()) else 1)


def judged(stages: dict[str, Stage], events: list[dict[str, Any]], due: MicroBatches) -> dict[str, Any]:
    """Print and hand back what came of the three runs."""
    samples = {name: count_samples(stage.directory / "consumed", due, PER_STEP) for name, stage in stages.items()}
    calm, killed, resized = stages.values()
    same, near = compare_losses(calm.rows, killed.rows), compare_losses(calm.rows, resized.rows)
    holds = {
        "every sample as planned": all(found.as_planned for found in samples.values()),
        "as many samples in the metrics": {sum(row["samples"] for row in stage.rows) for stage in stages.values()}
        == {sum(map(len, due))},
        "killed: metrics bit-equal": same.steps_that_differ == 0,
        "killed: weights bit-equal": not weights_differ(calm.directory / "export", killed.directory / "export"),
        "killed: a checkpoint was torn": any(e["torn_checkpoint"] for e in events if e["moment"] == IN_WRITE),
        "resized: 1, 2 and 3 workers": set(samples["resized"].steps_by_workers) == {1, 2, 3},
        f"resized: losses within {LIMIT:g}": near.largest_difference < LIMIT,
        "it learns": same.last < 0.9 * same.first,
    }
    print(show(events), show(sample_rows(samples)), sep="\n\n", end="\n\n")
    print(show([{"run": "killed", **asdict(same)}, {"run": "resized", **asdict(near)}]), end="\n\n")
    print(show([{"": name, "holds": held} for name, held in holds.items()]))
    return {
        "kills": events, "samples": {name: asdict(found) for name, found in samples.items()}, "killed": asdict(same),
        "resized": asdict(near), "holds": holds,
    }  # fmt: skip


if __name__ == "__main__":
    main()
