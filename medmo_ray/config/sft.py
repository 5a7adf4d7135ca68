"""Recipe of a supervised stage (1, 2 or 3)."""

from typing import Literal

from pydantic import Field

from medmo_ray.config.base import ClusterSettings, RunSettings, Settings
from medmo_ray.config.corpus import Task
from medmo_ray.config.model import ModelSettings


class DataSettings(Settings):
    """What a stage reads, and how images and text become tokens."""

    corpus: str | None = Field(None, description="corpus directory; unset: this run's own")
    tasks: tuple[Task, ...] | None = Field(None, description="only samples of these tasks; unset: all")
    image_side_px: int | None = Field(
        None,
        ge=32,
        description="every image is resized to this square (tables 1, 2); unset: its own size within the pixel budget",
    )
    min_pixels: int = Field(32 * 32, ge=32 * 32)
    max_pixels: int = Field(1280 * 1280, ge=32 * 32, description="budget of an image without a fixed side")
    max_length_tokens: int = Field(8192, ge=64, description="a longer sample is skipped and counted")
    num_samples: int | None = Field(
        None, ge=1, description="train on the first so many of the epoch's order; unset: all"
    )
    expected_samples: int | None = Field(None, ge=1, description="for plans made before the corpus is built")
    expected_text_tokens: int = Field(300, ge=1, description="text tokens of a sample, for plans")
    num_read_workers: int = Field(2, ge=1, description="Ray Data actors that decode, resize and tokenise")
    window_row_groups: int = Field(32, ge=1, description="row groups shuffled together; larger is closer to uniform")


class OptimizerSettings(Settings):
    """AdamW and its schedule (supplementary 2.4: default betas, weight decay 0.1, 10 % warm-up, cosine)."""

    lr: float = Field(1e-5, gt=0)
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(0.1, ge=0)
    warmup_share: float = Field(0.1, ge=0, le=1, description="share of the stage's optimizer steps")
    schedule: Literal["cosine", "constant"] = "cosine"
    max_grad_norm: float = Field(1.0, gt=0)


class BatchSettings(Settings):
    """Samples of an optimizer step = per_worker × accumulation × workers."""

    per_worker: int = Field(10, ge=1, description="samples of a micro-batch on one worker")
    accumulation: int = Field(2, ge=1, description="micro-batches of an optimizer step")


class CheckpointSettings(Settings):
    """How often training state is saved and how much of it is kept."""

    every_steps: int = Field(500, ge=1)
    keep: int = Field(2, ge=1)


class HeldOutSettings(Settings):
    """Measuring boxes on held-out images before and after a stage."""

    num_images: int = Field(64, ge=0, description="0: do not measure")
    max_new_tokens: int = Field(256, ge=8)
    batch_size: int = Field(16, ge=1)


class SftRecipe(Settings):
    """What `jobs/stage1_sft.py` … `jobs/stage3_sft.py` run."""

    stage: Literal[1, 2, 3] = 1
    run: RunSettings = RunSettings()
    cluster: ClusterSettings = ClusterSettings()
    model: ModelSettings = ModelSettings()
    data: DataSettings = DataSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    batch: BatchSettings = BatchSettings()
    checkpoint: CheckpointSettings = CheckpointSettings()
    held_out: HeldOutSettings = HeldOutSettings()
    epochs: int = Field(1, ge=1)
    max_steps: int | None = Field(None, ge=1, description="stop after so many optimizer steps; unset: whole epochs")
    activation_checkpointing: bool = True
    log_every_steps: int = Field(1, ge=1)
    stall_timeout_s: float = Field(600, gt=0, description="a rank that is silent for so long ends the run, named")
    max_failures: int = Field(3, ge=0, description="restarts from the last checkpoint before the run gives up")
