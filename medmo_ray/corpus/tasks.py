"""From an annotated image to questions with true answers, one task at a time."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from medmo_ray.config.base import CoordinateFrame
from medmo_ray.corpus.wording import (
    BOX_FORM,
    FRAME_WORDS,
    MAX_NAMED_LABELS,
    choose,
    inventory,
    listed,
    plural,
    singular,
    vocabulary_words,
)
from rewards.boxes import LabelledBox, format_boxes

CLEAR_MARGIN = 0.05  # of the width: an object nearer to the middle line is neither left nor right
CLEARLY_LARGER = 1.25  # ratio of areas from which one object counts as the largest

QuestionAnswer = tuple[str, str]


@dataclass(frozen=True)
class Seen:
    """What a question may be about.

    Attributes:
        key: Decides between wordings.
        modality: E.g. "microscopy".
        boxes: Objects in answer order (`checks.check_boxes`), at least one.
        width_px: Width of the image that the boxes lie on.
        vocabulary: Every label of the dataset, sorted.
        frame: Frame that a prompt for boxes states.
    """

    key: str
    modality: str
    boxes: tuple[LabelledBox, ...]
    width_px: int
    vocabulary: tuple[str, ...]
    frame: CoordinateFrame


def caption(seen: Seen) -> QuestionAnswer:
    """A description that follows from the boxes: what there is, and where the largest lies if one clearly is."""
    prompt = choose(
        (
            "Describe this image.",
            f"Write a caption for this {seen.modality} image.",
            "What does this image show?",
            "Give a short description of the image.",
        ),
        seen.key,
        "caption",
    )
    text = f"This {seen.modality} image shows {inventory(seen.boxes)}."
    largest = clearly_largest(seen.boxes)
    if largest and len(seen.boxes) > 1 and (half := half_of(largest, seen.width_px)):
        text += f" The largest of them ({singular(largest.label)}) lies in the {half} half."
    return prompt, text


def vqa(seen: Seen) -> QuestionAnswer:
    """One question with a short answer, chosen among those that the boxes decide."""
    return choose(list(_questions(seen)), seen.key, "vqa")


def _questions(seen: Seen) -> Iterator[QuestionAnswer]:
    counts = Counter(label for label, _ in seen.boxes)
    counted = choose(sorted(counts), seen.key, "counted")
    yield f"How many {plural(counted)} does this image show?", str(counts[counted])

    if len(seen.vocabulary) > 1:
        looked_for = choose(seen.vocabulary, seen.key, "looked for")
        yield f"Does this image show any {plural(looked_for)}?", "yes" if looked_for in counts else "no"
        if len(seen.vocabulary) <= MAX_NAMED_LABELS:
            words = listed([plural(label) for label in seen.vocabulary], "or")
            yield f"Which of these does the image show: {words}?", listed([plural(label) for label in sorted(counts)])

    of_one_label = [box for box in seen.boxes if box.label == counted]
    largest = clearly_largest(of_one_label)
    if largest and (half := half_of(largest, seen.width_px)):
        which = f"the largest {singular(counted)}" if len(of_one_label) > 1 else f"the {singular(counted)}"
        yield f"Does {which} lie in the left or in the right half of the image?", half

    (first, many), *others = counts.most_common(2)
    if others and others[0][1] < many:
        pair = " or ".join(plural(label) for label in sorted((first, others[0][0])))
        yield f"What does this image show more of, {pair}?", plural(first)


def detection(seen: Seen) -> QuestionAnswer:
    """Every object with its box, as MedMO writes them."""
    names = vocabulary_words(seen.vocabulary)
    prompt = choose(
        (
            f"Locate the {names} in this image.",
            f"Find all {names} and give a box for each of them.",
            f"Detect every one of the {names}.",
            f"Where are the {names} in the image?",
        ),
        seen.key,
        "detection",
    )
    return f"{prompt} {BOX_FORM} {FRAME_WORDS[seen.frame]}", format_boxes(seen.boxes)


def clearly_largest(boxes: list[LabelledBox] | tuple[LabelledBox, ...]) -> LabelledBox | None:
    """The box whose area is `CLEARLY_LARGER` times the next one's; None where sizes are close."""
    by_area = sorted(boxes, key=_area, reverse=True)
    return by_area[0] if len(by_area) == 1 or _area(by_area[0]) >= CLEARLY_LARGER * _area(by_area[1]) else None


def _area(labelled: LabelledBox) -> float:
    x1, y1, x2, y2 = labelled.box
    return (x2 - x1) * (y2 - y1)


def half_of(labelled: LabelledBox, width_px: int) -> str | None:
    """ "left" or "right" by the box's centre; None near the middle line."""
    x1, _, x2, _ = labelled.box
    offset = (x1 + x2) / 2 / width_px - 0.5
    if abs(offset) < CLEAR_MARGIN:
        return None
    return "left" if offset < 0 else "right"


IMAGE_TASKS: dict[str, Callable[[Seen], QuestionAnswer]] = {"caption": caption, "vqa": vqa, "detection": detection}
"""Tasks that boxes are enough for."""
