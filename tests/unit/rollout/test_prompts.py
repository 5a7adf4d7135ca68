"""From a corpus to the rows that verl reads: paths instead of pixels, truths in the frame of the shown image."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image
from small_run import write_corpus, write_model

from medmo_ray.config.dapo import DapoRecipe
from medmo_ray.corpus.manifest import Manifest, content_digest
from medmo_ray.corpus.read import read_samples
from medmo_ray.errors import DataError
from medmo_ray.stream.render import ChatTokens, moved_turns
from rewards.records import ScoreRequest, Truth
from rewards.scorer import Scorer
from rollout.prompts import Prompts, RowMaker, write_prompts


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "corpus", num_images=10, num_texts=4)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    return write_model(tmp_path_factory.mktemp("model"), corpus)


def recipe(**prompts: object) -> DapoRecipe:
    values = {"max_prompt_tokens": 256, "max_completion_tokens": 64, **prompts}
    return DapoRecipe.model_validate({"prompts": values, "cluster": {"num_workers": 2, "use_gpu": False}})


def rows(prompts: Prompts) -> list[dict]:
    return pq.read_table(prompts.file).to_pylist()


def test_a_row_holds_the_path_of_an_image_at_the_size_the_model_sees(corpus: Path, model: Path, tmp_path: Path) -> None:
    prompts = write_prompts(recipe(image_side_px=96), tmp_path, model=model, corpus=corpus)
    found = rows(prompts)
    assert [row["extra_info"]["index"] for row in found] == list(range(10))
    for row in found:
        [path] = row["images"]
        with Image.open(path) as image:
            assert (image.size, image.mode) == ((96, 96), "RGB")
        assert [turn["role"] for turn in row["prompt"]] == ["user"]
        assert row["prompt"][0]["content"].count("<image>") == 1
    assert (prompts.num_prompts, prompts.max_images, prompts.skipped) == (10, 1, {})


@pytest.mark.parametrize("side", [None, 96])
@pytest.mark.parametrize("frame", ["pixel", "relative_1000"])
def test_the_corpus_own_answer_scores_one(model: Path, tmp_path: Path, side: int | None, frame: str) -> None:
    """Boxes are stored in pixels of a 64 px image; the answer that training teaches is right for the image that is shown."""
    corpus = write_corpus(tmp_path / "corpus", num_images=6, num_texts=0, frame=frame)  # type: ignore[arg-type]
    found = rows(write_prompts(recipe(image_side_px=side), tmp_path / "prompts", model=model, corpus=corpus))
    samples = {sample.id: sample for sample in read_samples(corpus, "train")}
    shown = side or 64
    for row in found:
        truth = Truth.from_json(row["reward_model"]["ground_truth"])
        sample = samples[row["extra_info"]["id"]]
        assert (truth.frame, truth.width, truth.height) == (frame, shown, shown)
        answer = moved_turns(sample.turns, [(64, 64)], [(shown, shown)], frame)[-1]["content"]  # type: ignore[arg-type]
        [score] = Scorer().score([ScoreRequest("a", answer, truth.to_json(), 1)])
        assert score.terms["bbox"] == pytest.approx(1.0, abs=1e-9)
        assert score.problems == ()


def test_boxes_that_a_question_names_move_with_its_image(corpus: Path, model: Path, tmp_path: Path) -> None:
    sample = next(read_samples(corpus, "train", ("detection",)))
    asked = [{"role": "user", "content": "<image>Is there a cell in <box>[[8, 8, 32, 64]]</box>?"}, sample.turns[-1]]
    sample = replace(sample, messages=json.dumps(asked))
    settings = recipe(image_side_px=128).prompts
    row, _ = RowMaker(settings, tmp_path, ChatTokens(model), "pixel").make(sample)
    assert row["prompt"][0]["content"] == "<image>Is there a cell in <box>[[16, 16, 64, 128]]</box>?"


def test_text_prompts_have_no_image(corpus: Path, model: Path, tmp_path: Path) -> None:
    prompts = write_prompts(recipe(tasks=("text_qa",)), tmp_path, model=model, corpus=corpus)
    assert prompts.max_images == 0
    assert all(row["images"] == [] for row in rows(prompts))


def test_prompts_that_are_too_long_are_left_out_and_listed(corpus: Path, model: Path, tmp_path: Path) -> None:
    """A 64 px image is 4 tokens, a 512 px one 256."""
    short = write_prompts(recipe(), tmp_path / "short", model=model, corpus=corpus)
    assert short.max_tokens < 256
    with pytest.raises(DataError, match=r"0 prompts .*'longer than 256 tokens': 10"):
        write_prompts(recipe(image_side_px=512), tmp_path / "long", model=model, corpus=corpus)
    listed = [json.loads(line) for line in (tmp_path / "long" / "skipped.jsonl").read_text().splitlines()]
    assert len(listed) == 10
    assert listed[0] == {"id": "small:train:image-0", "reason": "longer than 256 tokens"}


def test_an_image_that_verl_would_enlarge_is_left_out(corpus: Path, model: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"raise prompts\.min_pixels to 4096"):
        write_prompts(recipe(image_side_px=32), tmp_path, model=model, corpus=corpus)


def test_prompts_are_written_once(corpus: Path, model: Path, tmp_path: Path) -> None:
    first = write_prompts(recipe(), tmp_path, model=model, corpus=corpus)
    stamp = first.file.stat().st_mtime_ns
    assert write_prompts(recipe(), tmp_path, model=model, corpus=corpus) == first
    assert first.file.stat().st_mtime_ns == stamp
    fewer = write_prompts(recipe(num_prompts=5), tmp_path, model=model, corpus=corpus)
    assert fewer.num_prompts == 5


def test_a_weighted_dataset_is_asked_about_as_often_as_its_weight_says(
    corpus: Path, model: Path, tmp_path: Path
) -> None:
    shutil.copytree(corpus, tmp_path / "corpus")
    manifest = Manifest.load(corpus)
    weights = {shard.file.split("/")[1]: 3.0 for shard in manifest.shards}
    digest = content_digest(manifest.frame, manifest.shards, weights)
    manifest.model_copy(update={"weights": weights, "digest": digest}).save(tmp_path / "corpus")
    prompts = write_prompts(recipe(), tmp_path / "prompts", model=model, corpus=tmp_path / "corpus")
    ids = Counter(row["extra_info"]["id"] for row in rows(prompts))
    assert ids == {f"small:train:image-{number}": 3 for number in range(10)}
    assert [row["extra_info"]["index"] for row in rows(prompts)] == list(range(30))


def test_a_few_prompts_come_from_all_over_the_corpus(model: Path, tmp_path: Path) -> None:
    """Not from the row groups that happen to come first."""
    corpus = write_corpus(tmp_path / "corpus", num_images=64, num_texts=0, row_group_rows=8)
    prompts = write_prompts(recipe(num_prompts=16), tmp_path / "prompts", model=model, corpus=corpus)
    numbers = [int(row["extra_info"]["id"].rsplit("-", 1)[1]) for row in rows(prompts)]
    assert len(set(numbers)) == 16
    assert max(numbers) >= 16
