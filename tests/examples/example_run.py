"""An example run directory, written with the real writers, with curves of the paper's shape."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from medmo_ray.config.base import ClusterSettings, RunSettings, Settings
from medmo_ray.config.corpus import GeneratedImages
from medmo_ray.config.dapo import DapoRecipe
from medmo_ray.config.model import ModelSettings, TinyModel
from medmo_ray.config.sft import SftRecipe
from medmo_ray.corpus.generate import generate_image
from medmo_ray.corpus.manifest import Composition, Histogram, Manifest, Shard, content_digest
from medmo_ray.corpus.sample import Sample, SampleImage, to_table
from medmo_ray.run import StageDirectory, write_json
from medmo_ray.telemetry import MetricsLog
from rewards.bbox import bbox_reward, box_scores
from rewards.boxes import LabelledBox, format_boxes

CPU = ClusterSettings(num_workers=2, use_gpu=False, cpus_per_worker=1, hardware="cpu")
MODEL_SIDE_PX = 128
"""Images are stored smaller than the model sees them, so that a report must scale boxes."""
PROMPT = "<image>\nFind every cell and bacterium and give their boxes."


@dataclass(frozen=True)
class Shape:
    """A curve that falls or rises from `first` to `last` within a few `steps`, with noise."""

    first: float
    last: float
    steps: float
    noise: float

    def at(self, step: int, rng: np.random.Generator) -> float:
        value = self.last + (self.first - self.last) * math.exp(-step / self.steps)
        return max(0.0, value + self.noise * float(rng.normal()))


SFT_SHAPES: dict[int, dict[str, Shape]] = {
    1: {"accuracy": Shape(0.60, 0.95, 8, 0.006), "loss": Shape(11, 0.28, 5, 0.03), "entropy": Shape(5.3, 0.1, 5, 0.01)},
    2: {"accuracy": Shape(0.86, 0.95, 20, 0.006), "loss": Shape(0.9, 0.3, 20, 0.02), "entropy": Shape(0.65, 0.27, 20, 0.01)},
    3: {"accuracy": Shape(0.62, 0.69, 40, 0.006), "loss": Shape(1.7, 1.4, 30, 0.03), "entropy": Shape(1.55, 1.38, 40, 0.02)},
}  # fmt: skip


def recipe_of(number: int, name: str) -> Settings:
    """A rehearsal's recipe of a stage."""
    run, model = RunSettings(name=name), ModelSettings(dtype="float32", tiny=TinyModel() if number == 1 else None)
    if number == 4:
        return DapoRecipe(run=run, cluster=CPU, model=model)
    return SftRecipe(stage=number, run=run, cluster=CPU, model=model)


def write_run(
    directory: Path, *, stages: Sequence[int] = (1, 2, 3, 4), num_steps: int = 300, num_images: int = 24
) -> Path:
    """A run whose given stages are complete.

    Args:
        directory: of the run.
        stages: in rising order.
        num_steps: of each stage.
        num_images: held-out images.
    """
    samples = write_corpus(directory / "corpus", num_images)
    measured = _measured(samples, 0)
    for number in stages:
        stage = begin_stage(directory, number)
        write_steps(stage, number, range(1, num_steps + 1))
        if number == stages[0]:
            write_rows(stage.path / "held_out_before.jsonl", measured[0])
        before, measured = measured, _measured(samples, number)
        write_rows(stage.path / "held_out.jsonl", measured[0])
        write_json(stage.evaluation, {"before": before[1], "after": measured[1]})
        stage.finish(trained_s=900.0)
    return directory


def begin_stage(directory: Path, number: int) -> StageDirectory:
    """A stage that has just been started."""
    stage = StageDirectory(directory / f"stage{number}")
    stage.prepare(
        recipe_of(number, directory.name), {"corpus": "c0ffee", "model": f"stage{number - 1}"}, overwrite=False
    )
    return stage


def write_steps(stage: StageDirectory, number: int, steps: Sequence[int]) -> None:
    """Metrics of some steps, from the writer that the trainers use."""
    rng = np.random.default_rng(number)
    log = MetricsLog(stage.metrics, resume_step=10**9)
    for step in steps:
        log.write(step, _dapo_step(step, len(steps), rng) if number == 4 else _sft_step(number, step, len(steps), rng))


