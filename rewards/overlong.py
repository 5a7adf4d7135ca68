"""Soft overlong punishment: a completion that nears the length limit is worth less, before it is cut.

With n tokens, the limit L and the buffer C,

    R_overlong = 0 for n <= L - C;  (L - C - n) / C for L - C < n <= L;  -1 for n > L

Source: DAPO (arXiv 2503.14476), equation 13; named by MedMO supplementary 2.4.
"""

import numpy as np
from numpy.typing import NDArray

from rewards.terms import Completions, reward


@reward("overlong")
def soft_overlong_punishment(batch: Completions) -> NDArray[np.float64]:
    """Float64 [N], in [-1, 0]."""
    limit, buffer = batch.settings.max_tokens, batch.settings.buffer_tokens
    return np.clip((limit - buffer - batch.num_tokens) / buffer, -1.0, 0.0)
