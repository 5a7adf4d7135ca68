"""Parameter counts of plans against the models themselves, built without memory on the meta device."""

import pytest

from medmo_ray.config.architecture import KNOWN, Architecture


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_parameters_equal_the_real_models(name: str) -> None:
    import torch
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    sizes: Architecture = KNOWN[name]
    text = {
        "vocab_size": sizes.vocab_size, "hidden_size": sizes.hidden_size, "intermediate_size": sizes.intermediate_size,
        "num_hidden_layers": sizes.num_layers, "num_attention_heads": sizes.num_heads,
        "num_key_value_heads": sizes.num_key_value_heads, "head_dim": sizes.head_dim,
    }  # fmt: skip
    vision = {
        "depth": sizes.vision_depth, "hidden_size": sizes.vision_hidden_size,
        "intermediate_size": sizes.vision_intermediate_size, "out_hidden_size": sizes.hidden_size,
        "num_position_embeddings": sizes.vision_positions, "deepstack_visual_indexes": [5, 11, 17],
    }  # fmt: skip
    config = Qwen3VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=sizes.tied_embeddings)
    with torch.device("meta"):
        model = Qwen3VLForConditionalGeneration(config)
    model.tie_weights()
    assert sum(p.numel() for p in model.model.visual.parameters()) == sizes.vision_parameters
    assert sum(p.numel() for p in model.parameters()) == sizes.parameters
