"""Recipe of stage 4: reinforcement learning with DAPO on verl, rewards from a pool of their own."""

from typing import Literal

from pydantic import Field, model_validator

from medmo_ray.config.base import ClusterSettings, RunSettings, Settings
from medmo_ray.config.corpus import Task
from medmo_ray.config.model import ModelSettings
from medmo_ray.config.sft import CheckpointSettings, HeldOutSettings, OptimizerSettings


class PromptSettings(Settings):
    """Which prompts are answered (supplementary 2.4)."""

    corpus: str | None = Field(None, description="corpus directory; unset: this run's own")
    tasks: tuple[Task, ...] = ("detection", "grounding")
    min_pixels: int = Field(32 * 32, ge=32 * 32)
    max_pixels: int = Field(1280 * 1280, ge=32 * 32, description="dynamic resolution: no fixed resize")
    image_side_px: int | None = Field(None, ge=32, description="fixed square; the paper leaves it unset")
    max_prompt_tokens: int = Field(2048, ge=32)
    max_completion_tokens: int = Field(1024, ge=8)
    num_prompts: int | None = Field(
        None, ge=1, description="use only so many prompts, from all over the corpus; unset: all"
    )
    expected_prompts: int | None = Field(None, ge=1, description="for plans made before the corpus is built")
    expected_completion_tokens: int = Field(128, ge=1, description="mean length of an answer, for plans")


class AlgorithmSettings(Settings):
    """DAPO (Yu et al. 2025) with MedMO's values."""

    completions_per_prompt: int = Field(8, ge=2)
    clip_low: float = Field(0.15, gt=0, lt=1)
    clip_high: float = Field(0.25, gt=0)
    temperature: float = Field(1.0, gt=0)
    epochs: int = Field(2, ge=1)
    max_steps: int | None = Field(None, ge=1, description="stop after so many steps; unset: whole epochs")
    batch_per_worker: int = Field(2, ge=1, description="completions of a micro-batch on one worker")
    accumulation: int = Field(4, ge=1, description="micro-batches of an optimizer step")
    updates_per_step: int = Field(1, ge=1, description="optimizer steps on one batch of rollouts")
    dynamic_sampling: bool = Field(True, description="groups whose completions all score alike are replaced")
    max_refill_rounds: int = Field(4, ge=1, description="dynamic sampling gives up replacing after so many rounds")
    min_reward_std: float = Field(1e-6, ge=0, description="a group at or below this spread carries no signal")


class RewardWeights(Settings):
    """Weights of the reward terms that the paper names without numbers (supplementary 2.4)."""

    bbox: float = Field(1.0, ge=0)
    label: float = Field(0.2, ge=0)
    tags: float = Field(0.1, ge=0)
    overlong: float = Field(1.0, ge=0, description="weight of the soft overlong punishment, a value in [-1, 0]")
    facts: float = Field(0.0, ge=0)


class RewardSettings(Settings):
    """How completions are scored (supplementary 1.1)."""

    weights: RewardWeights = RewardWeights()
    lambda_fn: float = Field(0.0, ge=0, description="penalty per missed box; the paper's default is 0")
    lambda_fp: float = Field(0.0, ge=0, description="penalty per surplus box; the paper's default is 0")
    matching: Literal["label_free", "per_label"] = "label_free"
    extent: Literal["truth", "image"] = Field(
        "truth", description="image size in eq. 1: from the true boxes (paper) or the image"
    )
    grammar: Literal["medmo", "qwen_json", "qwen_tags", "medsg"] = "medmo"
    overlong_buffer_tokens: int = Field(256, ge=1, description="length before the limit in which the punishment grows")


