"""Workers of a supervised stage that die or hang: nothing is lost, nothing is done twice, and the guilty rank is named."""

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


def test_killed_workers_cost_time_and_nothing_else(tmp_path: Path, corpus: Path, model: Path) -> None:
    settings = recipe(checkpoint={"every_steps": 3}, epochs=3, max_failures=1)
    run_sft(settings, tmp_path / "calm", model=model, corpus=corpus)

    # Killed once, Ray Train starts both ranks again; killed twice, the run gives up, as max_failures says.
    sniper = Sniper(tmp_path / "shot", 1, (4, signal.SIGKILL), (8, signal.SIGKILL))
    sniper.start()
    with pytest.raises(TrainingError, match="max_failures=1"):
        run_sft(settings, tmp_path / "shot", model=model, corpus=corpus)
    assert len(set(sniper.hit)) == 2

    # The same stage goes on where it was, here with one worker that accumulates what two did.
    alone = recipe(
        checkpoint={"every_steps": 3}, epochs=3, batch={"per_worker": 3, "accumulation": 4}, cluster={"num_workers": 1}
    )
    run_sft(alone, tmp_path / "shot", model=model, corpus=corpus)

    for run in ("calm", "shot"):
        assert consumed(tmp_path / run) == {sample.id: 3 for sample in read_samples(corpus, "train")}
    calm, shot = (read_metrics(tmp_path / run / "metrics.jsonl") for run in ("calm", "shot"))
    assert [row["step"] for row in shot] == [row["step"] for row in calm]
    assert [row["samples"] for row in shot] == [row["samples"] for row in calm]
    # With as many ranks as before a restart is exact; with another number, sums are taken in another order. The checkpoint
    # of step 6 may still have been on its way when the second shot fell; that of step 3 was not.
    assert [row["loss"] for row in shot[:3]] == [row["loss"] for row in calm[:3]]
    assert [row["loss"] for row in shot] == pytest.approx([row["loss"] for row in calm], rel=1e-3)
    shot_weights = weights(tmp_path / "shot/export")
    for name, value in weights(tmp_path / "calm/export").items():
        torch.testing.assert_close(value, shot_weights[name], rtol=0.01, atol=2e-3)


def test_a_rank_that_hangs_is_named_and_not_waited_for(tmp_path: Path, corpus: Path, model: Path) -> None:
    settings = recipe(epochs=20, stall_timeout_s=8, max_failures=0)
    sniper = Sniper(tmp_path, 1, (2, signal.SIGSTOP))
    sniper.start()
    started = time.monotonic()
    with pytest.raises(TrainingError, match=r"rank 1 on .* silent for .* at step"):
        run_sft(settings, tmp_path, model=model, corpus=corpus)
    assert time.monotonic() - started < 180
    for pid in sniper.hit:
        if psutil.pid_exists(pid):
            os.kill(pid, signal.SIGKILL)
