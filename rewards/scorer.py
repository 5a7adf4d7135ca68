"""The scorer: requests in, one score each out, in one batch. A plain class; `rewards.pool` puts it behind Ray."""

import hashlib
import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from rewards.batch import read_batch
from rewards.records import DEFAULT_WEIGHTS, RewardSettings, Score, ScoreRequest, Truth
from rewards.terms import Completions, reward_terms

__all__ = ["DEFAULT_WEIGHTS", "RewardSettings", "Score", "ScoreRequest", "Scorer", "Truth"]

# The completions of a group, and later epochs, share their truth.
_read_truth = lru_cache(maxsize=16_384)(Truth.from_json)


class Scorer:
    """Scores completions under fixed settings.

    A completion that cannot be read is worth what its readable part is worth, with the reason in `Score.problems`. A truth
    that cannot be read, or a term that is not a number, makes the score `failed`.

    Raises:
        ValueError: if the settings name a term that no file registers; the message lists those there are.
    """

    def __init__(self, settings: RewardSettings | None = None) -> None:
        self.settings = settings or RewardSettings()
        terms = reward_terms()
        unknown = sorted(set(self.settings.weights) - set(terms))
        if unknown:
            raise ValueError(f"unknown reward {', '.join(unknown)}: choose among {', '.join(terms)}")
        self._terms = {name: terms[name] for name in self.settings.weights}
        self.version = _digest(self.settings)

    def score(self, requests: Sequence[ScoreRequest]) -> list[Score]:
        """One score for each request, in their order."""
        scores: dict[int, Score] = {}
        truths: list[Truth] = []
        readable: list[int] = []
        for index, request in enumerate(requests):
            try:
                truths.append(_read_truth(request.truth_json))
            except ValueError as error:
                scores[index] = Score.failure(request.completion_id, str(error))
            else:
                readable.append(index)
        asked = [requests[index] for index in readable]
        scores.update(zip(readable, self._score_readable(asked, truths), strict=True))
        return [scores[index] for index in range(len(requests))]

    def _score_readable(self, requests: Sequence[ScoreRequest], truths: Sequence[Truth]) -> list[Score]:
        texts = [request.text for request in requests]
        num_tokens = np.array([request.num_tokens for request in requests], dtype=np.int64)
        predicted = read_batch(texts, self.settings.grammar)
        batch = Completions(texts, num_tokens, predicted, truths, self.settings)
        names = list(self._terms)
        values = np.array([term(batch) for term in self._terms.values()]).reshape(len(names), len(requests)).T
        weighted = values * np.array([self.settings.weights[name] for name in names])
        totals = weighted.sum(axis=1).tolist()
        pairs = _pairs(batch)
        scores = []
        for index, (request, terms, worth) in enumerate(zip(requests, values.tolist(), weighted.tolist(), strict=True)):
            if not math.isfinite(totals[index]):
                broken = [name for name, value in zip(names, terms, strict=True) if not math.isfinite(value)]
                scores.append(Score.failure(request.completion_id, f"not a number: {', '.join(broken)}"))
                continue
            num_truth, boxes = len(truths[index].boxes), predicted.boxes_of(index)
            problems = predicted.problems_of(index)
            if num_truth and not boxes:
                problems = (*problems, "no box in the completion")
            scores.append(
                Score(
                    request.completion_id,
                    totals[index],
                    dict(zip(names, terms, strict=True)),
                    dict(zip(names, worth, strict=True)),
                    problems,
                    pairs[index],
                    boxes,
                    len(boxes),
                    num_truth,
                )
            )
        return scores


def _pairs(batch: Completions) -> list[tuple[tuple[int, int, float], ...]]:
    """For each completion its matched pairs (predicted box, true box, IoU)."""
    matches = batch.matches
    found: list[list[tuple[int, int, float]]] = [[] for _ in range(len(batch))]
    predicted = (matches.predicted - batch.predicted.starts[matches.text]).tolist()
    truth = (matches.truth - batch.truth_boxes.starts[matches.text]).tolist()
    for text, *pair in zip(matches.text.tolist(), predicted, truth, matches.iou.tolist(), strict=True):
        found[text].append(tuple(pair))
    return [tuple(sorted(pairs)) for pairs in found]


# Files that say where scoring runs, or watch over what it found.
_NOT_SCORING = ("pool", "warm_up", "allocator", "monitors", "tally", "baselines", "alarms", "advice")


@lru_cache(maxsize=8)
def _code_digest() -> bytes:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if path.name.startswith(_NOT_SCORING):
            continue
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.digest()


def _digest(settings: RewardSettings) -> str:
    """Sixteen hexadecimal digits that change with the code of this package and with the settings."""
    return hashlib.sha256(_code_digest() + settings.to_json().encode()).hexdigest()[:16]
