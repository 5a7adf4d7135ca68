"""Label accuracy: are the right things named?

With A the labels of the completion and B those of the truth, normalised (`rewards.labels`),

    R_label = 2 |A ∩ B| / (|A| + |B|)

which is exact-match accuracy, 0 or 1, where each side names one thing. For a question with true boxes the labels are those
of the boxes; without, those that the answer lists. A truth without labels (MedSG) asks for none: R_label = 1.

Source: MedMO supplementary 2.4 names "label accuracy" and gives no equation; F1 is its extension to several labels.
"""

import numpy as np
from numpy.typing import NDArray

from rewards.labels import label_set, normalise, set_f1
from rewards.terms import Completions, reward


@reward("label")
def label_accuracy(batch: Completions) -> NDArray[np.float64]:
    """Float64 [N], in [0, 1]."""
    values = np.ones(len(batch))
    for index, (text, truth) in enumerate(zip(batch.texts, batch.truths, strict=True)):
        if truth.boxes:
            wanted = frozenset(normalise(box.label) for box in truth.boxes) - {""}
            found = frozenset(map(normalise, batch.predicted.labels_of(index))) - {""}
        else:
            wanted = label_set(truth.answer)
            found = label_set(text) if wanted else frozenset()
        if wanted:
            values[index] = set_f1(found, wanted)
    return values
