"""From a raw record to a checked one: read by its importer, images decoded, boxes put in order."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from medmo_ray.corpus.checks import CheckedImage, ImageFacts, Unusable, check_boxes, check_image, in_answer_order
from medmo_ray.corpus.listing import is_unicode
from medmo_ray.corpus.registry import Annotated, Importer, RawRecord
from medmo_ray.corpus.sample import IMAGE_PLACEHOLDER
from rewards.boxes import LabelledBox


@dataclass(frozen=True)
class Checked:
    """A raw record that can become samples.

    Attributes:
        record: Where it lies.
        images: Decoded and in the form in which they are stored.
        boxes: In answer order, in pixels of the first image.
        annotated: What the importer read.
    """

    record: RawRecord
    images: tuple[CheckedImage, ...]
    boxes: tuple[LabelledBox, ...]
    annotated: Annotated

    @property
    def stored_bytes(self) -> int:
        """Size of images and text in a shard."""
        return sum(len(c.image.bytes) for c in self.images) + sum(map(len, self.annotated.conversation))

    @property
    def num_placeholders(self) -> int:
        """How many images the questions of the conversation place in their text."""
        return sum(text.count(IMAGE_PLACEHOLDER) for text in self.annotated.conversation[::2])

    @property
    def conversation_task(self) -> str:
        """What a conversation is for: as the dataset says, or by what it has."""
        if self.annotated.task is not None:
            return self.annotated.task
        if not self.images:
            return "text_qa"
        return "detection" if self.boxes else "vqa"

    @property
    def picture_digest(self) -> str:
        """SHA-256 of pixels and annotation: two records with the same one say the same of the same picture."""
        return _digest([c.pixels for c in self.images], self.boxes, self.annotated.conversation)

    @property
    def content_digest(self) -> str:
        """SHA-256 of all that enters a sample: another one at the next reading means that the raw data changed."""
        raw = self.annotated
        owners = (raw.split, raw.patient_id, raw.study_id, raw.group)
        kind = (raw.body_system, raw.task, raw.modality, raw.licence)
        return _digest([c.image.sha256 for c in self.images], self.boxes, raw.conversation, owners, kind)


def check_record(source: Importer, record: RawRecord, known: Sequence[ImageFacts] = ()) -> Checked:
    """Read one raw record and check all of it.

    Args:
        source: The importer that listed the record; its recipe says what is left out.
        record: Where the record lies.
        known: Facts of its images from an earlier check, which found its boxes sound too; whether they are still the same,
            `Checked.content_digest` tells.

    Raises:
        checks.Unusable: It cannot become a sample; says why.
    """
    try:
        annotated = source.read(record)
    except OSError as error:
        raise Unusable("file cannot be read", f"{error}") from error
    _check_unicode(annotated)
    facts = known if len(known) == len(annotated.images) else (None,) * len(annotated.images)
    images = tuple(
        check_image(image.path, image.data, fact) for image, fact in zip(annotated.images, facts, strict=True)
    )
    boxes = annotated.boxes
    if not images and not annotated.conversation:
        raise Unusable("nothing in it", "neither an image nor a text")
    if boxes or not annotated.conversation:
        first = images[0].image
        most = source.recipe.max_boxes_per_image
        boxes = in_answer_order(boxes) if known else check_boxes(boxes, first.width_px, first.height_px, most)
    checked = Checked(record, images, boxes, annotated)
    if annotated.conversation:
        _check_conversation(checked, source.tasks)
    return checked


def _check_unicode(raw: Annotated) -> None:
    """JSON can hold halves of characters (surrogates), which no table and no tokenizer takes."""
    labels = (label for label, _ in raw.boxes)
    owners = (raw.patient_id, raw.study_id, raw.group, raw.body_system, raw.modality, raw.licence)
    texts = (*raw.conversation, *labels, *(image.path for image in raw.images), *filter(None, owners))
    if not is_unicode("".join(texts)):
        broken = next(text for text in texts if not is_unicode(text))
        raise Unusable("text with half a character", ascii(broken)[:200])


def _check_conversation(checked: Checked, tasks: tuple[str, ...]) -> None:
    turns = checked.annotated.conversation
    if any(not text.replace(IMAGE_PLACEHOLDER, "").strip() for text in turns):
        raise Unusable("empty text", "a question or an answer without words")
    shown = checked.num_placeholders
    if shown not in (0, len(checked.images)):
        raise Unusable(
            "images and placeholders differ", f"{shown} {IMAGE_PLACEHOLDER} for {len(checked.images)} images"
        )
    if checked.conversation_task not in tasks:
        raise Unusable(
            f"task {checked.conversation_task} not wanted", f"corpus.tasks is {', '.join(tasks)}", excluded=True
        )


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()
