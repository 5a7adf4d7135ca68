"""The samples that all loaders of bench_stream.py deliver, in the form that each reads.

Images are drawn: smooth structure with grain on it, so that JPEG and PNG have as much to decode as in a radiograph or a
stained slide. They are square, because Qwen's stock processor keeps the aspect and would else show other sizes.
"""

import hashlib
import io
import json
from pathlib import Path

import numpy as np
from PIL import Image
from stream_sides import ROW_GROUP, Corpora, checksum, digest
from tqdm import tqdm

from medmo_ray.corpus.files import BuildFiles
from medmo_ray.corpus.manifest import Histogram, Manifest, content_digest
from medmo_ray.corpus.sample import Sample, SampleImage
from medmo_ray.corpus.shards import WrittenPart, write_part
from medmo_ray.stream.images import load_pixels, patchify
from medmo_ray.stream.render import ChatTokens

IMAGES = 160
SHARDS = 4
PNG_SHARE, GREY_SHARE = 0.25, 0.4
FINDINGS = (
    "opacity", "effusion", "nodule", "infiltrate", "fracture line", "calcification", "cavity", "consolidation", "cyst",
    "mitotic figure", "necrosis", "fibrosis", "oedema", "haemorrhage", "ulcer", "polyp",
)  # fmt: skip


def draw(index: int, sides: tuple[int, int]) -> SampleImage:
    """An encoded image: JPEG of quality 85 to 95 or PNG, grey or in colour, of a side within `sides`."""
    rng = np.random.RandomState(index)
    side, grey = rng.randint(sides[0], sides[1] + 1), rng.rand() < GREY_SHARE
    channels = 1 if grey else 3
    coarse = rng.randint(0, 256, (14, 14, channels)).astype(np.uint8)
    wide = Image.fromarray(coarse[:, :, 0] if grey else coarse).resize((side, side), Image.Resampling.BICUBIC)
    grain = rng.normal(0, 5, (side, side, 1)) + rng.normal(0, 1.5, (side, side, channels))
    pixels = np.clip(np.asarray(wide).reshape(side, side, channels) + grain, 0, 255).astype(np.uint8)
    image, stream, png = Image.fromarray(pixels[:, :, 0] if grey else pixels), io.BytesIO(), rng.rand() < PNG_SHARE
    image.save(stream, **({"format": "PNG"} if png else {"format": "JPEG", "quality": int(rng.randint(85, 96))}))
    raw, form = stream.getvalue(), "png" if png else "jpeg"
    return SampleImage(raw, f"{index}.{form}", side, side, form, hashlib.sha256(raw).hexdigest(), 0)


def samples(count: int, sides: tuple[int, int]) -> list[Sample]:
    """Conversations over the images; no two have the same text."""
    images = [draw(index, sides) for index in tqdm(range(min(IMAGES, count)), desc="drawing", unit="image")]
    found = []
    for index in range(count):
        rng = np.random.RandomState(index)
        seen = [FINDINGS[place] for place in rng.randint(0, len(FINDINGS), rng.randint(3, 30))]
        asked = f"<image>Case {index}: is there {seen[0]} or {seen[1]}? Describe what is seen, region by region."
        answer = " ".join(f"Region {place + 1} shows {name}." for place, name in enumerate(seen))
        turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
        found.append(
            Sample(
                id=f"drawn:train:{index}", dataset="drawn", split="train", task="report", messages=json.dumps(turns),
                images=(images[index % len(images)],), boxes=(), answer=answer, modality=None, licence="CC0-1.0",
                access="generated", origin_file="drawn", origin_row=index,
            )
        )  # fmt: skip
    return found


