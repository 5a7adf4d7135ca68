"""A random, tiny Qwen3-VL: the real architecture, processor and chat template in sizes that a laptop trains."""

import json
import math
from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    Qwen2Tokenizer,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
)
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor
from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor

from medmo_ray.config.model import TinyModel
from medmo_ray.errors import ConfigError

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
"""Qwen3-VL's own, in its order."""

PATCH_PX = 16
MERGE = 2
MAX_TOKENS = 4096
HEAD_SIZE = 32
"""Width of a language head: the smallest that vLLM has kernels for. As in Qwen3, heads × width may exceed the hidden size."""
ROPE_THETA = 10_000.0
"""Base of the rotary positions: Qwen's 5 million is made for sequences a thousand times longer."""

TOKEN_STD = 0.06
PATCH_SCALE, POSITION_SCALE = 12.0, 6.0
"""Patch contents and positions start this large, so that a learning rate of 3e-3 moves them slowly beside their size while
the language layers first learn to write; what follows normalises them. Halves the samples until boxes are found."""

CHAT_TEMPLATE = """\
{%- set image_count = namespace(value=0) %}
{%- set video_count = namespace(value=0) %}
{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.content is string %}
        {{- message.content }}
    {%- else %}
        {%- for content in message.content %}
            {%- if content.type == 'image' or 'image' in content or 'image_url' in content %}
                {%- set image_count.value = image_count.value + 1 %}
                {%- if add_vision_id %}{{- 'Picture ' ~ image_count.value ~ ': ' }}{%- endif %}
                {{- '<|vision_start|><|image_pad|><|vision_end|>' }}
            {%- elif content.type == 'video' or 'video' in content %}
                {%- set video_count.value = video_count.value + 1 %}
                {%- if add_vision_id %}{{- 'Video ' ~ video_count.value ~ ': ' }}{%- endif %}
                {{- '<|vision_start|><|video_pad|><|vision_end|>' }}
            {%- elif 'text' in content %}
                {{- content.text }}
            {%- endif %}
        {%- endfor %}
    {%- endif %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
"""What Qwen3-VL's template writes for turns of text, images and videos; tool calls are left out."""


def build_tiny_model(directory: Path, texts: Iterable[str], settings: TinyModel, seed: int) -> Path:
    """Write a random Qwen3-VL as a Hugging Face directory that transformers and vLLM both load.

    Args:
        directory: where to write; made when absent.
        texts: what the byte-level BPE learns its merges from; digits always stay single tokens.
        settings: sizes. The vocabulary may come out smaller than asked for when the texts hold fewer pairs to merge.
        seed: of the weights.

    Returns:
        `directory`.

    Raises:
        ConfigError: when the sizes do not fit together.
    """
    _check(settings)
    directory.mkdir(parents=True, exist_ok=True)
    processor = _processor(_tokenizer(texts, settings.vocab_size))
    processor.save_pretrained(directory)
    _model(processor.tokenizer, settings, seed).save_pretrained(directory)
    return directory


def _check(settings: TinyModel) -> None:
    width, heads = settings.vision_hidden_size, settings.vision_num_heads
    if width % heads or (width // heads) % 16:
        raise ConfigError(
            f"tiny.vision_hidden_size={width} over {heads} heads gives heads of {width / heads:g}: a head must be a multiple "
            f"of 16 wide, so that rotary positions split evenly; use vision_hidden_size={HEAD_SIZE * heads}"
        )


def _tokenizer(texts: Iterable[str], vocab_size: int) -> Qwen2Tokenizer:
    """Qwen's byte-level BPE with merges of its own; ids 0 … n-1 without a gap, special tokens last."""
    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    learned = json.loads(bpe.to_str())["model"]
    return Qwen2Tokenizer(
        vocab=learned["vocab"],
        merges=[tuple(pair) for pair in learned["merges"]],
        unk_token=None,
        bos_token=None,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL_TOKENS[1:]),
        model_max_length=MAX_TOKENS,
        errors="replace",
        clean_up_tokenization_spaces=False,
    )


