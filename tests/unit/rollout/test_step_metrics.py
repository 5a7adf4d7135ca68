"""A step's row: names, what counts as a reward, what is said of vLLM's weights, and when that ends the run."""

import json
import math
from pathlib import Path

import pytest
from scored_rows import random_requests, scored_rows

from medmo_ray.errors import TrainingError
from medmo_ray.ledger import append_step
from medmo_ray.telemetry import MetricsLog, read_metrics
from rollout.metrics import reward_metrics, step_row, weight_metrics
from rollout.trainer import check_weights_moved, restore_last_row


def record(bbox: float, *, failed: bool = False, problems: tuple[str, ...] = ()) -> dict:
    terms = {} if failed else {"bbox": bbox, "overlong": 0.0}
    return {
        "group": "g",
        "terms": terms,
        "reward": math.nan if failed else bbox,
        "failed": failed,
        "problems": list(problems),
        "num_predicted": 1,
    }


def test_failed_completions_are_counted_and_are_in_no_mean() -> None:
    metrics = reward_metrics([record(1.0), record(0.5, problems=("cut",)), record(0.0, failed=True)])
    assert metrics["reward/bbox/mean"] == 0.75
    assert metrics["reward/bbox/std"] == 0.25
    assert metrics["reward/total/mean"] == 0.75
    assert metrics["reward/failed"] == 1
    assert metrics["reward/completions"] == 3
    assert metrics["reward/unreadable_share"] == 0.5


def test_a_step_without_any_score_has_no_mean() -> None:
    assert reward_metrics([record(0.0, failed=True)]) == {"reward/failed": 1.0, "reward/completions": 1.0}


def test_verls_numbers_get_the_projects_names() -> None:
    verl = {
        "training/rollout_probs_diff_max": 1e-5,
        "timing_s/gen": 2.0,
        "groups/evicted": 3,
        "weight_change": 0.5,
        "critic/score/mean": 0.4,
        "critic/score/max": math.nan,  # where a completion has no score
        "training/some_flag": True,
        "text": "no number",
    }
    row = step_row(verl, [record(1.0)])
    assert (row["probability_gap"], row["rollout_s"], row["groups/evicted"], row["weight_change"]) == (1e-5, 2, 3, 0.5)
    assert row["verl/critic/score/mean"] == 0.4
    assert "timing_s/gen" not in row
    assert "verl/critic/score/max" not in row
    assert not {key for key in row if "flag" in key or "text" in key}


def reports(file: Path, *rows: dict) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_weight_changes_of_all_workers_are_one_distance(tmp_path: Path) -> None:
    norms = {"held": 10.0, "received": 10.0}
    reports(tmp_path / "a.jsonl", {"transfer": 1, "change": math.nan, **norms}, {"transfer": 2, "change": 3.0, **norms})
    reports(tmp_path / "b.jsonl", {"transfer": 2, "change": 4.0, **norms})
    assert weight_metrics(tmp_path, 2) == {"weight_change": 5.0, "weights/held": 10.0, "weights/received": 10.0}
    assert math.isnan(weight_metrics(tmp_path, 1)["weight_change"])
    assert weight_metrics(tmp_path, 3) == {}


def test_an_update_that_does_not_reach_vllm_ends_the_run() -> None:
    moved = {"weight_change": 0.1, "lr": 1e-6, "grad_norm": 0.5}
    check_weights_moved(7, moved)
    check_weights_moved(7, moved | {"weight_change": 0.0, "lr": 0.0})  # the first step of a warm-up
    check_weights_moved(7, moved | {"weight_change": 0.0, "grad_norm": 0.0})  # nothing but flat groups
    with pytest.raises(TrainingError, match=r"step 7: the policy was updated .* weights did not change"):
        check_weights_moved(7, moved | {"weight_change": 0.0})


@pytest.mark.parametrize("name", ["loss", "grad_norm"])
def test_a_number_that_is_not_finite_ends_the_run(name: str) -> None:
    with pytest.raises(TrainingError, match=f"step 2: {name} is nan"):
        check_weights_moved(2, {name: math.nan})


def test_a_run_killed_between_checkpoint_and_row_gets_the_rewards_of_its_last_step(tmp_path: Path) -> None:
    rows = {step: scored_rows(random_requests(step)) for step in (1, 2)}
    for step, written in rows.items():
        append_step(tmp_path, step, written)
    log = MetricsLog(tmp_path / "metrics.jsonl")
    log.write(1, {"loss": 0.5})
    restore_last_row(tmp_path, log, 1)
    assert read_metrics(log.path) == [{"step": 1, "loss": 0.5}]
    restore_last_row(tmp_path, log, 2)
    _, restored = read_metrics(log.path)
    assert restored["step"] == 2
    assert restored["reward/completions"] == 24
    totals = [row["total"] for row in rows[2]]
    assert restored["reward/total/mean"] == pytest.approx(sum(totals) / len(totals))
    restore_last_row(tmp_path, log, 0)
    assert len(read_metrics(log.path)) == 2
