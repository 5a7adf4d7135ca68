"""A step's row of metrics.jsonl: verl's numbers under the project's names, and what the reward pool said of the step."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

NAMES: Mapping[str, str] = {
    "actor/entropy": "entropy",
    "actor/pg_clipfrac": "clip_fraction",
    "actor/pg_clipfrac_lower": "clip_fraction_dual",
    "actor/pg_loss": "loss",
    "actor/ppo_kl": "policy_change",
    "actor/grad_norm": "grad_norm",
    "training/rollout_probs_diff_max": "probability_gap",
    "training/rollout_probs_diff_mean": "probability_gap_mean",
    "response_length/mean": "response_length/mean",
    "response_length/max": "response_length/max",
    "response_length/clip_ratio": "response_length/cut_share",
    "prompt_length/mean": "prompt_length/mean",
    "perf/throughput": "tokens_per_s_per_worker",
    "actor/perf/max_memory_allocated_gb": "memory_gb",
    "timing_s/step": "step_s",
    "timing_s/gen": "rollout_s",
    "timing_s/old_log_prob": "log_probs_s",
    "timing_s/update_actor": "update_s",
    "timing_s/update_weights": "sync_s",
    "timing_s/save_checkpoint": "checkpoint_s",
}
"""verl's name → ours. `probability_gap` is the largest difference between the probability that vLLM gave a sampled token
and the one that the trainer gives it; `policy_change` the mean log ratio of new and old policy."""


def step_row(verl: Mapping[str, Any], records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """One step.

    Args:
        verl: what verl's trainer computed.
        records: of every completion that ended in the step, whether it was trained on or not (`reward_manager.judged`).

    Returns:
        Our names, and what else of verl's is a finite number under `verl/…`: its means of scores are none where a completion
        could not be scored.
    """
    numbers = {key: float(value) for key, value in verl.items() if _is_number(value)}
    row = {ours: numbers.pop(theirs) for theirs, ours in NAMES.items() if theirs in numbers}
    own = {key: numbers.pop(key) for key in list(numbers) if key.startswith(("groups/", "weight"))}
    others = {f"verl/{key}": value for key, value in numbers.items() if math.isfinite(value)}
    return {**reward_metrics(records), **own, **row, **others}


def reward_metrics(records: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Mean and spread of each reward term over the completions that were scored.

    They are of all completions of the policy: dynamic sampling leaves out groups that are all wrong or all right, and a
    mean over the rest would show neither.
    """
    scored = [record for record in records if not record["failed"]]
    metrics = {"reward/failed": float(len(records) - len(scored)), "reward/completions": float(len(records))}
    if not scored:
        return metrics
    for term in scored[0]["terms"]:
        values = np.array([record["terms"][term] for record in scored])
        metrics |= {f"reward/{term}/mean": float(values.mean()), f"reward/{term}/std": float(values.std())}
    totals = np.array([record["reward"] for record in scored])
    metrics |= {"reward/total/mean": float(totals.mean()), "reward/total/std": float(totals.std())}
    metrics["reward/unreadable_share"] = sum(bool(record["problems"]) for record in scored) / len(scored)
    metrics["reward/boxes/mean"] = sum(record["num_predicted"] for record in scored) / len(scored)
    return metrics


def learning_rate(step: int, total_steps: int, optimizer: Any) -> float:
    """The learning rate that a step was made with; verl reports that of the next one.

    Args:
        step: from 1.
        total_steps: of the run.
        optimizer: verl's `optim` settings.
    """
    warmup, done = int(optimizer.lr_warmup_steps_ratio * total_steps), step - 1
    if done < warmup:
        return optimizer.lr * done / warmup
    if optimizer.lr_scheduler_type == "constant":
        return optimizer.lr
    share = (done - warmup) / max(1, total_steps - warmup)
    return optimizer.lr * max(0.0, 0.5 * (1 + math.cos(math.pi * share)))


def weight_metrics(directory: Path, transfer: int) -> dict[str, float]:
    """What vLLM's workers said of the weights that they hold after a transfer.

    Args:
        directory: that `vllm_worker` writes to.
        transfer: its number, from 1.

    Returns:
        `weight_change`, the L2 distance that the transfer moved a sample of vLLM's weights, over all workers, and the L2
        norms of the weights `weights/held` and `weights/received`; empty if no worker reported this transfer.
    """
    reports = [report for file in sorted(directory.glob("*.jsonl")) if (report := _report(file, transfer)) is not None]
    if not reports:
        return {}
    return {
        "weight_change": math.sqrt(sum(report["change"] ** 2 for report in reports)),
        "weights/held": math.sqrt(sum(report["held"] ** 2 for report in reports) / len(reports)),
        "weights/received": math.sqrt(sum(report["received"] ** 2 for report in reports) / len(reports)),
    }


def _report(file: Path, transfer: int) -> dict[str, float] | None:
    lines: Iterable[str] = file.read_text(encoding="utf-8").splitlines()
    found = [report for line in lines if (report := json.loads(line))["transfer"] == transfer]
    return found[-1] if found else None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)
