"""A micro-batch: raw rows made into the arrays that a worker trains on.

Every micro-batch shows at least one image. Where the vision tower is sharded, a rank that skipped it would meet the
others in different collectives and all would wait for good; a batch of text gets an image of one token behind the end
of its shortest conversation, where nothing attends to it and nothing is learnt from it.

A padded batch has a row for each sample. A packed one has a single row with the samples end to end, and a fourth row of
positions, the count from each sample's start, by which attention tells them apart.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from medmo_ray.config.base import CoordinateFrame
from medmo_ray.config.sft import DataSettings
from medmo_ray.corpus.sample import IMAGE_PLACEHOLDER
from medmo_ray.errors import DataError
from medmo_ray.stream.flat import Arrays, allocate, arrays, binary_values
from medmo_ray.stream.images import CELL_PX, PATCH_PX, PATCH_VALUES, load_pixels, patchify, target_size
from medmo_ray.stream.render import IGNORED, ChatTokens, Rendered, Size, moved_turns, rope_positions

_DUMMY_SIZE: Size = (CELL_PX, CELL_PX)
_GREY = 127
_TEXTS = ("id", "dataset", "task", "messages")


@dataclass(frozen=True)
class Example:
    """One sample, ready to be laid into a batch."""

    id: str
    tokens: Rendered
    sizes: list[Size]
    pixels: list[NDArray[np.uint8]]
    dataset: str = ""
    task: str = ""


class BatchEncoder:
    """Makes micro-batches out of raw rows.

    Args:
        model: directory with the tokenizer.
        frame: frame of the boxes that the model writes.
        data: image sizes and the length limit.
    """

    def __init__(self, model: Path, frame: CoordinateFrame, data: DataSettings) -> None:
        self.chat = ChatTokens(model)
        self._frame = frame
        self._data = data

    def encode(self, rows: "pa.Table | Iterable[RawRow]") -> NDArray[np.uint8]:
        """One flat buffer (`stream.flat`) with the arrays of a micro-batch.

        tokens, targets int32 [N, L]; positions int32 [3, N, L]; lengths int32 [samples]; patches uint8 [P, 768]; grid int32
        [images, 3] in patches; facts: JSON bytes with `ids`, `datasets` and `tasks` of the samples and `skipped`, pairs of
        id and reason. Packed: N = 1, and positions [4, 1, L] begins with the row of counts. A sample that cannot be read
        or is too long is skipped; a batch may come out empty.
        """
        return self.lay_out(*self.examples(rows))

    def examples(self, rows: "pa.Table | Iterable[RawRow]") -> tuple[list[Example], list[tuple[str, str]]]:
        """The samples, their images decoded and their boxes moved; and (id, reason) of each that is skipped."""
        examples: list[Example] = []
        skipped: list[tuple[str, str]] = []
        for row in _raw_rows(rows) if isinstance(rows, pa.Table) else rows:
            try:
                examples.append(self._example(row))
            except DataError as error:
                skipped.append((row.id, str(error)))
        return examples, skipped

    def _example(self, row: "RawRow") -> Example:
        stored = [size for _, size in row.images]
        data = self._data
        sizes = [target_size(*size, data.image_side_px, data.min_pixels, data.max_pixels) for size in stored]
        tokens = self.chat.conversation(moved_turns(json.loads(row.messages), stored, sizes, self._frame), sizes)
        if len(tokens.ids) > data.max_length_tokens:
            raise DataError(f"{len(tokens.ids)} tokens are more than data.max_length_tokens={data.max_length_tokens}")
        pixels = [load_pixels(raw.data, size) for (raw, _), size in zip(row.images, sizes, strict=True)]
        return Example(row.id, tokens, sizes, pixels, row.dataset, row.task)

    def lay_out(self, examples: list[Example], skipped: list[tuple[str, str]]) -> NDArray[np.uint8]:
        """The buffer of these examples, packed or padded on the right; see `encode`."""
        note = np.frombuffer(json.dumps(_facts(examples, skipped)).encode(), np.uint8)
        packed = self._data.packing is not None
        if not any(example.sizes for example in examples):
            examples = [*examples, self._dummy()] if packed else self._with_dummy_image(examples)
        sizes = [size for example in examples for size in example.sizes]
        num_patches = sum(width * height for width, height in sizes) // PATCH_PX**2
        lengths = [len(example.tokens.ids) for example in examples]
        shape = (1, sum(lengths)) if packed else (len(examples), max(lengths))
        buffer, out = allocate(
            {
                "tokens": ("<i4", shape),
                "targets": ("<i4", shape),
                "positions": ("<i4", (4 if packed else 3, *shape)),
                "lengths": ("<i4", (len(examples),)),
                "grid": ("<i4", (len(sizes), 3)),
                "facts": ("|u1", note.shape),
                "patches": ("|u1", (num_patches, PATCH_VALUES)),
            }
        )
        out["tokens"][:], out["targets"][:], out["positions"][:] = self.chat.padding, IGNORED, 0
        out["facts"][:], out["lengths"][:] = note, lengths
        out["grid"][:] = [(1, height // PATCH_PX, width // PATCH_PX) for width, height in sizes]
        at, start = 0, 0
        for row, (example, length) in enumerate(zip(examples, lengths, strict=True)):
            place = (0, slice(start, start + length)) if packed else (row, slice(0, length))
            start += length
            out["tokens"][place], out["targets"][place] = example.tokens.ids, example.tokens.targets
            out["positions"][-3:, *place] = rope_positions(example.tokens.ids, self.chat.image, example.sizes)
            if packed:
                out["positions"][0, *place] = np.arange(length)
            for pixels in example.pixels:
                count = pixels.shape[0] * pixels.shape[1] // PATCH_PX**2
                patchify(pixels, out["patches"][at : at + count])
                at += count
        return buffer

    def _dummy(self) -> Example:
        ids = np.array([self.chat.vision_start, self.chat.image, self.chat.vision_end], np.int32)
        pixels = np.full((*_DUMMY_SIZE, 3), _GREY, np.uint8)
        return Example("", Rendered(ids, np.full(3, IGNORED, np.int32)), [_DUMMY_SIZE], [pixels])

    def _with_dummy_image(self, examples: list[Example]) -> list[Example]:
        dummy = self._dummy()
        if not examples:
            return [dummy]
        shortest = min(range(len(examples)), key=lambda row: len(examples[row].tokens.ids))
        found = examples[shortest].tokens
        tokens = Rendered(
            np.concatenate([found.ids, dummy.tokens.ids]), np.concatenate([found.targets, dummy.tokens.targets])
        )
        changed = replace(examples[shortest], tokens=tokens, sizes=dummy.sizes, pixels=dummy.pixels)
        return [*examples[:shortest], changed, *examples[shortest + 1 :]]


def probe_arrays(model: Path) -> Arrays:
    """The arrays of a small batch that needs no corpus: a picture, a question and an answer; the same on every call."""
    encoder = BatchEncoder(model, "pixel", DataSettings())
    size: Size = (4 * CELL_PX, 3 * CELL_PX)
    pixels = np.random.RandomState(0).randint(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    turns = [
        {"role": "user", "content": f"{IMAGE_PLACEHOLDER}Where is the cell?"},
        {"role": "assistant", "content": "cell <box>[[12, 34, 56, 78]]</box>"},
    ]
    example = Example("probe", encoder.chat.conversation(turns, [size]), [size], [pixels])
    return arrays(encoder.lay_out([example], []))


def _facts(examples: list[Example], skipped: list[tuple[str, str]]) -> dict[str, Any]:
    return {
        "ids": [example.id for example in examples],
        "datasets": [example.dataset for example in examples],
        "tasks": [example.task for example in examples],
        "skipped": skipped,
    }


@dataclass(frozen=True)
class RawRow:
    """A row as it was read.

    Attributes:
        images: encoded bytes, not copied, and (width, height) as stored.
    """

    id: str
    dataset: str
    task: str
    messages: str
    images: list[tuple[NDArray[np.uint8], Size]]


def _raw_rows(rows: pa.Table) -> Iterator[RawRow]:
    for batch in rows.to_batches():
        images = batch.column("images")
        fields = images.values
        sizes = zip(fields.field("width_px").to_pylist(), fields.field("height_px").to_pylist(), strict=True)
        encoded = list(zip(binary_values(fields.field("bytes")), sizes, strict=True))
        names, datasets, tasks, messages = (batch.column(name).to_pylist() for name in _TEXTS)
        bounds = images.offsets.to_pylist()
        for row, name in enumerate(names):
            shown = encoded[bounds[row] : bounds[row + 1]]
            yield RawRow(name, datasets[row], tasks[row], messages[row], shown)
