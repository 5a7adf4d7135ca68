"""From a sample to what the model reads and learns: its boxes moved, its turns as tokens, its answers marked.

The text is Qwen's chat form, `<|im_start|>role\\n…<|im_end|>\\n`, written with the tokenizer alone, so that readers need
not load transformers; `check_template` compares it with the template of the model before a run. Control tokens that a
sample's own text spells out are read as plain text: data cannot end a turn or show an image.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from medmo_ray.config.base import CoordinateFrame
from medmo_ray.corpus.sample import IMAGE_PLACEHOLDER
from medmo_ray.errors import ConfigError, DataError
from medmo_ray.stream.images import CELL_PX, image_tokens
from rewards.boxes import map_boxes
from rewards.frames import extent
from rewards.grammars import Corners

IGNORED = -100
"""Target of a position that is not learnt from; what torch's cross entropy leaves out."""

Size = tuple[int, int]
Turn = dict[str, str]


def box_mapper(stored: Size, shown: Size, frame: CoordinateFrame) -> Callable[[Corners], Corners]:
    """Moves a box from pixels of the stored image to the numbers that the model writes.

    Args:
        stored: (width, height) of the stored image.
        shown: (width, height) as the model sees it.
        frame: what the numbers count: pixels of the shown image, or thousandths.

    Returns:
        A function from (x1, y1, x2, y2) to whole numbers inside the image; a box keeps an area.
    """
    limits = [int(side) for side in extent(frame, *shown)]

    def mapped(box: Corners) -> Corners:
        x1, x2 = _side(box[0], box[2], stored[0], limits[0])
        y1, y2 = _side(box[1], box[3], stored[1], limits[1])
        return x1, y1, x2, y2

    return mapped


def _side(low: float, high: float, stored: int, limit: int) -> tuple[int, int]:
    start, stop = (min(max(round(value * limit / stored), 0), limit) for value in (low, high))
    if start == stop:
        start, stop = (start, start + 1) if start < limit else (start - 1, start)
    return start, stop


def moved_turns(
    turns: Sequence[Turn], stored: Sequence[Size], shown: Sequence[Size], frame: CoordinateFrame
) -> list[Turn]:
    """The turns with every box rewritten for the image as the model sees it.

    Boxes of a sample are in pixels of its first image; a sample without images is left as it is.
    """
    if not stored:
        return list(turns)
    mapped = box_mapper(stored[0], shown[0], frame)
    return [{**turn, "content": map_boxes(turn["content"], mapped)} for turn in turns]


