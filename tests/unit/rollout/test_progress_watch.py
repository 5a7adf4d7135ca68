"""The driver's watch, by a clock of its own; and shared memory that a killed run leaves."""

import multiprocessing.shared_memory
import time
from pathlib import Path

import pytest

from medmo_ray.errors import TrainingError
from rollout.progress import Progress, Watch
from rollout.shared_memory import SHM, sweep_shared_memory


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_step_that_ended_is_shown_with_its_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    watch = Watch(tmp_path, 100, clock)
    Progress(1, 3, "rollouts").write(tmp_path)
    watch.look()
    clock.now = 30
    Progress(2, 3, "rollouts", {"reward/total/mean": 0.25}).write(tmp_path)
    watch.look()
    assert capsys.readouterr().out == "step 1/3  reward/total/mean 0.25  30.0 s\n"


def test_each_step_has_the_whole_limit(tmp_path: Path) -> None:
    clock = Clock()
    watch = Watch(tmp_path, 100, clock)
    for step in range(1, 5):
        clock.now += 90
        Progress(step, 5, "rollouts").write(tmp_path)
        watch.look()


def test_a_step_that_stalls_is_named_with_its_phase(tmp_path: Path) -> None:
    clock = Clock()
    watch = Watch(tmp_path, 100, clock)
    Progress(4, 9, "rollouts").write(tmp_path)
    watch.look()
    clock.now = 60
    Progress(4, 9, "weight transfer").write(tmp_path)
    watch.look()
    clock.now = 101
    with pytest.raises(
        TrainingError, match="step 4 of 9 has taken 101 s, of which 41 s in its phase 'weight transfer'"
    ):
        watch.look()


def test_a_start_that_hangs_ends_too(tmp_path: Path) -> None:
    clock = Clock()
    watch = Watch(tmp_path, 100, clock)
    clock.now = 100.5
    with pytest.raises(TrainingError, match="phase 'start'"):
        watch.look()


def test_only_abandoned_segments_of_this_run_are_removed(tmp_path: Path) -> None:
    since = time.time() - 1
    for name in ("verl_weights_ab", "psm_cd", "something_else"):
        (tmp_path / name).write_bytes(b"1")
    assert sorted(sweep_shared_memory(since, tmp_path)) == ["psm_cd", "verl_weights_ab"]
    assert [file.name for file in tmp_path.iterdir()] == ["something_else"]
    (tmp_path / "psm_old").write_bytes(b"1")
    assert sweep_shared_memory(time.time() + 60, tmp_path) == []


@pytest.mark.skipif(not SHM.is_dir(), reason="no POSIX shared memory on this system")
def test_a_segment_that_a_process_holds_is_left_alone() -> None:
    held = multiprocessing.shared_memory.SharedMemory(name=f"psm_test_{time.time_ns()}", create=True, size=64)
    try:
        assert held.name not in sweep_shared_memory(time.time() - 60)
        assert (SHM / held.name).exists()
    finally:
        held.close()
        held.unlink()