class MonitorSettings(Settings):
    """When the monitors of cheating raise an alarm; docs/rewards.md says why there. They change no reward."""

    enabled: bool = True
    window_steps: int = Field(10, ge=1, description="least steps that are judged together")
    window_groups: int = Field(32, ge=1, description="least prompts that are judged together")
    patience: int = Field(5, ge=1, description="steps in a row out of bounds before an alarm")
    grace_steps: int = Field(15, ge=0, description="steps before over_random and box_spread are judged")
    box_count: float = Field(2.0, gt=0, description="most predicted boxes per true box")
    whole_image: float = Field(
        0.1, gt=0, description="largest share of boxes over the whole image, above that of the truth"
    )
    whole_share: float = Field(0.9, gt=0, le=1, description="share of the image that is the whole of it")
    duplicates: float = Field(0.1, gt=0, description="largest share of boxes that are copies, above that of the truth")
    twin_iou: float = Field(0.9, gt=0, le=1, description="IoU of boxes that are copies of each other")
    format_gain: float = Field(0.2, gt=0, description="largest gain of the reward that no overlap accounts for")
    earned_share: float = Field(0.2, ge=0, le=1, description="share of overlap in a gain from which it is no alarm")
    frame_slip: float = Field(0.1, gt=0, description="most that another reading of the coordinates may be worth")
    over_random: float = Field(0.05, description="least box reward above that of as many random boxes")
    box_spread: float = Field(
        0.25, ge=0, description="least movement of boxes from image to image, beside the true ones'"
    )


class RewardPoolSettings(Settings):
    """The pool of reward actors, scaled apart from the GPUs."""

    replicas: int = Field(4, ge=1)
    cpus_per_replica: float = Field(0.5, gt=0)
    node_resource: str | None = Field("reward", description="custom resource of reward nodes; unset: any node")
    timeout_s: float = Field(60, gt=0)
    max_retries: int = Field(3, ge=0)
    wait_for_pool_s: float = Field(600, gt=0, description="how long a run waits when no replica answers")


class RolloutSettings(Settings):
    """vLLM rollout actors."""

    tensor_parallel: int = Field(1, ge=1)
    gpu_memory_share: float = Field(0.6, gt=0, lt=1)
    max_num_seqs: int = Field(256, ge=1)
    kv_cache_gb: float = Field(1, gt=0, description="on machines without a GPU: size of the key-value cache")


class DapoRecipe(Settings):
    """What `jobs/stage4_dapo.py` runs."""

    stage: Literal[4] = 4
    run: RunSettings = RunSettings()
    cluster: ClusterSettings = ClusterSettings()
    model: ModelSettings = ModelSettings()
    prompts: PromptSettings = PromptSettings()
    algorithm: AlgorithmSettings = AlgorithmSettings()
    optimizer: OptimizerSettings = OptimizerSettings(lr=1e-6)
    reward: RewardSettings = RewardSettings()
    monitors: MonitorSettings = MonitorSettings()
    pool: RewardPoolSettings = RewardPoolSettings()
    rollout: RolloutSettings = RolloutSettings()
    checkpoint: CheckpointSettings = CheckpointSettings(every_steps=50)
    held_out: HeldOutSettings = HeldOutSettings()
    stall_timeout_s: float = Field(1800, gt=0, description="a step that takes longer ends the run with what is known")

    @property
    def completions_per_step(self) -> int:
        """Completions of one optimizer step: batch per worker × accumulation × workers × updates."""
        algorithm = self.algorithm
        per_update = algorithm.batch_per_worker * algorithm.accumulation * self.cluster.num_workers
        return per_update * algorithm.updates_per_step

    @property
    def prompts_per_step(self) -> int:
        """Prompt groups of one step; the paper's 2 × 4 × 64 completions are 64 groups of 8."""
        return self.completions_per_step // self.algorithm.completions_per_prompt

    @model_validator(mode="after")
    def _whole_groups(self) -> "DapoRecipe":
        if self.completions_per_step % self.algorithm.completions_per_prompt:
            raise ValueError(
                f"a step has {self.completions_per_step} completions (batch_per_worker × accumulation × num_workers × "
                f"updates_per_step), which is no multiple of completions_per_prompt={self.algorithm.completions_per_prompt}: "
                "raise accumulation or batch_per_worker"
            )
        return self
