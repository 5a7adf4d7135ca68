"""What an optimizer step is measured by: sums that add up over micro-batches and ranks, turned into means at its end."""

import json
import math
import resource
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.functional import log_softmax

from medmo_ray.sft.batch import DeviceBatch
from medmo_ray.stream.render import IGNORED
from medmo_ray.telemetry import read_metrics

_SUMS = ("loss", "correct", "entropy", "targets", "samples", "skipped", "tokens", "positions")


class StepSums:
    """Sums over a step's micro-batches on this rank; the clock of the step starts with it.

    Args:
        device: where the sums are kept, so that adding does not wait for the device.
    """

    def __init__(self, device: torch.device) -> None:
        self._sums = torch.zeros(len(_SUMS), dtype=torch.float64, device=device)
        self._started = time.monotonic()
        self._data_wait_s = 0.0

    def data_arrived(self) -> None:
        """All micro-batches of the step are on the device: what passed until now was waiting for data."""
        self._data_wait_s = time.monotonic() - self._started

    def add(self, batch: DeviceBatch, scores: Mapping[str, torch.Tensor]) -> None:
        """Add a micro-batch and what `answer_scores` found on it."""
        counts = (len(batch.ids), len(batch.skipped), batch.num_tokens, batch.num_positions)
        found = torch.stack([scores[name].detach().double() for name in _SUMS[:4]])
        self._sums += torch.cat([found, torch.tensor(counts, dtype=torch.float64, device=found.device)])

    def finish(self) -> dict[str, float]:
        """Means over the step's target tokens on all ranks, and its counts; collective."""
        dist.all_reduce(self._sums)
        sums = dict(zip(_SUMS, self._sums.tolist(), strict=True))
        targets, step_s = max(1.0, sums["targets"]), time.monotonic() - self._started
        means = {
            name: sums[key] / targets
            for name, key in (("loss", "loss"), ("accuracy", "correct"), ("entropy", "entropy"))
        }
        counts = {name: int(sums[name]) for name in ("samples", "skipped", "tokens", "targets")}
        return {
            **means,
            **counts,
            "padding_share": 1 - sums["tokens"] / max(1.0, sums["positions"]),
            "tokens_per_s": sums["tokens"] / step_s,
            "data_wait_s": self._data_wait_s,
            "step_s": step_s,
            "memory_gb": _memory_gb(self._sums.device),
        }


def answer_scores(logits: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
    """Cross entropy, hits and entropy over the target tokens, as sums.

    Args:
        logits: [N, K, V].
        targets: int64 [N, K]; `IGNORED` where nothing is learnt. Without any target the loss is 0 and its gradient too, so
            the rank still takes part in every collective.

    Returns:
        `loss` with its gradient; `correct`, `entropy` and `targets` without. Their means are what TRL logs as loss,
        `mean_token_accuracy` and `entropy`, but for its entropy also counting the prompt's tokens.
    """
    learnt = targets != IGNORED
    log_probabilities = log_softmax(logits[learnt].float(), dim=-1)
    wanted = targets[learnt]
    loss = -log_probabilities.gather(-1, wanted[:, None]).sum()
    with torch.no_grad():
        entropy = -(log_probabilities.exp() * log_probabilities).sum()
        correct = (log_probabilities.argmax(-1) == wanted).sum()
    return {"loss": loss, "correct": correct, "entropy": entropy, "targets": learnt.sum()}


def not_finite(metrics: Mapping[str, float]) -> list[str]:
    """Names of the values with which training cannot go on."""
    return [name for name in ("loss", "grad_norm") if not math.isfinite(metrics[name])]


class ConsumedLog:
    """The samples of each step, a file for each rank: what was trained on can be counted afterwards.

    Args:
        directory: holds the files.
        rank: whose file this is.
        world_size: number of ranks; of the files that more ranks left behind, each takes some to shorten.
        resume_step: rows of later steps are dropped, since those steps are done again.
    """

    def __init__(self, directory: Path, rank: int, world_size: int, resume_step: int) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._file = directory / f"rank-{rank:05d}.jsonl"
        for index, file in enumerate(sorted(directory.glob("rank-*.jsonl"))):
            if index % world_size == rank:
                kept = [row for row in read_metrics(file) if row["step"] <= resume_step]
                file.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")

    def write(self, step: int, numbers: Sequence[int | None], batches: Sequence[DeviceBatch]) -> None:
        """Note what a step consumed here: numbers of micro-batches, ids of samples, and what was skipped and why."""
        row = {
            "step": step,
            "micro_batches": [number for number in numbers if number is not None],
            "ids": [name for batch in batches for name in batch.ids],
            "skipped": [pair for batch in batches for pair in batch.skipped],
        }
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def _memory_gb(device: torch.device) -> float:
    """Most memory that this rank has held: of its GPU, or of its process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
