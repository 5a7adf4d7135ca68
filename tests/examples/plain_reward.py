"""The bounding-box reward written down plainly, one completion at a time: what the batched one has to agree with."""

import json
import re

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

GROUP = re.compile(r"<box>(.*?)</box>", re.DOTALL)


def plain_boxes(text: str) -> NDArray[np.float64]:
    """[P, 4] from a well-formed completion."""
    return np.array([box for group in GROUP.findall(text) for box in json.loads(group)], dtype=np.float64).reshape(
        -1, 4
    )


def plain_reward(
    predicted: NDArray[np.float64], truth: NDArray[np.float64], lambda_fn: float = 0.0, lambda_fp: float = 0.0
) -> float:
    """Equations 1 to 6 of MedMO supplementary 1.1, for boxes with an area."""
    num_p, num_g = len(predicted), len(truth)
    if num_g == 0:
        return 0.5
    if num_p == 0:
        return 0.0
    high, wide = truth[:, 3].max(), truth[:, 2].max()
    p, g = predicted[:, None, :], truth[None, :, :]
    l1 = np.abs(p - g).sum(axis=2) / (2 * np.sqrt(high**2 + wide**2))
    overlap = np.clip(np.minimum(p[..., 2:], g[..., 2:]) - np.maximum(p[..., :2], g[..., :2]), 0, None).prod(axis=2)
    union = (p[..., 2:] - p[..., :2]).prod(axis=2) + (g[..., 2:] - g[..., :2]).prod(axis=2) - overlap
    hull = (np.maximum(p[..., 2:], g[..., 2:]) - np.minimum(p[..., :2], g[..., :2])).prod(axis=2)
    giou = overlap / union - (hull - union) / hull
    i, j = linear_sum_assignment(5 * l1 + 2 * (1 - giou))
    score = (5 * (1 - np.clip(l1[i, j], 0, 1)) + 2 * (giou[i, j] + 1) / 2) / 7
    penalty = (lambda_fn * (num_g - len(i)) + lambda_fp * (num_p - len(i))) / max(1, num_g)
    return float(np.clip(score.sum() / num_g - penalty, 0, 1))
