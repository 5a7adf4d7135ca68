"""A sample: one conversation with its images and boxes, and its row in a Parquet shard.

Boxes in a sample, in `boxes` and in the text of `messages` alike, are in pixels of the stored image. Whatever the model
is shown later (a resized image, thousandths) is rewritten from there.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, get_args

import pyarrow as pa

from medmo_ray.config.corpus import Task
from medmo_ray.errors import DataError
from rewards.boxes import LabelledBox

SCHEMA_VERSION = 1
SCHEMA_VERSION_KEY = b"medmo_ray.sample_schema"
IMAGE_PLACEHOLDER = "<image>"

TASKS: tuple[str, ...] = get_args(Task)
SPLITS = ("train", "held_out")

_TEXT = pa.string()
IMAGE_TYPE = pa.struct(
    [
        pa.field("bytes", pa.large_binary(), nullable=False),
        pa.field("path", _TEXT, nullable=False),
        pa.field("width_px", pa.int32(), nullable=False),
        pa.field("height_px", pa.int32(), nullable=False),
        pa.field("format", _TEXT, nullable=False),
        pa.field("sha256", _TEXT, nullable=False),
        pa.field("phash", pa.uint64(), nullable=False),
    ]
)
CORNERS = ("x1", "y1", "x2", "y2")
BOX_TYPE = pa.struct(
    [pa.field("label", _TEXT, nullable=False), *(pa.field(corner, pa.float64(), nullable=False) for corner in CORNERS)]
)
SAMPLE_SCHEMA = pa.schema(
    [
        pa.field("id", _TEXT, nullable=False),
        pa.field("dataset", _TEXT, nullable=False),
        pa.field("split", _TEXT, nullable=False),
        pa.field("task", _TEXT, nullable=False),
        pa.field("messages", _TEXT, nullable=False),
        pa.field("images", pa.list_(pa.field("element", IMAGE_TYPE, nullable=False)), nullable=False),
        pa.field("boxes", pa.list_(pa.field("element", BOX_TYPE, nullable=False)), nullable=False),
        pa.field("answer", _TEXT, nullable=False),
        pa.field("modality", _TEXT),
        pa.field("body_system", _TEXT),
        pa.field("patient_id", _TEXT),
        pa.field("study_id", _TEXT),
        pa.field("licence", _TEXT, nullable=False),
        pa.field("access", _TEXT, nullable=False),
        pa.field("origin_file", _TEXT, nullable=False),
        pa.field("origin_row", pa.int64(), nullable=False),
        pa.field("num_chars", pa.int32(), nullable=False),
    ],
    metadata={SCHEMA_VERSION_KEY: str(SCHEMA_VERSION).encode()},
)


@dataclass(frozen=True)
class SampleImage:
    """An encoded image (PNG or JPEG) as stored, with what was measured when it was decoded.

    Attributes:
        bytes: The file's bytes.
        path: Where it came from, relative to the raw data's folder.
        width_px: Width in pixels.
        height_px: Height in pixels.
        format: "png" or "jpeg".
        sha256: Of `bytes`, in hex.
        phash: 64-bit difference hash, to find images that look alike.
    """

    bytes: bytes = field(repr=False)
    path: str
    width_px: int
    height_px: int
    format: str
    sha256: str
    phash: int


@dataclass(frozen=True)
class Sample:
    """One conversation of the corpus, checked.

    Attributes:
        id: `dataset:split:native-id`, unique in a corpus.
        dataset: Name of the dataset.
        split: "train" or "held_out".
        task: One of `medmo_ray.config.corpus.Task`.
        messages: JSON list of `{"role", "content"}`; `<image>` in a user's content stands for the next of `images`.
        images: The images, in the order of their placeholders.
        boxes: The true boxes, in pixels of the first image as stored.
        answer: The reference answer: the text of the last assistant turn.
        modality: What kind of image, e.g. "microscopy".
        body_system: Where the dataset says so.
        patient_id: Where the dataset has one.
        study_id: Where the dataset has one.
        licence: Licence of the raw data.
        access: How the raw data is had: "open", "credentialed", "generated".
        origin_file: File of the raw record, relative to the raw data's folder.
        origin_row: Row in that file; 0 where a file is one record.

    Raises:
        DataError: A field contradicts another (see `problems`).
    """

    id: str
    dataset: str
    split: str
    task: str
    messages: str
    images: tuple[SampleImage, ...]
    boxes: tuple[LabelledBox, ...]
    answer: str
    modality: str | None
    licence: str
    access: str
    origin_file: str
    origin_row: int = 0
    body_system: str | None = None
    patient_id: str | None = None
    study_id: str | None = None

    def __post_init__(self) -> None:
        if problems := list(self.problems()):
            raise DataError(f"Sample {self.id!r} is not valid: {'; '.join(problems)}.")

    @cached_property
    def turns(self) -> list[dict[str, str]]:
        """The conversation: `messages` parsed."""
        return json.loads(self.messages)

    @property
    def num_chars(self) -> int:
        """Characters of text in the conversation, all turns together."""
        return sum(len(turn["content"]) for turn in self.turns)

    def problems(self) -> Iterator[str]:
        """What contradicts what, in words; nothing if the sample is sound."""
        if not self.id.startswith(f"{self.dataset}:{self.split}:") or self.id.endswith(":"):
            yield f"its id is not {self.dataset}:{self.split}:<native id>"
        if self.split not in SPLITS:
            yield f"its split is {self.split!r}, not one of {', '.join(SPLITS)}"
        if self.task not in TASKS:
            yield f"its task is {self.task!r}, not one of {', '.join(TASKS)}"
        try:
            roles = [turn["role"] for turn in self.turns]
            shown = sum(turn["content"].count(IMAGE_PLACEHOLDER) for turn in self.turns if turn["role"] == "user")
            last = self.turns[-1]["content"] if self.turns else ""
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            yield f"messages is not a JSON list of {{role, content}} ({error!r})"
            return
        spoken = roles[1:] if roles[:1] == ["system"] else roles
        if not spoken or len(spoken) % 2 or spoken != ["user", "assistant"] * (len(spoken) // 2):
            yield f"its turns are {roles}, not user and assistant in turn"
        if not last.strip() or self.answer != last:
            yield "its answer is empty or is not the last assistant turn"
        if shown != len(self.images):
            yield f"it shows {shown} {IMAGE_PLACEHOLDER} for {len(self.images)} images"
        for box in self.boxes:
            if not (all(math.isfinite(c) for c in box.box) and box.box[0] < box.box[2] and box.box[1] < box.box[3]):
                yield f"its box {box.box} is not x1 < x2, y1 < y2"

    def content_digest(self) -> str:
        """SHA-256 over every field; equal samples have equal digests on any machine and in any file format."""
        row = self.to_row()
        return row_digest(row, [hashlib.sha256(image["bytes"]).hexdigest() for image in row["images"]])

    def to_row(self) -> dict[str, Any]:
        """The sample as a row of `SAMPLE_SCHEMA`."""
        row = {f.name: getattr(self, f.name) for f in fields(self)}
        row["images"] = [{f.name: getattr(image, f.name) for f in fields(image)} for image in self.images]
        row["boxes"] = [{"label": b.label, **dict(zip(CORNERS, map(float, b.box), strict=True))} for b in self.boxes]
        row["num_chars"] = self.num_chars
        return row

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Sample":
        """The sample of a row of `SAMPLE_SCHEMA`, as `pyarrow.Table.to_pylist` gives it.

        Raises:
            DataError: The row contradicts itself.
        """
        values = {f.name: row[f.name] for f in fields(cls)}
        values["images"] = tuple(SampleImage(**image) for image in row["images"])
        values["boxes"] = tuple(LabelledBox(b["label"], (b["x1"], b["y1"], b["x2"], b["y2"])) for b in row["boxes"])
        return cls(**values)


def row_digest(row: dict[str, Any], hashes: Iterable[str]) -> str:
    """`Sample.content_digest` of a row whose images have these SHA-256."""
    images = [image | {"bytes": sha256} for image, sha256 in zip(row["images"], hashes, strict=True)]
    text = json.dumps(row | {"images": images}, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def to_table(samples: Iterable[Sample]) -> pa.Table:
    """Samples as an Arrow table of `SAMPLE_SCHEMA`."""
    return pa.Table.from_pylist([sample.to_row() for sample in samples], schema=SAMPLE_SCHEMA)


def from_table(table: pa.Table) -> list[Sample]:
    """The samples of an Arrow table of `SAMPLE_SCHEMA`.

    Raises:
        DataError: The table has another schema version, or a row contradicts itself.
    """
    check_schema(table.schema, "the table")
    return [Sample.from_row(row) for row in table.to_pylist()]


def check_schema(schema: pa.Schema, where: str) -> None:
    """Refuse rows that another version of the corpus format wrote.

    Raises:
        DataError: `schema` carries no version, or not `SCHEMA_VERSION`.
    """
    version = (schema.metadata or {}).get(SCHEMA_VERSION_KEY, b"none").decode()
    if version != str(SCHEMA_VERSION):
        raise DataError(
            f"{where} holds samples of schema version {version}; this medmo-ray reads version {SCHEMA_VERSION}. "
            "Build the corpus again with jobs/build_corpus.py."
        )
