"""From a raw record to a checked one: read by its importer, images decoded, boxes put in order."""

import hashlib
import json
from dataclasses import dataclass

from medmo_ray.corpus.checks import CheckedImage, Unusable, check_boxes, check_image
from medmo_ray.corpus.registry import Annotated, Importer, RawRecord
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
        """Size of the images in a shard."""
        return sum(len(checked.image.bytes) for checked in self.images)

    @property
    def picture_digest(self) -> str:
        """SHA-256 of pixels and annotation: two records with the same one say the same of the same picture."""
        return _digest([c.pixels for c in self.images], self.boxes, self.annotated.conversation)

    @property
    def content_digest(self) -> str:
        """SHA-256 of all that enters a sample: another one at the next reading means that the raw data changed."""
        raw = self.annotated
        owners = (raw.split, raw.patient_id, raw.study_id, raw.body_system)
        return _digest([c.image.sha256 for c in self.images], self.boxes, raw.conversation, owners)


def check_record(source: Importer, record: RawRecord, max_boxes: int) -> Checked:
    """Read one raw record and check all of it.

    Args:
        source: The importer that listed the record.
        record: Where the record lies.
        max_boxes: An image with more boxes is left out.

    Raises:
        checks.Unusable: It cannot become a sample; says why.
    """
    try:
        annotated = source.read(record)
    except OSError as error:
        raise Unusable("file cannot be read", f"{error}") from error
    images = tuple(check_image(image.path, image.data) for image in annotated.images)
    boxes = annotated.boxes
    if images and (boxes or not annotated.conversation):
        first = images[0].image
        boxes = check_boxes(boxes, first.width_px, first.height_px, max_boxes)
    if any(not text.strip() for text in annotated.conversation):
        raise Unusable("empty text", "a question or an answer without words")
    return Checked(record, images, boxes, annotated)


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()
