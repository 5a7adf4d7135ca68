"""The tiny Qwen3-VL: a gapless tokenizer, Qwen's chat form, weights that a seed names, and every part in use."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Qwen3VLForConditionalGeneration, Qwen3VLProcessor

from medmo_ray.config.model import ModelSettings, TinyModel
from medmo_ray.errors import ConfigError
from medmo_ray.model.load import load_model, load_processor
from medmo_ray.model.tiny import SPECIAL_TOKENS, build_tiny_model

TINY = TinyModel(
    hidden_size=64, num_layers=2, num_heads=2, vision_hidden_size=64, vision_depth=2, vision_num_heads=2, vocab_size=400
)
TEXTS = ["Locate every cell and bacterium in this image.", "cell <box>[[12, 30, 40, 55], [1, 2, 33, 44]]</box>"] * 20


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_model(tmp_path_factory.mktemp("tiny"), TEXTS, TINY, seed=3)


@pytest.fixture(scope="module")
def processor(directory: Path) -> Qwen3VLProcessor:
    return load_processor(directory)


@pytest.fixture(scope="module")
def model(directory: Path) -> Qwen3VLForConditionalGeneration:
    return load_model(directory, ModelSettings(dtype="float32"))


def test_every_id_of_the_model_is_a_token(directory: Path, processor: Qwen3VLProcessor) -> None:
    config = json.loads((directory / "config.json").read_text())
    ids = set(processor.tokenizer.get_vocab().values())
    assert ids == set(range(config["text_config"]["vocab_size"]))


def test_digits_are_single_tokens_however_often_a_number_was_seen(processor: Qwen3VLProcessor) -> None:
    pieces = processor.tokenizer.tokenize("[[12, 30, 40, 55]] 1000")
    digits = [piece for piece in pieces if any(char.isdigit() for char in piece)]
    assert digits == list("12304055" + "1000")


@pytest.mark.parametrize("text", [*TEXTS[:2], "Läsion 7 µm\n\n  in Zelle №3 🦠"])
def test_text_survives_the_tokenizer(processor: Qwen3VLProcessor, text: str) -> None:
    assert processor.tokenizer.decode(processor.tokenizer(text)["input_ids"]) == text


def test_special_tokens_are_one_id_each(processor: Qwen3VLProcessor) -> None:
    for token in SPECIAL_TOKENS:
        assert len(processor.tokenizer(token)["input_ids"]) == 1
    assert processor.tokenizer.eos_token == "<|im_end|>"
    assert processor.tokenizer.pad_token == "<|endoftext|>"


def test_the_chat_template_writes_qwen_turns(processor: Qwen3VLProcessor) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Where?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "Here."}]},
        {"role": "user", "content": "Sure?"},
    ]
    assert processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>Where?<|im_end|>\n"
        "<|im_start|>assistant\nHere.<|im_end|>\n"
        "<|im_start|>user\nSure?<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_the_seed_names_the_weights(directory: Path, tmp_path: Path) -> None:
    weights = (directory / "model.safetensors").read_bytes()
    again = build_tiny_model(tmp_path / "again", TEXTS, TINY, seed=3)
    other = build_tiny_model(tmp_path / "other", TEXTS, TINY, seed=4)
    assert (again / "model.safetensors").read_bytes() == weights
    assert (other / "model.safetensors").read_bytes() != weights
    assert (again / "tokenizer.json").read_bytes() == (directory / "tokenizer.json").read_bytes()


def test_building_leaves_the_global_random_state_alone(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    build_tiny_model(tmp_path, TEXTS, TINY, seed=0)
    assert torch.equal(before, torch.get_rng_state())


def test_learning_reaches_every_weight_deepstack_included(
    model: Qwen3VLForConditionalGeneration, processor: Qwen3VLProcessor
) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (96, 64, 3), dtype=np.uint8))
    text = "<|vision_start|><|image_pad|><|vision_end|>Locate every cell. cell <box>[[12, 30, 40, 55]]</box>"
    batch = processor(text=[text], images=[image], return_tensors="pt")
    assert batch["image_grid_thw"].tolist() == [[1, 6, 4]]
    assert int(batch["mm_token_type_ids"].sum()) == 6
    model(**batch, labels=batch["input_ids"]).loss.backward()
    still = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.abs().any()]
    assert still == []
    assert len(model.model.visual.deepstack_merger_list) == 2


@pytest.mark.parametrize(
    ("sizes", "named"),
    [
        ({"vision_hidden_size": 72}, "tiny.vision_hidden_size=72"),
        ({"vision_hidden_size": 64, "vision_num_heads": 3}, "use vision_hidden_size=96"),
    ],
)
def test_sizes_that_do_not_fit_are_named(tmp_path: Path, sizes: dict[str, int], named: str) -> None:
    settings = TINY.model_copy(update=sizes)
    with pytest.raises(ConfigError, match=named):
        build_tiny_model(tmp_path / "none", TEXTS, settings, seed=0)
    assert not (tmp_path / "none").exists()
