"""The rows that verl reads: the corpus's prompts, with each image once on disk at the size that the model sees.

verl sends every field of a row to several processes, once a completion, so that rows hold paths and text, never pixels.
The images are final: neither verl nor vLLM resizes them again, and the coordinates of a truth are those of the prompt.
"""

import hashlib
import json
import os
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from tqdm import tqdm

from medmo_ray.config.base import CoordinateFrame
from medmo_ray.config.dapo import DapoRecipe, PromptSettings
from medmo_ray.corpus.manifest import Manifest
from medmo_ray.corpus.read import read_row_group
from medmo_ray.corpus.sample import Sample, SampleImage, from_table
from medmo_ray.errors import DataError
from medmo_ray.run import write_json
from medmo_ray.stream.images import image_tokens, load_pixels, target_size
from medmo_ray.stream.render import ChatTokens, box_mapper, moved_turns
from rewards.boxes import LabelledBox
from rewards.records import Truth

MIN_IMAGE_TOKENS = 4
"""qwen_vl_utils, which verl reads images with, enlarges an image of fewer."""

_TEXT = pa.string()
ROW_SCHEMA = pa.schema(
    {
        "data_source": _TEXT,
        "prompt": pa.list_(pa.struct({"role": _TEXT, "content": _TEXT})),
        "images": pa.list_(_TEXT),
        "ability": _TEXT,
        "reward_model": pa.struct({"style": _TEXT, "ground_truth": _TEXT}),
        "extra_info": pa.struct({"index": pa.int64(), "id": _TEXT}),
    }
)
_CHUNK = 256


@dataclass(frozen=True)
class Prompts:
    """Prompts ready for verl.

    Attributes:
        file: Parquet with one row a prompt, of `ROW_SCHEMA`.
        num_prompts: rows of it.
        max_images: most images in one prompt.
        max_tokens: tokens of the longest prompt, images included.
        skipped: samples left out, by reason.
    """

    file: Path
    num_prompts: int
    max_images: int
    max_tokens: int
    skipped: dict[str, int]


def write_prompts(recipe: DapoRecipe, directory: Path, *, model: Path, corpus: Path) -> Prompts:
    """Write directory/prompts.parquet and directory/images/, or find what an earlier attempt wrote.

    A sample whose prompt is longer than `prompts.max_prompt_tokens`, or whose image cannot be shown, is left out, counted
    by reason and listed in directory/skipped.jsonl.

    Args:
        recipe: which samples, and how large their images are.
        directory: made when absent.
        model: directory whose tokenizer counts.
        corpus: directory with the manifest.

    Raises:
        DataError: fewer prompts are left than one step answers.
    """
    manifest = Manifest.load(corpus)
    record = directory / "made_from.json"
    wanted = {"corpus": manifest.digest, "settings": recipe.prompts.digest(), "model": str(model)}
    prompts = _found(record, wanted)
    if prompts is None:
        (directory / "images").mkdir(parents=True, exist_ok=True)
        maker = RowMaker(recipe.prompts, directory / "images", ChatTokens(model), manifest.frame)
        prompts = _write(maker, directory, _training_samples(corpus, manifest, recipe.prompts))
        write_json(record, {**wanted, "prompts": {**asdict(prompts), "file": str(prompts.file)}})
    if prompts.num_prompts < recipe.prompts_per_step:
        raise DataError(
            f"{prompts.num_prompts} prompts of tasks {', '.join(recipe.prompts.tasks)} are usable and a step answers "
            f"{recipe.prompts_per_step}; left out: {prompts.skipped or 'none'}. Lower algorithm.accumulation or "
            "batch_per_worker, raise prompts.max_prompt_tokens, or build a larger corpus."
        )
    return prompts


