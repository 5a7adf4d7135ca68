"""Dynamic sampling as a plain class: which groups of completions a step trains on, and when it gives up asking for more.

DAPO (Yu et al. 2025, section 3.2) leaves out groups whose completions are all worth the same, since their advantages
are 0, and samples until the batch is full. That has no end where no group is worth anything, so here it has a bound.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from medmo_ray.errors import TrainingError


@dataclass
class GroupSelection:
    """The groups of one step, judged one by one as they end.

    A completion that could not be scored leaves its group, which is judged by the others. A group that is flat (these
    rewards spread by no more than `min_reward_std`) or failed (fewer than two of them, or a completion that did not come
    back) is replaced by a fresh prompt at once, one for one. After `max_refill_rounds` × `wanted` replacements the step takes
    flat groups, which change nothing, in the place of those it could not find. A failed group is never taken: its
    completions cannot be told apart.

    Attributes:
        wanted: groups of a step.
        dynamic: whether flat groups are replaced; failed ones always are.
        max_refill_rounds: bound of the replacements, in batches.
        min_reward_std: see above.
    """

    wanted: int
    dynamic: bool = True
    max_refill_rounds: int = 4
    min_reward_std: float = 1e-6
    kept: list[str] = field(default_factory=list)
    flat: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    num_refills: int = 0

    def judge(self, group: str, rewards: Sequence[float], complete: bool = True) -> None:
        """Sort a group that has ended.

        Args:
            group: its name.
            rewards: total reward of each completion; NaN is one that could not be scored.
            complete: whether every completion that was asked for came back.
        """
        scored = [reward for reward in rewards if math.isfinite(reward)]
        if not complete or len(scored) < 2:
            self.failed.append(group)
        elif self.dynamic and float(np.std(scored)) <= self.min_reward_std:
            self.flat.append(group)
        else:
            self.kept.append(group)

    def refills_due(self, num_running: int) -> int:
        """How many fresh prompts to ask for, given so many groups on their way."""
        missing = self.wanted - len(self.kept) - num_running
        allowed = self.max_refill_rounds * self.wanted - self.num_refills
        return max(0, min(missing, allowed))

    def refilled(self, number: int) -> None:
        """Count fresh prompts that were asked for."""
        self.num_refills += number

    def is_settled(self, num_running: int) -> bool:
        """Whether nothing more will come: the batch is full, or the bound is reached and the last groups have ended."""
        return num_running == 0 and self.refills_due(0) == 0

    def chosen(self) -> list[str]:
        """The groups to train on, once settled.

        Raises:
            TrainingError: too many groups failed to fill the batch.
        """
        groups = (self.kept + self.flat)[: self.wanted]
        if len(groups) < self.wanted:
            raise TrainingError(
                f"{len(self.failed)} of {len(self.failed) + len(self.kept) + len(self.flat)} prompt groups of this step "
                f"failed, and {self.num_refills} fresh prompts did not make up for them"
            )
        return groups

    def verdicts(self) -> dict[str, str]:
        """What was found of each group that ended: kept, flat or failed."""
        found = {"kept": self.kept, "flat": self.flat, "failed": self.failed}
        return {group: verdict for verdict, groups in found.items() for group in groups}

    def metrics(self) -> dict[str, float]:
        """What became of the step's groups."""
        return {
            "groups/evicted": float(len(self.flat) - min(len(self.flat), max(0, self.wanted - len(self.kept)))),
            "groups/flat": float(len(self.flat)),
            "groups/failed": float(len(self.failed)),
            "groups/refilled": float(self.num_refills),
        }
