"""Every job answers --help and --dry-run at once, from a fresh interpreter, without heavy imports."""

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
RECIPE_JOBS = ("build_corpus", "stage1_sft", "stage2_sft", "stage3_sft", "stage4_dapo", "pipeline", "report")
HEAVY = ("torch", "transformers", "ray", "verl", "vllm", "pyarrow", "numpy", "scipy")
PROBE = f"""
import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print("HEAVY", sorted(name for name in {HEAVY!r} if name in sys.modules))
"""


def run_job(name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", PROBE, str(REPOSITORY / "jobs" / f"{name}.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=60)


@pytest.mark.parametrize("option", ["--help", "--dry-run"])
@pytest.mark.parametrize("job", RECIPE_JOBS)
def test_answers_without_heavy_imports(job: str, option: str) -> None:
    answer = run_job(job, option)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines()[-1] == "HEAVY []"
    assert ("usage: python jobs/" if option == "--help" else "# the plan") in answer.stdout


@pytest.mark.parametrize("arguments", [("--help",), ("night", "lambda_fp=0.25", "--step", "3-7", "--dry-run")])
def test_a_replay_answers_without_heavy_imports(arguments: tuple[str, ...]) -> None:
    answer = run_job("replay_rewards", *arguments)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.splitlines()[-1] == "HEAVY []"
    assert ("usage: python jobs/" if arguments == ("--help",) else "# the plan") in answer.stdout


def test_the_papers_stage_four_says_what_it_takes_and_what_is_missing() -> None:
    plan = run_job("stage4_dapo", "--dry-run").stdout
    rows = {line.split("  ")[1].strip(): line for line in plan.splitlines() if line.startswith("  ")}
    assert "8.767 B parameters" in rows["model"]
    assert " 512 " in rows["completions of a step"] and " 64 " in rows["prompts of a step"]
    # 241,969 prompts twice over in steps of 64 prompts.
    assert " 7,561 " in rows["steps"]
    assert "64 × MI210" in rows["GPUs"]
    assert "what this machine lacks" in plan and "the corpus" in plan


def test_a_typo_ends_in_one_line() -> None:
    answer = run_job("stage4_dapo", "algorithm.epoch=3", "--dry-run")
    assert answer.returncode == 2
    assert (
        answer.stderr.strip()
        .splitlines()[0]
        .startswith("error: unknown setting 'algorithm.epoch': did you mean 'epochs'?")
    )
    assert "Traceback" not in answer.stderr


def test_an_image_larger_than_the_prompt_is_refused_with_the_size_that_fits() -> None:
    answer = run_job("stage4_dapo", "prompts.max_pixels=4000000", "--dry-run")
    assert answer.returncode == 2
    assert "lower max_pixels to 2,097,152 or less" in answer.stdout


@pytest.mark.parametrize(("job", "argument"), [("describe_corpus", "CORPUS"), ("who_saw", "SAMPLE_ID")])
def test_jobs_without_a_recipe_say_how_they_are_called(job: str, argument: str) -> None:
    answer = run_job(job, "--help")
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith(f"usage: python jobs/{job}.py {argument}")
    assert answer.stdout.splitlines()[-1] == "HEAVY []"
    assert run_job(job).returncode == 2


def test_a_folder_that_is_no_corpus_ends_in_one_line(tmp_path: Path) -> None:
    answer = run_job("describe_corpus", str(tmp_path))
    assert answer.returncode == 2
    assert answer.stderr.startswith(f"error: No corpus at {tmp_path}: there is no manifest.json")
    assert "Traceback" not in answer.stderr


def test_a_run_that_fits_nowhere_as_stated_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    asked = (f"run.root={tmp_path}", "cluster.num_workers=1", "batch.per_worker=1", "batch.accumulation=64")
    answer = run_job("stage1_sft", *asked)
    assert answer.returncode == 2
    assert "the nearest setting that fits: cluster.num_workers=4 batch.accumulation=16" in answer.stderr
    assert answer.stdout.splitlines()[-1] == "HEAVY []" and not any(tmp_path.iterdir())
    dry = run_job("stage1_sft", *asked, "--dry-run")
    assert dry.returncode == 2 and "# why this cannot run as stated" in dry.stdout