class RowMaker:
    """Makes one row of `ROW_SCHEMA` from one sample.

    Args:
        settings: how large images are and how long a prompt may be.
        images: directory that images are written to.
        tokens: counts.
        frame: what the coordinates of the corpus's answers count.
    """

    def __init__(self, settings: PromptSettings, images: Path, tokens: ChatTokens, frame: CoordinateFrame) -> None:
        self.settings, self.images, self.tokens, self.frame = settings, images, tokens, frame

    def make(self, sample: Sample) -> tuple[dict[str, Any], int]:
        """Returns the row, without its index, and the tokens of its prompt. Writes the sample's images.

        Raises:
            DataError: the sample cannot be a prompt; the message is its reason, the same for all of its kind.
        """
        shown = [self._size(image) for image in sample.images]
        stored = [(image.width_px, image.height_px) for image in sample.images]
        turns = moved_turns(sample.turns[:-1], stored, shown, self.frame)
        length = len(self.tokens.prompt(turns, shown))
        if length > self.settings.max_prompt_tokens:
            raise DataError(f"longer than {self.settings.max_prompt_tokens} tokens")
        paths = [self._write(image, size) for image, size in zip(sample.images, shown, strict=True)]
        row = {
            "data_source": sample.dataset,
            "prompt": turns,
            "images": [str(path) for path in paths],
            "ability": sample.task,
            "reward_model": {"style": "rule", "ground_truth": self.truth(sample, shown).to_json()},
            "extra_info": {"id": sample.id},
        }
        return row, length

    def truth(self, sample: Sample, shown: list[tuple[int, int]]) -> Truth:
        """The sample's boxes as the right answer writes them: in whole numbers of the frame, so that it scores 1."""
        if not shown:
            return Truth(answer=sample.answer, frame=self.frame)
        first, size = sample.images[0], shown[0]
        mapped = box_mapper((first.width_px, first.height_px), size, self.frame)
        boxes = []
        for box in sample.boxes:
            x1, y1, x2, y2 = map(float, mapped(box.box))
            boxes.append(LabelledBox(box.label, (x1, y1, x2, y2)))
        return Truth(tuple(boxes), sample.answer, self.frame, *size)

    def _size(self, image: SampleImage) -> tuple[int, int]:
        settings = self.settings
        size = target_size(
            image.width_px, image.height_px, settings.image_side_px, settings.min_pixels, settings.max_pixels
        )
        if image_tokens(size) < MIN_IMAGE_TOKENS:
            raise DataError(f"an image of fewer than {MIN_IMAGE_TOKENS} tokens: raise prompts.min_pixels to 4096")
        return size

    def _write(self, image: SampleImage, size: tuple[int, int]) -> Path:
        file = self.images / f"{image.sha256[:24]}-{size[0]}x{size[1]}.png"
        if not file.is_file():
            unfinished = file.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
            Image.fromarray(load_pixels(image.bytes, size)).save(unfinished, format="PNG", compress_level=1)
            unfinished.replace(file)
        return file


def _training_samples(corpus: Path, manifest: Manifest, settings: PromptSettings) -> Iterator[Sample]:
    """The samples of an epoch, each as often as the weight of its dataset says (`Manifest.training_groups`).

    In the order of the corpus, or, where only `num_prompts` are wanted, in one that has all datasets from the beginning.
    """
    groups = manifest.training_groups(settings.tasks)
    if settings.num_prompts is not None:
        groups.sort(key=lambda place: hashlib.sha256(f"{place[0].content}/{place[1]}".encode()).digest())
    for shard, group in groups:
        yield from from_table(read_row_group(corpus, shard, group))


def _found(record: Path, wanted: dict[str, str]) -> Prompts | None:
    if not record.is_file():
        return None
    made = json.loads(record.read_text(encoding="utf-8"))
    prompts = made.pop("prompts")
    file = Path(prompts.pop("file"))
    return Prompts(file=file, **prompts) if made == wanted and file.is_file() else None


def _write(maker: RowMaker, directory: Path, samples: Iterator[Sample]) -> Prompts:
    rows: list[dict[str, Any]] = []
    skipped: Counter[str] = Counter()
    longest, limit = 0, maker.settings.num_prompts
    progress = tqdm(desc="prompts", unit="sample", disable=None)
    with (directory / "skipped.jsonl").open("w", encoding="utf-8") as quarantine, ThreadPoolExecutor() as threads:
        while limit is None or len(rows) < limit:
            chunk = list(islice(samples, _CHUNK if limit is None else min(_CHUNK, limit - len(rows))))
            if not chunk:
                break
            for sample, made in zip(chunk, threads.map(lambda sample: _tried(maker, sample), chunk), strict=True):
                if isinstance(made, str):
                    skipped[made] += 1
                    quarantine.write(json.dumps({"id": sample.id, "reason": made}) + "\n")
                    continue
                row, length = made
                row["extra_info"]["index"] = len(rows)
                rows.append(row)
                longest = max(longest, length)
            progress.update(len(chunk))
    progress.close()
    file = directory / "prompts.parquet"
    pq.write_table(pa.Table.from_pylist(rows, schema=ROW_SCHEMA), file)
    return Prompts(file, len(rows), _most_images(rows), longest, dict(skipped))


def _tried(maker: RowMaker, sample: Sample) -> tuple[dict[str, Any], int] | str:
    try:
        return maker.make(sample)
    except DataError as error:
        return str(error)


def _most_images(rows: Iterable[dict[str, Any]]) -> int:
    return max((len(row["images"]) for row in rows), default=0)