def write_corpus(
    directory: Path, num_images: int, frame: str = "pixel", size_px: int = 96, noise: bool = False
) -> list[Sample]:
    """A corpus of generated images, all held out, two row groups; the manifest also counts training samples.

    Args:
        directory: of the corpus.
        num_images: held out.
        frame: of the boxes in prompts.
        size_px: of each image.
        noise: images of pure noise, the hardest to compress.
    """
    samples = [_sample(index, GeneratedImages(size_px=size_px), noise) for index in range(num_images)]
    file = directory / "shards" / "held_out-00000.parquet"
    file.parent.mkdir(parents=True)
    half = max(1, num_images // 2)
    pq.write_table(to_table(samples), file, row_group_size=half)
    groups = tuple(len(samples[start : start + half]) for start in range(0, num_images, half))
    digest = hashlib.sha256("".join(sample.content_digest() for sample in samples).encode()).hexdigest()
    shard = Shard(file="shards/held_out-00000.parquet", split="held_out", task="detection", rows=num_images, row_groups=groups,
                  bytes=file.stat().st_size, sha256=hashlib.sha256(file.read_bytes()).hexdigest(), content=digest)  # fmt: skip
    boxes = sum(len(sample.boxes) for sample in samples)
    Manifest(
        digest=content_digest(frame, (shard,)), frame=frame, shards=(shard,),
        composition=(
            _part("held_out", "detection", num_images, boxes), _part("train", "detection", 540, 1086),
            _part("train", "caption", 540, 0), _part("held_out", "caption", 60, 0), _part("train", "vqa", 540, 0),
            _part("train", "text_qa", 540, 0),
        ),
        chars=Histogram(edges=(0,), counts=(num_images,)), pixels=Histogram(edges=(0,), counts=(num_images,)),
        num_records=606, num_used=600, quarantined={"image cannot be decoded": 4, "box outside the image": 2}, excluded={}, recipe={},
    ).save(directory)  # fmt: skip
    return samples


def write_rows(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """held_out.jsonl."""
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def held_out_row(sample: Sample, predicted: Sequence[LabelledBox], completion: str | None = None) -> dict[str, Any]:
    """A row for predicted boxes in pixels of the image as the model sees it."""
    scale = MODEL_SIDE_PX / sample.images[0].width_px
    truth = [LabelledBox(label, tuple(scale * corner for corner in box)) for label, box in sample.boxes]
    return {
        "id": sample.id, "prompt": PROMPT, "completion": format_boxes(predicted) if completion is None else completion,
        "truth": [{"label": box.label, "box": list(box.box)} for box in truth],
        "predicted": [{"label": box.label, "box": list(box.box)} for box in predicted],
        "iou": box_scores(predicted, truth)["mean_iou"], "width": MODEL_SIDE_PX, "height": MODEL_SIDE_PX,
    }  # fmt: skip


def _measured(samples: Sequence[Sample], number: int) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Rows and totals of a model after a stage; later stages predict better boxes."""
    rng = np.random.default_rng(100 + number)
    spread, unreadable = {0: (60, 0.9), 1: (32, 0.3), 2: (18, 0.1), 3: (20, 0.1), 4: (6, 0.02)}[number]
    rows = []
    for sample in samples:
        if rng.random() < unreadable:
            rows.append(held_out_row(sample, [], "the the <box>[[ cell 12, cell cell 7 bacter"))
            continue
        scale = MODEL_SIDE_PX / sample.images[0].width_px
        boxes = [LabelledBox(label, _shaken(box, scale, spread, rng)) for label, box in sample.boxes]
        rows.append(held_out_row(sample, boxes))
    return rows, _totals(rows)


def _totals(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    sums: Counter[str] = Counter()
    for row in rows:
        predicted, truth = (
            [LabelledBox(b["label"], tuple(b["box"])) for b in row[key]] for key in ("predicted", "truth")
        )
        scores = box_scores(predicted, truth)
        sums.update({key: scores[key] for key in ("mean_iou", "precision", "recall", "f1")})
        sums["mean_reward"] += bbox_reward(predicted, truth)
        sums["unreadable_share"] += not predicted
    return {**{key: value / len(rows) for key, value in sums.items()}, "num_images": len(rows)}


def _shaken(box: Sequence[float], scale: float, spread: float, rng: np.random.Generator) -> tuple[float, ...]:
    x1, y1, x2, y2 = (round(scale * corner + float(rng.normal(0, spread))) for corner in box)
    return min(x1, x2), min(y1, y2), max(x1, x2) + 1, max(y1, y2) + 1


def _sample(index: int, settings: GeneratedImages, noise: bool) -> Sample:
    drawn = generate_image(index, 7, settings)
    if noise:
        pixels = np.random.default_rng(index).integers(0, 256, drawn.pixels.shape, dtype=np.uint8)
        drawn = replace(drawn, pixels=pixels)
    data = drawn.png()
    image = SampleImage(
        data, f"{index}.png", settings.size_px, settings.size_px, "png", hashlib.sha256(data).hexdigest(), 0
    )
    answer = format_boxes(drawn.boxes)
    turns = [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": answer}]
    return Sample(
        id=f"generated:held_out:{index:04d}", dataset="generated", split="held_out", task="detection",
        messages=json.dumps(turns), images=(image,), boxes=drawn.boxes, answer=answer, modality="microscopy",
        licence="CC0-1.0", access="generated", origin_file=f"{index}.png",
    )  # fmt: skip


def _part(split: str, task: str, rows: int, boxes: int) -> Composition:
    images = 0 if task == "text_qa" else rows
    return Composition(dataset="generated", split=split, task=task, modality="microscopy", licence="CC0-1.0", rows=rows,
                       images=images, boxes=boxes, chars=80 * rows)  # fmt: skip


def _sft_step(number: int, step: int, num_steps: int, rng: np.random.Generator) -> dict[str, float]:
    shapes = {key: shape.at(step, rng) for key, shape in SFT_SHAPES[number].items()}
    tokens = int(rng.integers(2500, 3200))
    lr = 1e-5 * min(1, 10 * step / num_steps) * (1 - step / (num_steps + 1))
    return {
        **shapes, "grad_norm": Shape(4, 0.8, 30, 0.1).at(step, rng), "lr": lr,
        "samples": 32, "tokens": tokens, "tokens_per_s": tokens / 2.6, "padding_share": 0.08 + 0.02 * float(rng.random()),
        "data_wait_s": 0.02 * float(rng.random()), "step_s": 2.6 + 0.2 * float(rng.normal()), "memory_gb": 3.1,
    }  # fmt: skip


def _dapo_step(step: int, num_steps: int, rng: np.random.Generator) -> dict[str, float]:
    bbox = Shape(0.02, 0.43, num_steps / 9, 0.035).at(step, rng)
    terms = {"bbox": bbox, "label": Shape(0.2, 0.8, 60, 0.03).at(step, rng), "tags": Shape(0.4, 0.98, 30, 0.02).at(step, rng),
             "overlong": -Shape(0.3, 0.01, 20, 0.005).at(step, rng)}  # fmt: skip
    terms["total"] = bbox + 0.2 * terms["label"] + 0.1 * terms["tags"] + terms["overlong"]
    phases = {"rollout_s": 8 + float(rng.random()), "log_probs_s": 1.4 + 0.1 * float(rng.random()),
              "update_s": 5 + float(rng.random()), "sync_s": 0.9 + 0.1 * float(rng.random())}  # fmt: skip
    evicted = float(rng.poisson(2))
    return {
        **{f"reward/{name}/mean": value for name, value in terms.items()},
        **{f"reward/{name}/std": 0.2 + 0.02 * float(rng.normal()) for name in terms},
        "reward/boxes/mean": Shape(6, 2.1, 30, 0.1).at(step, rng), "reward/failed": float(step % 97 == 0), "reward/completions": 128.0,
        "reward/unreadable_share": Shape(0.4, 0.02, 25, 0.01).at(step, rng),
        "response_length/cut_share": Shape(0.3, 0, 20, 0.005).at(step, rng),
        "response_length/mean": Shape(180, 46, 30, 2).at(step, rng), "response_length/max": Shape(256, 90, 40, 8).at(step, rng),
        "entropy": Shape(1.3, 0.35, 90, 0.03).at(step, rng), "clip_fraction": Shape(0.002, 0.02, 80, 0.003).at(step, rng),
        "policy_change": 0.001 * float(rng.normal()), "loss": 0.01 * float(rng.normal()),
        "probability_gap": 0.004 + 0.002 * float(rng.random()),
        "probability_gap_mean": 0.0004 + 0.0001 * float(rng.random()), "weight_change": Shape(0.01, 0.004, 90, 0.0004).at(step, rng),
        "groups/evicted": evicted, "groups/failed": 0.0, "groups/refilled": evicted,
        "grad_norm": Shape(1.5, 0.5, 60, 0.06).at(step, rng), "lr": 1e-6, "memory_gb": 4.2,
        "tokens_per_s_per_worker": 350 + 20 * float(rng.normal()),
        **phases, "step_s": sum(phases.values()) + 0.3, "verl/actor/kl_loss": 0.0,
    }  # fmt: skip
