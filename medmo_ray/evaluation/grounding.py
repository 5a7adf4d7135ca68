"""Boxes on held-out images: what a model finds, against what is there."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import ray
import torch
from tqdm import tqdm
from transformers import Qwen3VLForConditionalGeneration

from medmo_ray.config.base import CoordinateFrame
from medmo_ray.config.model import ModelSettings
from medmo_ray.config.sft import HeldOutSettings
from medmo_ray.corpus.manifest import Manifest
from medmo_ray.corpus.read import read_samples
from medmo_ray.corpus.sample import IMAGE_PLACEHOLDER, Sample
from medmo_ray.errors import DataError
from medmo_ray.model.load import load_model
from medmo_ray.model.processor import Colours, local_directory, read_colours
from medmo_ray.run import write_text
from medmo_ray.stream.images import PATCH_PX, load_pixels, patchify, pixel_values, target_size
from medmo_ray.stream.render import ChatTokens, Size, box_mapper, moved_turns
from rewards.batch import box_batch
from rewards.bbox import batch_rewards, box_scores, mean_iou
from rewards.boxes import LabelledBox, parse_boxes
from rewards.frames import from_frame

TASKS = ("detection", "grounding")
"""Tasks whose answers are boxes."""


class ImageSettings(Protocol):
    """How images are sized; `DataSettings` and `PromptSettings` are such."""

    @property
    def image_side_px(self) -> int | None: ...
    @property
    def min_pixels(self) -> int: ...
    @property
    def max_pixels(self) -> int: ...


@dataclass(frozen=True)
class Question:
    """A held-out sample as the model is asked about it.

    Attributes:
        id: of the sample.
        prompt: text of the last user turn.
        ids: int32 [L], tokens of the prompt.
        sizes: (width, height) of each image as the model sees it; boxes are on the first.
        patches: uint8 [P, 768] of each image.
        truth: the true boxes in the corpus's frame.
    """

    id: str
    prompt: str
    ids: np.ndarray
    sizes: list[Size]
    patches: list[np.ndarray]
    truth: list[LabelledBox]


@dataclass(frozen=True)
class Answer:
    """A row of held_out.jsonl; boxes are in `frame`."""

    id: str
    prompt: str
    completion: str
    truth: list[dict[str, Any]]
    predicted: list[dict[str, Any]]
    iou: float
    width: int
    height: int
    frame: CoordinateFrame


def measure_boxes(
    model: Path,
    corpus: Path,
    settings: HeldOutSettings,
    images: ImageSettings,
    form: ModelSettings,
    rows: Path | None = None,
    *,
    use_gpu: bool = False,
) -> dict[str, float]:
    """Ask a model for the boxes of held-out images, greedily, and score its answers.

    Args:
        model: Hugging Face directory or name.
        corpus: directory with the manifest.
        settings: how many images, how long an answer.
        images: their size, as in training.
        form: numeric form and attention.
        rows: where to write held_out.jsonl; None writes nothing.
        use_gpu: work on a GPU of the cluster, in a Ray task; else in this process.

    Returns:
        Means over the images: `mean_iou`, `precision`, `recall`, `f1` at IoU 0.5, `mean_reward` (equation 6);
        `unreadable_share` of answers with a malformed box, or with none where there is one; `num_images`.

    Raises:
        DataError: the corpus has no held-out samples with boxes.
        ConfigError: the model cannot be loaded.
    """
    if use_gpu:
        remote = ray.remote(num_gpus=1)(_measure)
        return ray.get(remote.remote(model, corpus, settings, images, form, rows, "cuda"))
    return _measure(model, corpus, settings, images, form, rows, "cpu")


def _measure(
    model: Path, corpus: Path, settings: HeldOutSettings, images: ImageSettings, form: ModelSettings, rows: Path | None,
    device: str,
) -> dict[str, float]:  # fmt: skip
    source = local_directory(model)
    frame = Manifest.load(corpus).frame
    chat, colours = ChatTokens(source), read_colours(source)
    samples = list(read_samples(corpus, "held_out", TASKS, settings.num_images))
    if not samples:
        raise DataError(
            f"The corpus in {corpus} has no held-out samples of the tasks {', '.join(TASKS)}, so boxes cannot be measured: "
            "build it with one of them, or set held_out.num_images=0."
        )
    loaded = load_model(source, form).to(device)
    answers: list[Answer] = []
    with tqdm(total=len(samples), desc="held-out images", unit="image") as bar:
        for start in range(0, len(samples), settings.batch_size):
            questions = [
                _question(sample, chat, images, frame) for sample in samples[start : start + settings.batch_size]
            ]
            texts = _generate(loaded, chat, colours, questions, settings.max_new_tokens)
            answers += [_answer(question, text, frame) for question, text in zip(questions, texts, strict=True)]
            bar.update(len(questions))
    if rows is not None:
        write_text(rows, "".join(json.dumps(asdict(answer), ensure_ascii=False) + "\n" for answer in answers))
    return scores(answers)


def scores(answers: Sequence[Answer]) -> dict[str, float]:
    """Means over answers, as `measure_boxes` returns them."""
    # On pixels also where a frame counts thousandths: equation 1 measures distances.
    predicted = [_pixels(answer.predicted, answer) for answer in answers]
    truth = [_pixels(answer.truth, answer) for answer in answers]
    found = [box_scores(*pair) for pair in zip(predicted, truth, strict=True)]
    means = {name: float(np.mean([each[name] for each in found])) for name in ("mean_iou", "precision", "recall", "f1")}
    rewards = batch_rewards(box_batch(predicted, predicted=True), box_batch(truth))
    unreadable = [
        bool(answer.truth and not answer.predicted) or bool(parse_boxes(answer.completion).problems)
        for answer in answers
    ]
    return {
        **means,
        "mean_reward": float(rewards.mean()),
        "unreadable_share": float(np.mean(unreadable)),
        "num_images": len(answers),
    }


def _question(sample: Sample, chat: ChatTokens, images: ImageSettings, frame: CoordinateFrame) -> Question:
    stored = [(image.width_px, image.height_px) for image in sample.images]
    sizes = [target_size(*size, images.image_side_px, images.min_pixels, images.max_pixels) for size in stored]
    turns = moved_turns(sample.turns[:-1], stored, sizes, frame)
    mapped = box_mapper(stored[0], sizes[0], frame)
    return Question(
        id=sample.id,
        prompt=turns[-1]["content"].replace(IMAGE_PLACEHOLDER, "").strip(),
        ids=chat.prompt(turns, sizes),
        sizes=sizes,
        patches=[patchify(load_pixels(image.bytes, size)) for image, size in zip(sample.images, sizes, strict=True)],
        truth=[LabelledBox(box.label, mapped(box.box)) for box in sample.boxes],
    )


@torch.inference_mode()
def _generate(
    model: Qwen3VLForConditionalGeneration,
    chat: ChatTokens,
    colours: Colours,
    questions: Sequence[Question],
    limit: int,
) -> list[str]:
    """Greedy answers to a batch; prompts are padded on the left, so that all answers begin at one place."""
    longest = max(len(question.ids) for question in questions)
    tokens = np.full((len(questions), longest), chat.padding, np.int64)
    for row, question in enumerate(questions):
        tokens[row, longest - len(question.ids) :] = question.ids
    lengths = np.array([[len(question.ids)] for question in questions])
    sizes = [size for question in questions for size in question.sizes]
    patches = torch.from_numpy(np.concatenate([patch for question in questions for patch in question.patches]))
    inputs = {
        "input_ids": torch.from_numpy(tokens),
        "attention_mask": torch.from_numpy((np.arange(longest) >= longest - lengths).astype(np.int64)),
        "mm_token_type_ids": torch.from_numpy((tokens == chat.image).astype(np.int64)),
        "image_grid_thw": torch.tensor([[1, high // PATCH_PX, wide // PATCH_PX] for wide, high in sizes]),
    }
    moved = {name: value.to(model.device) for name, value in inputs.items()}
    values = pixel_values(patches.to(model.device), colours.mean, colours.std)
    out = model.generate(
        **moved,
        pixel_values=values,
        max_new_tokens=limit,
        do_sample=False,
        temperature=None,
        top_p=None,
        top_k=None,
        eos_token_id=[chat.end, chat.padding],
        pad_token_id=chat.padding,
    )
    return [chat.text(row) for row in out[:, longest:].tolist()]


def _answer(question: Question, completion: str, frame: CoordinateFrame) -> Answer:
    width, height = question.sizes[0]
    predicted = parse_boxes(completion).boxes
    row = Answer(
        id=question.id,
        prompt=question.prompt,
        completion=completion,
        truth=_plain(question.truth),
        predicted=_plain(predicted),
        iou=0.0,
        width=width,
        height=height,
        frame=frame,
    )
    return replace(row, iou=mean_iou(_pixels(row.predicted, row), _pixels(row.truth, row)))


def _plain(boxes: Sequence[LabelledBox]) -> list[dict[str, Any]]:
    return [{"label": box.label, "box": list(box.box)} for box in boxes]


def _pixels(boxes: Sequence[dict[str, Any]], answer: Answer) -> np.ndarray:
    corners = np.array([box["box"] for box in boxes], np.float64).reshape(-1, 4)
    return from_frame(corners, answer.frame, answer.width, answer.height)
