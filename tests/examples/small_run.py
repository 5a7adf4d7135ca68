"""A small corpus and a tiny model on disk, for tests of streaming and training."""

import hashlib
import json
from pathlib import Path

from medmo_ray.config.base import CoordinateFrame
from medmo_ray.config.corpus import GeneratedImages
from medmo_ray.config.model import TinyModel
from medmo_ray.config.sft import SftRecipe
from medmo_ray.corpus.files import BuildFiles
from medmo_ray.corpus.generate import generate_image
from medmo_ray.corpus.manifest import Histogram, Manifest, content_digest
from medmo_ray.corpus.read import read_samples
from medmo_ray.corpus.sample import Sample, SampleImage
from medmo_ray.corpus.shards import WrittenPart, write_part
from medmo_ray.model.tiny import build_tiny_model
from rewards.boxes import format_boxes

PROMPT = "Locate every cell and bacterium. Answer with label <box>[[x1, y1, x2, y2], ...]</box>."
SMALL = TinyModel(
    vocab_size=512, hidden_size=64, num_layers=2, num_heads=2, vision_hidden_size=64, vision_depth=2, vision_num_heads=2
)


def conversation(*turns: tuple[str, str]) -> str:
    """The messages of a sample."""
    return json.dumps([{"role": role, "content": content} for role, content in turns])


def detection(index: int, split: str, side_px: int) -> Sample:
    """A drawn image with the question where everything is."""
    drawn = generate_image(index, 0, GeneratedImages(size_px=side_px, max_objects=2))
    raw, answer = drawn.png(), format_boxes(drawn.boxes)
    image = SampleImage(raw, f"{index}.png", side_px, side_px, "png", hashlib.sha256(raw).hexdigest(), 0)
    return Sample(
        id=f"small:{split}:image-{index}", dataset="small", split=split, task="detection",
        messages=conversation(("user", f"<image>{PROMPT}"), ("assistant", answer)),
        images=(image,), boxes=drawn.boxes, answer=answer, modality="microscopy", licence="CC0-1.0",
        access="generated", origin_file="drawn", origin_row=index,
    )  # fmt: skip


def question(index: int, split: str) -> Sample:
    """A question without an image."""
    answer = f"Sample {index} is {'even' if index % 2 == 0 else 'odd'}."
    return Sample(
        id=f"small:{split}:text-{index}", dataset="small", split=split, task="text_qa",
        messages=conversation(("user", f"Is {index} even or odd?"), ("assistant", answer)),
        images=(), boxes=(), answer=answer, modality=None, licence="CC0-1.0",
        access="generated", origin_file="counted", origin_row=index,
    )  # fmt: skip


def write_corpus(
    directory: Path, *, num_images: int = 24, num_texts: int = 24, num_held_out: int = 4, side_px: int = 64,
    row_group_rows: int = 8, frame: CoordinateFrame = "pixel",
) -> Path:  # fmt: skip
    """A corpus of detection samples and questions, with the project's own writer."""
    files = BuildFiles(directory)
    files.shards.mkdir(parents=True)
    files.building.mkdir()
    shards = []
    for split, start, count in (("train", 0, num_images), ("held_out", num_images, num_held_out)):
        samples = [detection(index, split, side_px) for index in range(start, start + count)]
        if split == "train":
            samples += [question(index, split) for index in range(num_texts)]
        write_part(samples, split, 0, files, row_group_rows)
        shards += [w.shard for w in WrittenPart.model_validate_json(files.part(split, 0).read_bytes()).shards]
    nothing = Histogram(edges=(0,), counts=(0,))
    Manifest(
        digest=content_digest(frame, tuple(shards)), frame=frame, shards=tuple(shards), composition=(), chars=nothing,
        pixels=nothing, num_records=0, num_used=0, quarantined={}, excluded={}, recipe={},
    ).save(directory)  # fmt: skip
    return directory


def write_model(directory: Path, corpus: Path, settings: TinyModel = SMALL) -> Path:
    """A random tiny Qwen3-VL whose tokenizer knows the corpus."""
    texts = [turn["content"] for sample in read_samples(corpus, "train") for turn in sample.turns]
    return build_tiny_model(directory, texts, settings, seed=0)


def recipe(**sections: object) -> SftRecipe:
    """A recipe for two workers on the CPU; sections replace or extend the one that stands here."""
    base: dict[str, object] = {
        "cluster": {"num_workers": 2, "use_gpu": False, "cpus_per_worker": 1, "hardware": "cpu"},
        "model": {"dtype": "float32"},
        "batch": {"per_worker": 3, "accumulation": 2},
        "data": {"window_row_groups": 2, "num_read_workers": 1},
        "optimizer": {"lr": 5e-3},
        "activation_checkpointing": False,
        "stall_timeout_s": 60,
    }
    for name, value in sections.items():
        found = base.get(name)
        base[name] = {**found, **value} if isinstance(found, dict) and isinstance(value, dict) else value
    return SftRecipe.model_validate(base)
