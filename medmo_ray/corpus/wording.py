"""Words of prompts and answers: how things are counted and named, and how boxes are asked for.

A choice between wordings is made by a hash of what it is for, so that a corpus is the same each time it is built.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import TypeVar

from medmo_ray.config.base import CoordinateFrame
from rewards.boxes import LabelledBox

Choice = TypeVar("Choice")

FRAME_WORDS: dict[CoordinateFrame, str] = {
    "pixel": "Coordinates are pixels of the image as shown, from its upper left corner.",
    "relative_1000": "Coordinates run from 0 to 1000 across the image's width and height, from its upper left corner.",
}
BOX_FORM = "Answer in the form: label <box>[[x1, y1, x2, y2], ...]</box>."

MAX_NAMED_LABELS = 8  # a prompt names the labels to look for up to so many

_IRREGULAR = {"bacterium": "bacteria", "nucleus": "nuclei", "mitochondrion": "mitochondria"}
_SINGULAR = {"platelets": "platelet", "cells": "cell", **{many: one for one, many in _IRREGULAR.items()}}


def choose(options: Sequence[Choice], *key: object) -> Choice:
    """One of the options, always the same for the same key."""
    return options[hash_number(*key) % len(options)]


def hash_number(*key: object) -> int:
    """A number below 2^64 that depends on the key alone, on any machine."""
    text = "\x1f".join(map(str, key))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def plural(label: str) -> str:
    """The plural of a label: bacterium, bacteria; RBC, RBCs. Labels that data sets write in the plural stay."""
    *before, last = label.split(" ")
    word = last.lower()
    if word in _SINGULAR:
        return label
    if word in _IRREGULAR:
        return " ".join([*before, _cased_like(last, _IRREGULAR[word])])
    if last.isupper():
        return f"{label}s"
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return f"{label}es"
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return f"{label[:-1]}ies"
    return f"{label}s"


def singular(label: str) -> str:
    """The singular of a label that a data set may write in the plural: Platelets, Platelet."""
    *before, last = label.split(" ")
    return " ".join([*before, _cased_like(last, _SINGULAR[last.lower()])]) if last.lower() in _SINGULAR else label


def _cased_like(model: str, word: str) -> str:
    return word.capitalize() if model[0].isupper() else word


def counted(label: str, number: int) -> str:
    """`1 bacterium`, `3 cells`."""
    return f"{number} {singular(label) if number == 1 else plural(label)}"


def listed(words: Sequence[str], conjunction: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {conjunction} {words[-1]}"


def inventory(boxes: Sequence[LabelledBox]) -> str:
    """What there is, by label: `2 bacteria and 1 cell`."""
    counts = Counter(label for label, _ in boxes)
    return listed([counted(label, counts[label]) for label in sorted(counts)])


def vocabulary_words(vocabulary: Sequence[str]) -> str:
    """What a prompt asks for: `bacteria and cells`, or `objects` where a dataset has many labels."""
    return listed([plural(label) for label in vocabulary]) if len(vocabulary) <= MAX_NAMED_LABELS else "objects"
