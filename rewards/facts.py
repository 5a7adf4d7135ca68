"""Factuality: does a report state the findings of the reference, and does it contradict any?

Both reports are read for the 14 CheXpert labels, each present, absent or not stated (`rewards.findings`). With

    a  labels that both state alike,           c  labels that they state opposite,
    u  present in the reference, not stated,   v  present in the completion, not stated in the reference,

    R_facts = a / (a + 2c + u + v)

A contradiction weighs twice: the finding is missed, and its opposite is claimed. An absent finding that only one side
mentions is neither right nor wrong. Where the reference states nothing, R_facts = 0.5; where it states something and the
completion nothing, 0.

Source: MedMO's abstract names "factuality checks" among the verifiable rewards and defines none; stage 4 does not list
them. The rule here is our own, in the manner of CheXpert-label agreement, and no part of the default weights.
"""

import numpy as np
from numpy.typing import NDArray

from rewards.findings import read_findings
from rewards.terms import Completions, reward

NEUTRAL = 0.5


def factuality(report: str, reference: str) -> float:
    """R_facts of one report, in [0, 1]."""
    wanted = read_findings(reference)
    if not wanted:
        return NEUTRAL
    stated = read_findings(report)
    alike = sum(stated.get(label) is present for label, present in wanted.items())
    opposite = sum(stated.get(label) is (not present) for label, present in wanted.items())
    missed = sum(present and label not in stated for label, present in wanted.items())
    invented = sum(present and label not in wanted for label, present in stated.items())
    weight = alike + 2 * opposite + missed + invented
    return alike / weight if weight else 0.0


@reward("facts")
def facts(batch: Completions) -> NDArray[np.float64]:
    """Float64 [N], in [0, 1]; the reference is `Truth.answer`."""
    pairs = zip(batch.texts, batch.truths, strict=True)
    return np.array([factuality(text, truth.answer) for text, truth in pairs])
