"""Workers of a supervised stage that die, hang or are asked to end: nothing is lost, nothing is done twice, and who it was is named."""

import contextlib
import json
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import torch
from local_ray import local_ray
from small_run import recipe, write_corpus, write_model

from medmo_ray.config.model import ModelSettings
from medmo_ray.corpus.read import read_samples
from medmo_ray.errors import TrainingError
from medmo_ray.model.load import load_model
from medmo_ray.sft.train import run_sft
from medmo_ray.telemetry import read_metrics

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "corpus")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    return write_model(tmp_path_factory.mktemp("model"), corpus)


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    with local_ray(num_cpus=6):
        yield


class Sniper(threading.Thread):
    """Sends a signal to a worker's process once its rank has begun a step; one worker process after another.

    Args:
        stage: directory of the stage.
        rank: whose process.
        shots: (step, signal) of each process that the rank gets in turn.
    """

    def __init__(self, stage: Path, rank: int, *shots: tuple[int, signal.Signals]) -> None:
        super().__init__(daemon=True)
        self._note = stage / "heartbeats" / f"rank-{rank:05d}.json"
        self._shots = list(shots)
        self.hit: list[int] = []

    def run(self) -> None:
        while self._shots:
            time.sleep(0.005)
            try:
                note = json.loads(self._note.read_text())
            except (OSError, json.JSONDecodeError):
                continue
            step, number = self._shots[0]
            if note["step"] >= step and note["pid"] not in self.hit and psutil.pid_exists(note["pid"]):
                os.kill(note["pid"], number)
                self.hit.append(note["pid"])
                self._shots.pop(0)


def consumed(stage: Path) -> Counter[str]:
    return Counter(
        name
        for file in (stage / "consumed").iterdir()
        for line in file.read_text().splitlines()
        for name in json.loads(line)["ids"]
    )


def weights(directory: Path) -> dict[str, torch.Tensor]:
    return load_model(directory, ModelSettings(dtype="float32")).state_dict()


SETTINGS = {"checkpoint": {"every_steps": 3}, "epochs": 3}


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory, cluster: None, corpus: Path, model: Path) -> Path:
    """A stage that nothing happened to."""
    directory = tmp_path_factory.mktemp("calm")
    run_sft(recipe(**SETTINGS), directory, model=model, corpus=corpus)
    return directory


def losses(stage: Path) -> list[tuple[int, float]]:
    return [(row["step"], row["loss"]) for row in read_metrics(stage / "metrics.jsonl")]


def test_killed_workers_cost_time_and_nothing_else(tmp_path: Path, corpus: Path, model: Path, calm: Path) -> None:
    # Killed once, Ray Train starts both ranks again; killed twice, the run gives up, as max_failures says.
    sniper = Sniper(tmp_path, 1, (4, signal.SIGKILL), (8, signal.SIGKILL))
    sniper.start()
    with pytest.raises(TrainingError, match="max_failures=1"):
        run_sft(recipe(**SETTINGS, max_failures=1), tmp_path, model=model, corpus=corpus)
    assert len(set(sniper.hit)) == 2

    # The same stage goes on where it was, here with one worker that accumulates what two did.
    alone = recipe(**SETTINGS, batch={"per_worker": 3, "accumulation": 4}, cluster={"num_workers": 1})
    run_sft(alone, tmp_path, model=model, corpus=corpus)

    for run in (calm, tmp_path):
        assert consumed(run) == {sample.id: 3 for sample in read_samples(corpus, "train")}
    before, shot = (read_metrics(run / "metrics.jsonl") for run in (calm, tmp_path))
    assert [row["step"] for row in shot] == [row["step"] for row in before]
    assert [row["samples"] for row in shot] == [row["samples"] for row in before]
    # With as many ranks as before a restart is exact; with another number, sums are taken in another order. The checkpoint
    # of step 6 may still have been on its way when the second shot fell; that of step 3 was not.
    assert losses(tmp_path)[:3] == losses(calm)[:3]
    assert [row["loss"] for row in shot] == pytest.approx([row["loss"] for row in before], rel=1e-3)
    shot_weights = weights(tmp_path / "export")
    for name, value in weights(calm / "export").items():
        torch.testing.assert_close(value, shot_weights[name], rtol=0.01, atol=2e-3)


def test_a_rank_that_hangs_is_named_and_the_run_goes_on_where_it_was(
    tmp_path: Path, corpus: Path, model: Path, calm: Path
) -> None:
    sniper = Sniper(tmp_path, 1, (5, signal.SIGSTOP))
    sniper.start()
    started = time.monotonic()
    with pytest.raises(TrainingError, match=r"rank 1 on .* silent for .* at step"):
        run_sft(recipe(**SETTINGS, stall_timeout_s=8, max_failures=0), tmp_path, model=model, corpus=corpus)
    assert time.monotonic() - started < 180
    for pid in sniper.hit:
        if psutil.pid_exists(pid):
            os.kill(pid, signal.SIGKILL)
    run_sft(recipe(**SETTINGS), tmp_path, model=model, corpus=corpus)
    assert losses(tmp_path) == losses(calm)


def test_sigterm_to_a_worker_or_the_driver_ends_the_run_where_it_goes_on(
    tmp_path: Path, corpus: Path, model: Path, calm: Path
) -> None:
    sniper = Sniper(tmp_path, 1, (4, signal.SIGTERM))
    # The driver is asked while the workers of the second run load the model: they do no further step.
    for asker in (sniper, threading.Thread(target=ask_driver, args=(tmp_path, sniper.hit), daemon=True)):
        asker.start()
        with pytest.raises(TrainingError, match=r"was asked to end .* Run the same command again") as stopped:
            run_sft(recipe(**SETTINGS, max_failures=0), tmp_path, model=model, corpus=corpus)
        done = len(losses(tmp_path))
        assert 4 <= done < 14 and f"The state after step {done} of 14" in str(stopped.value)
        assert (tmp_path / f"checkpoints/step-{done:08d}/state.json").is_file()
    run_sft(recipe(**SETTINGS), tmp_path, model=model, corpus=corpus)
    assert losses(tmp_path) == losses(calm)
    assert consumed(tmp_path) == consumed(calm)
    assert not (tmp_path / "stop").exists()


def ask_driver(stage: Path, earlier: list[int]) -> None:
    """SIGTERM to this process, the driver, once rank 1 is another process than before."""
    note = stage / "heartbeats/rank-00001.json"
    while True:
        time.sleep(0.02)
        with contextlib.suppress(json.JSONDecodeError):
            if json.loads(note.read_text())["pid"] not in earlier:
                os.kill(os.getpid(), signal.SIGTERM)
                return
