"""Which model a stage starts from."""

from typing import Literal

from pydantic import Field

from medmo_ray.config.base import Settings


class TinyModel(Settings):
    """Sizes of the random Qwen3-VL that rehearsals train: every part of the real one, DeepStack included."""

    vocab_size: int = Field(
        1024, ge=384, description="byte-level BPE trained on the corpus text, special tokens included"
    )
    hidden_size: int = Field(64, ge=32)
    num_layers: int = Field(3, ge=2)
    num_heads: int = Field(4, ge=1, description="of the language layers, each 32 wide")
    vision_hidden_size: int = Field(64, ge=32)
    vision_depth: int = Field(2, ge=2)
    vision_num_heads: int = Field(2, ge=1)


class ModelSettings(Settings):
    """The starting weights and their numeric form."""

    path: str | None = Field(
        None,
        description="Hugging Face directory or name; unset: the export of the stage before, in this run's directory",
    )
    base: str = Field("Qwen3-VL-8B", description="what the weights are, for plans made before they are there")
    tiny: TinyModel | None = Field(None, description="build a random tiny Qwen3-VL as the start of stage 1")
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    attention: Literal["auto", "flash_attention_2", "sdpa"] = Field(
        "auto", description="auto: flash_attention_2 on a GPU that has it, sdpa elsewhere"
    )
