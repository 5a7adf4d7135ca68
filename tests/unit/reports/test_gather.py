"""A run directory in every state that a run can leave it in."""

import time
from pathlib import Path

import pytest
from example_run import begin_stage, write_corpus, write_run, write_steps

from medmo_ray.errors import DataError
from medmo_ray.reports.gather import RunFacts, gather
from medmo_ray.run import StageDirectory, write_json
from medmo_ray.telemetry import MetricsLog


def statuses(run: RunFacts) -> list[str]:
    return [stage.status for stage in run.stages]


def test_a_complete_run_leaves_nothing_to_say(tmp_path: Path) -> None:
    run = gather(write_run(tmp_path / "night", num_steps=10))
    assert statuses(run) == ["complete"] * 4
    assert run.notes == ()
    assert [len(stage.rows) for stage in run.stages] == [10] * 4
    assert run.manifest is not None and run.manifest.num_samples == 24


def test_an_empty_run_is_not_started(tmp_path: Path) -> None:
    run = gather(tmp_path)
    assert statuses(run) == ["not started"] * 4
    assert run.manifest is None
    assert run.notes == ("there is no corpus/manifest.json",)


def test_a_run_that_is_not_there_is_refused_with_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "morning").mkdir()
    with pytest.raises(DataError, match=r"there is no run in .*night: .* holds morning\. Set run\.name"):
        gather(tmp_path / "night")


def test_a_stage_runs_until_it_goes_silent(tmp_path: Path) -> None:
    stage = begin_stage(tmp_path, 1)
    write_steps(stage, 1, range(1, 4))
    assert statuses(gather(tmp_path))[0] == "running"
    silent = gather(tmp_path, now=time.time() + 601)  # the recipe's stall_timeout_s is 600
    assert statuses(silent)[0] == "stopped"
    assert "a live run speaks within 10 min" in silent.stages[0].detail


def test_a_stage_that_failed_says_how_and_the_next_attempt_forgets_it(tmp_path: Path) -> None:
    stage = begin_stage(tmp_path, 2)
    stage.fail(RuntimeError("loss is not finite"))
    run = gather(tmp_path)
    assert statuses(run)[1] == "failed"
    assert "RuntimeError: loss is not finite" in run.stages[1].detail
    begin_stage(tmp_path, 2)
    assert statuses(gather(tmp_path))[1] == "running"


def test_wall_time_is_from_start_to_finish(tmp_path: Path) -> None:
    stage = begin_stage(tmp_path, 1)
    write_json(stage.path / "run.json", {"identity": "x", "started": "2026-01-01T00:00:00Z"})
    write_json(stage.path / "COMPLETE", {"finished": "2026-01-01T01:30:00Z"})
    assert gather(tmp_path).stages[0].wall_s == 5400
    write_json(stage.path / "COMPLETE", {"finished": "long ago"})
    assert gather(tmp_path).stages[0].wall_s is None


def test_a_half_written_last_line_is_left_out(tmp_path: Path) -> None:
    stage = begin_stage(tmp_path, 1)
    write_steps(stage, 1, range(1, 4))
    with stage.metrics.open("a") as file:
        file.write('{"step": 4, "loss": 0.3')
    run = gather(tmp_path)
    assert [row["step"] for row in run.stages[0].rows] == [1, 2, 3]
    assert not any("metrics" in note for note in run.notes)


def test_rows_come_by_step_and_the_last_word_on_a_step_counts(tmp_path: Path) -> None:
    stage = begin_stage(tmp_path, 1)
    log = MetricsLog(stage.metrics)
    for step, loss in ((2, 5.0), (1, 4.0), (2, 3.0), (10**30, 1.0)):
        log.write(step, {"loss": loss})
    assert [(row["step"], row["loss"]) for row in gather(tmp_path).stages[0].rows] == [(1, 4.0), (2, 3.0)]


@pytest.mark.parametrize(
    ("name", "content", "note"),
    [
        ("run.json", b"{", "stage1/run.json is not valid JSON"),
        ("run.json", b"[1]", "stage1/run.json holds a list instead of an object"),
        ("run.json", b"[" * 100_000, "stage1/run.json is not valid JSON"),
        ("run.json", b"1" * 5000, "stage1/run.json is not valid JSON"),
        ("evaluation.json", b"\xff\xfe", "stage1/evaluation.json cannot be read"),
        ("recipe.yaml", b"a: [", "stage1/recipe.yaml is not valid YAML"),
        ("recipe.yaml", b"a: 2026-99-99", "stage1/recipe.yaml is not valid YAML"),
        ("metrics.jsonl", b'{"step": 1}\n\xff\xfe', "stage1/metrics.jsonl cannot be read"),
        ("metrics.jsonl", b"[" * 100_000, "stage1/metrics.jsonl cannot be read"),
        ("held_out.jsonl", b"\xff\n", "stage1/held_out.jsonl: 1 damaged rows"),
    ],
)
def test_a_damaged_file_becomes_a_note(tmp_path: Path, name: str, content: bytes, note: str) -> None:
    stage = begin_stage(tmp_path, 1)
    (stage.path / name).write_bytes(content)
    run = gather(tmp_path)
    assert any(found.startswith(note) for found in run.notes), run.notes
    assert statuses(run) == ["running", "not started", "not started", "not started"]


def test_missing_files_of_a_started_stage_are_named(tmp_path: Path) -> None:
    stage = StageDirectory(tmp_path / "stage3")
    stage.path.mkdir()
    MetricsLog(stage.metrics).write(1, {"loss": 1.0})
    assert set(gather(tmp_path).notes) >= {"there is no stage3/run.json", "there is no stage3/recipe.yaml"}


def test_a_file_that_cannot_be_opened_becomes_a_note(tmp_path: Path) -> None:
    stage = begin_stage(tmp_path, 1)
    (stage.path / "run.json").unlink()
    (stage.path / "run.json").mkdir()
    assert any("stage1/run.json cannot be read" in note for note in gather(tmp_path).notes)


def test_a_manifest_of_another_version_becomes_a_note(tmp_path: Path) -> None:
    write_corpus(tmp_path / "corpus", 4)
    file = tmp_path / "corpus" / "manifest.json"
    file.write_text(file.read_text().replace('"frame"', '"frames"'))
    run = gather(tmp_path)
    assert run.manifest is None
    assert any("corpus/manifest.json is of another version or damaged" in note for note in run.notes)


def test_a_corpus_elsewhere_is_found_through_the_recipe(tmp_path: Path) -> None:
    write_corpus(tmp_path / "shared", 4)
    stage = begin_stage(tmp_path / "night", 1)
    text = (stage.path / "recipe.yaml").read_text()
    (stage.path / "recipe.yaml").write_text(text.replace("  corpus: null", f"  corpus: {tmp_path / 'shared'}"))
    run = gather(tmp_path / "night")
    assert run.corpus == tmp_path / "shared" and run.manifest is not None
