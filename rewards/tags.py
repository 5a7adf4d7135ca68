"""Tag count: are the boxes written as the grammar wants them?

With w well-formed groups (`<box>[[x1, y1, x2, y2], …]</box>` of which all is read) and b broken ones (a tag without its
partner, a group with something else in it),

    R_tags = w / (w + b), and 0 for w + b = 0

where the truth has boxes. Where it has none, R_tags = 1 for a completion without tags and 0 for one with.

Source: MedMO supplementary 2.4 names "tag count" and gives no equation; the ratio follows open-r1's `tag_count_reward`,
the share of expected tags that are there, without paying for more of them.
"""

import numpy as np
from numpy.typing import NDArray

from rewards.terms import Completions, reward


@reward("tags")
def tag_count(batch: Completions) -> NDArray[np.float64]:
    """Float64 [N], in [0, 1]."""
    whole, broken = batch.predicted.num_whole, batch.predicted.num_broken
    groups = whole + broken
    return np.where(batch.truth_boxes.counts > 0, whole / np.maximum(groups, 1), groups == 0)