def _processor(tokenizer: Qwen2Tokenizer) -> Qwen3VLProcessor:
    cell_px = PATCH_PX * MERGE
    sizes = {"patch_size": PATCH_PX, "temporal_patch_size": 2, "merge_size": MERGE}
    colours = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    pixels = {"shortest_edge": cell_px**2, "longest_edge": 1024 * cell_px**2}
    return Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=dict(pixels), **sizes, **colours),
        tokenizer=tokenizer,
        video_processor=Qwen3VLVideoProcessor(size=dict(pixels), **sizes, **colours),
        chat_template=CHAT_TEMPLATE,
    )


def _model(tokenizer: Qwen2Tokenizer, settings: TinyModel, seed: int) -> Qwen3VLForConditionalGeneration:
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in SPECIAL_TOKENS}
    config = Qwen3VLConfig(
        text_config=_text_config(len(tokenizer), ids, settings),
        vision_config=_vision_config(settings),
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen3VLForConditionalGeneration(config).to(torch.float32)
        _scale_for_few_steps(model)
    model.generation_config = GenerationConfig(
        eos_token_id=[ids["<|im_end|>"], ids["<|endoftext|>"]], pad_token_id=ids["<|endoftext|>"]
    )
    return model


def _scale_for_few_steps(model: Qwen3VLForConditionalGeneration) -> None:
    """Start where hundreds of steps suffice: the usual spread of 0.02 lets next to nothing of an image through narrow layers.

    Each layer keeps the size of what passes through it (spread 1/√inputs), and neighbouring patches start with similar
    positions, as in a trained vision tower.
    """
    for name, layer in model.named_modules():
        if isinstance(layer, torch.nn.Linear | torch.nn.Conv3d) and name != "lm_head":
            torch.nn.init.normal_(layer.weight, std=layer.weight[0].numel() ** -0.5)
    torch.nn.init.normal_(model.get_input_embeddings().weight, std=TOKEN_STD)
    vision = model.model.visual
    with torch.no_grad():
        vision.patch_embed.proj.weight.mul_(PATCH_SCALE)
        vision.pos_embed.weight.copy_(POSITION_SCALE * _waves(vision.pos_embed))


def _waves(table: torch.nn.Embedding) -> torch.Tensor:
    """Sines and cosines of row and column, from half a turn across the image up to one turn over three patches."""
    side, quarter = int(table.num_embeddings**0.5), table.embedding_dim // 4
    place = (torch.arange(side) + 0.5) / side
    turns = torch.pi * torch.logspace(-1, math.log2(side / 3), quarter, base=2)
    angles = place[:, None] * turns
    line = torch.cat([angles.sin(), angles.cos()], dim=1)
    rows, columns = line[:, None].expand(-1, side, -1), line[None].expand(side, -1, -1)
    return torch.cat([rows, columns], dim=-1).reshape(side * side, -1)


def _text_config(vocab_size: int, ids: dict[str, int], settings: TinyModel) -> dict[str, object]:
    third = HEAD_SIZE // 2 // 3
    return {
        # No id beyond the tokenizer's: verl masks such a tail in vLLM alone, which would part the two log probabilities.
        "vocab_size": vocab_size,
        "hidden_size": settings.hidden_size,
        "intermediate_size": 2 * settings.hidden_size,
        "num_hidden_layers": settings.num_layers,
        "num_attention_heads": settings.num_heads,
        "num_key_value_heads": settings.num_heads // (2 if settings.num_heads % 2 == 0 else 1),
        "head_dim": HEAD_SIZE,
        "max_position_embeddings": MAX_TOKENS,
        "initializer_range": 0.02,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": ROPE_THETA,
            "mrope_interleaved": True,
            "mrope_section": [HEAD_SIZE // 2 - 2 * third, third, third],
        },
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|im_end|>"],
        "pad_token_id": ids["<|endoftext|>"],
    }


def _vision_config(settings: TinyModel) -> dict[str, object]:
    return {
        "depth": settings.vision_depth,
        "hidden_size": settings.vision_hidden_size,
        "intermediate_size": 2 * settings.vision_hidden_size,
        "num_heads": settings.vision_num_heads,
        "patch_size": PATCH_PX,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": 2,
        "out_hidden_size": settings.hidden_size,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0, settings.vision_depth - 1],
        "in_channels": 3,
        "initializer_range": 0.02,
    }
