"""The tiny Qwen3-VL means the same to transformers, which trains it, and to vLLM, which samples from it."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from medmo_ray.config.corpus import GeneratedImages
from medmo_ray.config.model import ModelSettings, TinyModel
from medmo_ray.corpus.generate import generate_image
from medmo_ray.model.load import load_model, load_processor
from medmo_ray.model.tiny import build_tiny_model

pytestmark = pytest.mark.integration

PROMPT = "Locate every cell and bacterium in this microscopy image."
NUM_COMPLETIONS = 8
MAX_NEW_TOKENS = 24


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = [PROMPT, "cell <box>[[12, 30, 40, 55]]</box>\nbacterium <box>[[1, 2, 33, 44]]</box>"] * 10
    return build_tiny_model(tmp_path_factory.mktemp("tiny"), texts, TinyModel(), seed=0)


@pytest.fixture(scope="module")
def image() -> Image.Image:
    return Image.fromarray(generate_image(0, 0, GeneratedImages()).pixels)


@pytest.fixture(scope="module")
def prompt(directory: Path) -> str:
    content = [{"type": "image"}, {"type": "text", "text": PROMPT}]
    messages = [{"role": "user", "content": content}]
    return str(load_processor(directory).apply_chat_template(messages, add_generation_prompt=True, tokenize=False))


@pytest.fixture(scope="module")
def sampled(directory: Path, image: Image.Image, prompt: str) -> Any:
    """vLLM's answer: prompt ids and eight completions, each id with its log probability."""
    if not torch.cuda.is_available():
        os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
        # vLLM's CPU sampler would spend half a minute in torch.compile.
        os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    vllm = pytest.importorskip("vllm", reason="vLLM is not installed: `make setup` installs the one for this machine")
    engine = vllm.LLM(
        model=str(directory),
        dtype="float32",
        enforce_eager=True,
        max_model_len=256,
        max_num_seqs=NUM_COMPLETIONS,
        logprobs_mode="raw_logprobs",
        limit_mm_per_prompt={"image": 1, "video": 0},
        skip_mm_profiling=True,
        gpu_memory_utilization=0.3,
        seed=1,
    )
    # An image token sampled as text would ask transformers for an image; the log probabilities are those before the bias.
    tokenizer = load_processor(directory).tokenizer
    never = {tokenizer.convert_tokens_to_ids(token): -100.0 for token in ("<|image_pad|>", "<|video_pad|>")}
    settings = vllm.SamplingParams(
        n=NUM_COMPLETIONS, temperature=1.0, max_tokens=MAX_NEW_TOKENS, logprobs=0, logit_bias=never, seed=1
    )
    request = {"prompt": prompt, "multi_modal_data": {"image": image}}
    (answer,) = engine.generate([request], settings, use_tqdm=False)
    return answer


def test_both_see_the_same_prompt(directory: Path, image: Image.Image, prompt: str, sampled: Any) -> None:
    batch = load_processor(directory)(text=[prompt], images=[image], return_tensors="pt")
    assert batch["input_ids"][0].tolist() == list(sampled.prompt_token_ids)


def test_both_give_the_same_log_probabilities(directory: Path, image: Image.Image, prompt: str, sampled: Any) -> None:
    model = load_model(directory, ModelSettings(dtype="float32", attention="sdpa"))
    batch = load_processor(directory)(text=[prompt], images=[image], return_tensors="pt")
    start = batch["input_ids"].shape[1]
    assert len({tuple(output.token_ids) for output in sampled.outputs}) == NUM_COMPLETIONS
    for output in sampled.outputs:
        ids = torch.tensor([output.token_ids])
        theirs = torch.tensor(
            [step[token].logprob for step, token in zip(output.logprobs, output.token_ids, strict=True)]
        )
        inputs = dict(batch)
        inputs["input_ids"] = torch.cat([batch["input_ids"], ids], dim=1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        inputs["mm_token_type_ids"] = torch.cat([batch["mm_token_type_ids"], torch.zeros_like(ids)], dim=1)
        with torch.no_grad():
            logits = model(**inputs).logits[0, start - 1 : -1].float()
        ours = logits.log_softmax(-1).gather(1, ids[0][:, None])[:, 0]
        assert (ours - theirs).abs().max() < 1e-4