def chat_messages(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    """The turns as messages of a Hugging Face chat template: a content with images is a list of parts."""
    messages = []
    for turn in turns:
        pieces = turn["content"].split(IMAGE_PLACEHOLDER) if turn["role"] == "user" else [turn["content"]]
        parts: list[dict[str, str]] = []
        for place, piece in enumerate(pieces):
            parts += [{"type": "image"}] if place else []
            parts += [{"type": "text", "text": piece}] if piece else []
        messages.append({"role": turn["role"], "content": parts})
    return messages


@dataclass(frozen=True)
class Rendered:
    """Tokens of one conversation.

    Attributes:
        ids: int32 [L].
        targets: int32 [L], the token that position t has to predict, `IGNORED` where nothing is learnt.
    """

    ids: NDArray[np.int32]
    targets: NDArray[np.int32]


class ChatTokens:
    """Writes conversations as tokens of a Qwen3-VL model.

    Args:
        model: directory with tokenizer.json.

    Raises:
        ConfigError: the tokenizer is missing or lacks one of Qwen's control tokens.
    """

    def __init__(self, model: Path) -> None:
        file = Path(model) / "tokenizer.json"
        if not file.is_file():
            raise ConfigError(f"{model} has no tokenizer.json: save its processor with transformers first")
        self._tokenizer = Tokenizer.from_file(str(file))
        self._tokenizer.encode_special_tokens = True
        self.start, self.end, self.vision_start, self.vision_end, self.image, self.padding = (
            self._control(token, file)
            for token in (
                "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|endoftext|>",
            )
        )  # fmt: skip
        self._newline = self._encode("\n")

    def conversation(self, turns: Sequence[Turn], shown: Sequence[Size]) -> Rendered:
        """A whole conversation; every assistant turn is learnt, its `<|im_end|>` included.

        Args:
            turns: `{"role", "content"}`; `<image>` in a user's content stands for the next image.
            shown: (width, height) of each image as the model sees it.

        Raises:
            DataError: the turns show another number of images.
        """
        ids: list[int] = []
        learnt: list[bool] = []
        sizes = iter(shown)
        for turn in turns:
            head, body = self._turn(turn, sizes)
            head = [*self._newline, *head] if ids else head
            ids += head + body
            learnt += [False] * len(head) + [turn["role"] == "assistant"] * len(body)
        if next(sizes, None) is not None:
            raise DataError(f"The turns show fewer images than the {len(shown)} that the sample holds.")
        tokens = np.array(ids, np.int32)
        targets = np.full(len(ids), IGNORED, np.int32)
        answered = np.array(learnt[1:], bool)
        targets[:-1][answered] = tokens[1:][answered]
        return Rendered(tokens, targets)

    def prompt(self, turns: Sequence[Turn], shown: Sequence[Size]) -> NDArray[np.int32]:
        """The turns before an answer and the head of the answer's turn: what generation goes on from.

        Raises:
            DataError: the turns show another number of images, or end with the assistant.
        """
        if turns and turns[-1]["role"] == "assistant":
            raise DataError("A prompt ends with a user's turn: leave the answer out.")
        before = self.conversation(turns, shown).ids
        return np.array([*before, *self._newline, *self._head("assistant")], np.int32)

    def text(self, ids: Iterable[int]) -> str:
        """The text of an answer: up to its end token, control tokens left out."""
        kept = list(ids)
        for stop in (self.end, self.padding):
            kept = kept[: kept.index(stop)] if stop in kept else kept
        return self._tokenizer.decode(kept, skip_special_tokens=True)

    def _turn(self, turn: Turn, sizes: Iterator[Size]) -> tuple[list[int], list[int]]:
        """Tokens of a turn: its head, and the rest, which is what an assistant's turn teaches."""
        role, content = turn["role"], turn["content"]
        if role == "assistant":
            return self._head(role), [*self._encode(content), self.end]
        # The role's newline is encoded together with the text, as in the template: the two may share a token.
        first, *others = content.split(IMAGE_PLACEHOLDER) if role == "user" else [content]
        body = self._encode(f"{role}\n{first}")
        for text in others:
            size = next(sizes, None)
            if size is None:
                raise DataError(f"The turns show more images than the sample holds (in {content[:80]!r}).")
            body += [self.vision_start, *[self.image] * image_tokens(size), self.vision_end, *self._encode(text)]
        return [self.start], [*body, self.end]

    def _head(self, role: str) -> list[int]:
        return [self.start, *self._encode(f"{role}\n")]

    def _encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids if text else []

    def _control(self, token: str, file: Path) -> int:
        found = self._tokenizer.token_to_id(token)
        if found is None:
            raise ConfigError(f"{file} has no token {token}: it is not the tokenizer of a Qwen3-VL model")
        return found


def rope_positions(ids: NDArray[np.int32], image_token: int, shown: Sequence[Size]) -> NDArray[np.int32]:
    """Where each token stands for Qwen3-VL's rotary embedding, computed where the tokens are made.

    Text counts on by one; the tokens of an image share one time and count rows and columns; what follows goes on after
    the larger of the image's two sides.

    Args:
        ids: [L].
        image_token: id of `<|image_pad|>`.
        shown: (width, height) of each image, in the order of its tokens.

    Returns:
        int32 [3, L]: time, row and column; equal to `get_rope_index` of the model.
    """
    positions = np.empty((3, len(ids)), np.int32)
    at, now = 0, 0
    starts = np.flatnonzero((ids == image_token) & (np.concatenate(([-1], ids[:-1])) != image_token))
    for start, (width, height) in zip(starts.tolist(), shown, strict=True):
        rows, columns = height // CELL_PX, width // CELL_PX
        positions[:, at:start] = now + np.arange(start - at)
        now += start - at
        at = start + rows * columns
        positions[0, start:at] = now
        positions[1, start:at] = now + np.repeat(np.arange(rows), columns)
        positions[2, start:at] = now + np.tile(np.arange(columns), rows)
        now += max(rows, columns)
    positions[:, at:] = now + np.arange(len(ids) - at)
    return positions


def check_template(template: Callable[[list[dict[str, Any]]], str]) -> None:
    """Compare Qwen's chat form, as it is written here, with what a model's own template writes.

    Args:
        template: messages → text, without a generation prompt.

    Raises:
        ConfigError: they differ: the model was taught another form.
    """
    probe = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": f"{IMAGE_PLACEHOLDER}What is seen?"},
        {"role": "assistant", "content": "A cell."},
        {"role": "user", "content": "Sure?"},
        {"role": "assistant", "content": "Yes."},
    ]
    shown = "<|vision_start|><|image_pad|><|vision_end|>"
    ours = "".join(
        f"<|im_start|>{turn['role']}\n{turn['content'].replace(IMAGE_PLACEHOLDER, shown)}<|im_end|>\n" for turn in probe
    )
    theirs = template(chat_messages(probe))
    if ours != theirs:
        raise ConfigError(
            "The model's chat template writes turns in another form than Qwen3-VL's, which this trainer writes:\n"
            f"  template: {theirs!r}\n  trainer:  {ours!r}\nTrain a Qwen3-VL Instruct model, or give it that template."
        )
