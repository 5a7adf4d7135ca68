"""A micro-batch: raw rows made into the arrays that a worker trains on.

Every micro-batch shows at least one image. Where the vision tower is sharded, a rank that skipped it would meet the
others in different collectives and all would wait for good; a batch of text gets an image of one token behind the end
of its shortest conversation, where nothing attends to it and nothing is learnt from it.
"""

import json
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Example:
    """One sample, ready to be laid into a batch."""

    id: str
    tokens: Rendered
    sizes: list[Size]
    pixels: list[NDArray[np.uint8]]


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

    def encode(self, rows: pa.Table) -> NDArray[np.uint8]:
        """One flat buffer (`stream.flat`) with the arrays of a micro-batch.

        tokens, targets int32 [N, L]; positions int32 [3, N, L]; lengths int32 [N]; patches uint8 [P, 768]; grid int32
        [images, 3] in patches; facts: JSON bytes with `ids` of the samples and `skipped`, pairs of id and reason.
        A sample that cannot be read or is too long is skipped; a batch may come out empty.
        """
        examples: list[Example] = []
        skipped: list[tuple[str, str]] = []
        for row in _raw_rows(rows):
            try:
                examples.append(self._example(*row))
            except DataError as error:
                skipped.append((row[0], str(error)))
        return self.lay_out(examples, {"ids": [example.id for example in examples], "skipped": skipped})

    def _example(self, name: str, messages: str, images: list[tuple[NDArray[np.uint8], Size]]) -> Example:
        stored = [size for _, size in images]
        data = self._data
        sizes = [target_size(*size, data.image_side_px, data.min_pixels, data.max_pixels) for size in stored]
        tokens = self.chat.conversation(moved_turns(json.loads(messages), stored, sizes, self._frame), sizes)
        if len(tokens.ids) > data.max_length_tokens:
            raise DataError(f"{len(tokens.ids)} tokens are more than data.max_length_tokens={data.max_length_tokens}")
        return Example(
            name,
            tokens,
            sizes,
            [load_pixels(raw.data, size) for (raw, _), size in zip(images, sizes, strict=True)],
        )

    def lay_out(self, examples: list[Example], facts: dict[str, Any]) -> NDArray[np.uint8]:
        """The buffer of these examples, padded on the right; see `encode`."""
        dummy = not any(example.sizes for example in examples)
        if dummy:
            examples = self._with_dummy_image(examples)
        note = np.frombuffer(json.dumps(facts).encode(), np.uint8)
        sizes = [size for example in examples for size in example.sizes]
        num_patches = sum(width * height for width, height in sizes) // PATCH_PX**2
        shape = (len(examples), max(len(example.tokens.ids) for example in examples))
        buffer, out = allocate(
            {
                "tokens": ("<i4", shape),
                "targets": ("<i4", shape),
                "positions": ("<i4", (3, *shape)),
                "lengths": ("<i4", (len(examples),)),
                "grid": ("<i4", (len(sizes), 3)),
                "facts": ("|u1", note.shape),
                "patches": ("|u1", (num_patches, PATCH_VALUES)),
            }
        )
        out["tokens"][:], out["targets"][:], out["positions"][:] = self.chat.padding, IGNORED, 0
        out["facts"][:] = note
        out["grid"][:] = [(1, height // PATCH_PX, width // PATCH_PX) for width, height in sizes]
        at = 0
        for row, example in enumerate(examples):
            length = len(example.tokens.ids)
            out["lengths"][row] = length
            out["tokens"][row, :length] = example.tokens.ids
            out["targets"][row, :length] = example.tokens.targets
            out["positions"][:, row, :length] = rope_positions(example.tokens.ids, self.chat.image, example.sizes)
            for pixels in example.pixels:
                count = pixels.shape[0] * pixels.shape[1] // PATCH_PX**2
                patchify(pixels, out["patches"][at : at + count])
                at += count
        return buffer

    def _with_dummy_image(self, examples: list[Example]) -> list[Example]:
        ids = np.array([self.chat.vision_start, self.chat.image, self.chat.vision_end], np.int32)
        pixels = np.full((*_DUMMY_SIZE, 3), _GREY, np.uint8)
        if not examples:
            return [Example("", Rendered(ids, np.full(3, IGNORED, np.int32)), [_DUMMY_SIZE], [pixels])]
        shortest = min(range(len(examples)), key=lambda row: len(examples[row].tokens.ids))
        found = examples[shortest]
        tokens = Rendered(
            np.concatenate([found.tokens.ids, ids]),
            np.concatenate([found.tokens.targets, np.full(3, IGNORED, np.int32)]),
        )
        changed = Example(found.id, tokens, [_DUMMY_SIZE], [pixels])
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
    return arrays(encoder.lay_out([example], {"ids": [example.id], "skipped": []}))


def _raw_rows(rows: pa.Table) -> list[tuple[str, str, list[tuple[NDArray[np.uint8], Size]]]]:
    """(id, messages, [(encoded image, (width, height))]) of each row; the image bytes are not copied."""
    images = rows.column("images").combine_chunks()
    fields = images.values
    sizes = zip(fields.field("width_px").to_pylist(), fields.field("height_px").to_pylist(), strict=True)
    encoded = list(zip(binary_values(fields.field("bytes")), sizes, strict=True))
    bounds = images.offsets.to_pylist()
    return [
        (name, messages, encoded[bounds[row] : bounds[row + 1]])
        for row, (name, messages) in enumerate(
            zip(rows.column("id").to_pylist(), rows.column("messages").to_pylist(), strict=True)
        )
    ]