def write_corpora(directory: Path, count: int, side_px: int, sides: tuple[int, int], forms: tuple[str, ...]) -> Corpora:
    """Draw the samples and write them in the forms that are wanted besides this project's."""
    from medmo_ray.config.model import TinyModel
    from medmo_ray.model.tiny import build_tiny_model  # brings transformers; the sides that need not have it do without

    rows, corpora = samples(count, sides), Corpora(directory, side_px)
    directory.mkdir(parents=True, exist_ok=True)
    parts = [rows[start::SHARDS] for start in range(SHARDS)]
    _write_ours(directory / "corpus", parts)
    build_tiny_model(directory / "model", [turn["content"] for row in rows for turn in row.turns], TinyModel(), seed=0)
    for form in forms:
        {"rows": _write_rows, "mds": _write_mds, "tars": _write_tars}[form](directory / form, parts)
    chat, pixels = ChatTokens(directory / "model"), {}
    (directory / "images").mkdir()
    for row in rows[:IMAGES]:
        patches = patchify(load_pixels(row.images[0].bytes, (side_px, side_px)))
        pixels[row.images[0].path] = checksum(patches)
        (directory / "images" / row.images[0].path.split(".")[0]).write_bytes(row.images[0].bytes)
    expected = {}
    for index, row in enumerate(rows):
        tokens = chat.conversation(row.turns, [(side_px, side_px)])
        expected[digest(tokens.ids, tokens.targets)] = [index % IMAGES, pixels[row.images[0].path]]
    (directory / "expected.json").write_text(json.dumps(expected))
    return corpora


def _write_ours(directory: Path, parts: list[list[Sample]]) -> None:
    files = BuildFiles(directory)
    files.shards.mkdir(parents=True)
    files.building.mkdir()
    shards = []
    for index, part in enumerate(parts):
        write_part(part, "train", index, files, ROW_GROUP)
        shards += [w.shard for w in WrittenPart.model_validate_json(files.part("train", index).read_bytes()).shards]
    nothing = Histogram(edges=(0,), counts=(0,))
    Manifest(
        digest=content_digest("pixel", tuple(shards)), frame="pixel", shards=tuple(shards), composition=(),
        chars=nothing, pixels=nothing, num_records=0, num_used=0, quarantined={}, excluded={}, recipe={},
    ).save(directory)  # fmt: skip


def _write_rows(directory: Path, parts: list[list[Sample]]) -> None:
    """As TRL's users have them: prompt, completion, images."""
    from datasets import Dataset, Features, Image, List, Value

    turns = List({"role": Value("string"), "content": Value("string")})
    features = Features({"id": Value("string"), "prompt": turns, "completion": turns, "images": List(Image())})
    for index, part in enumerate(parts):
        rows = [
            {
                "id": row.id,
                "prompt": [{"role": "user", "content": row.turns[0]["content"].replace("<image>", "")}],
                "completion": row.turns[1:],
                "images": [{"bytes": image.bytes, "path": image.path} for image in row.images],
            }
            for row in part
        ]
        file = directory / f"train-{index:05}.parquet"
        file.parent.mkdir(exist_ok=True)
        Dataset.from_list(rows, features=features).to_parquet(file, batch_size=ROW_GROUP)


def _write_mds(directory: Path, parts: list[list[Sample]]) -> None:
    from streaming import MDSWriter

    columns = {"id": "str", "messages": "str", "image": "bytes", "side": "int"}
    with MDSWriter(out=str(directory), columns=columns, size_limit=1 << 24) as writer:
        for row in (row for part in parts for row in part):
            (image,) = row.images
            writer.write({"id": row.id, "messages": row.messages, "image": image.bytes, "side": image.width_px})


def _write_tars(directory: Path, parts: list[list[Sample]]) -> None:
    import webdataset

    directory.mkdir()
    for index, part in enumerate(parts):
        with webdataset.TarWriter(str(directory / f"train-{index:05}.tar")) as writer:
            for row in part:
                (image,) = row.images
                facts = {"id": row.id, "messages": row.messages, "side": image.width_px}
                writer.write({"__key__": f"{row.origin_row:08}", "json": facts, "img": image.bytes})
