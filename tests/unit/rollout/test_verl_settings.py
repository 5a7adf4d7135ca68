"""The recipe as verl's configuration: each of the paper's values under the key that verl reads, and no key that is not there."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from medmo_ray.config.dapo import DapoRecipe
from medmo_ray.errors import ClusterError, ConfigError
from medmo_ray.run import flatten
from rollout import settings
from rollout.launch import attention_of, reward_settings, spread
from rollout.metrics import learning_rate
from rollout.settings import Job, environment, set_key, verl_settings

PAPER = {
    # supplementary 2.4
    "actor_rollout_ref.actor.clip_ratio_low": 0.15,
    "actor_rollout_ref.actor.clip_ratio_high": 0.25,
    "trainer.total_epochs": 2,
    "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu": 2,
    "actor_rollout_ref.rollout.n": 8,
    "data.max_prompt_length": 2048,
    "data.max_response_length": 1024,
    "actor_rollout_ref.actor.optim.betas": [0.9, 0.999],
    "actor_rollout_ref.actor.optim.weight_decay": 0.1,
    "actor_rollout_ref.actor.optim.lr_warmup_steps_ratio": 0.1,
    "actor_rollout_ref.actor.optim.lr_scheduler_type": "cosine",
    "data.seed": 42,
    "actor_rollout_ref.rollout.temperature": 1.0,
    # 2 completions × 4 micro-batches × 64 workers = 64 groups of 8, in one optimizer step
    "data.train_batch_size": 64,
    "actor_rollout_ref.actor.ppo_mini_batch_size": 64,
    # DAPO (Yu et al. 2025): token-level loss, no KL term
    "actor_rollout_ref.actor.loss_agg_mode": "token-mean",
    "actor_rollout_ref.actor.use_kl_loss": False,
    "algorithm.use_kl_in_reward": False,
    "algorithm.adv_estimator": "grpo_of_scored",
    "reward.reward_manager.name": "PoolRewardManager",
    "trainer.v1.sampler.custom_sampler.name": "BoundedSampler",
    "trainer.v1.sampler.sampler_kwargs.max_refill_rounds": 4,
    "trainer.v1.trainer_mode": "sync",
    # Qwen3-VL's patches; verl's default of 14 is Qwen2-VL's
    "data.image_patch_size": 16,
}


def job(**changes: object) -> Job:
    values = {"num_nodes": 8, "workers_per_node": 8, "attention": "flash_attention_2"} | changes
    return Job(Path("/run/stage4"), Path("/model"), Path("/prompts.parquet"), 1, 100, 2, **values)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def paper() -> object:
    return verl_settings(DapoRecipe(), job())


@pytest.mark.parametrize(("key", "value"), PAPER.items())
def test_the_papers_values_reach_verl(paper: object, key: str, value: object) -> None:
    found = OmegaConf.select(paper, key)
    assert (list(found) if OmegaConf.is_list(found) else found) == value


def test_cpu_and_gpu_differ_only_in_the_engine() -> None:
    recipe = DapoRecipe()
    gpu, cpu = (
        flatten(OmegaConf.to_container(verl_settings(each, job()), throw_on_missing=False))
        for each in (recipe, recipe.replaced(cluster__use_gpu=False))
    )
    differing = {key for key in gpu.keys() | cpu.keys() if gpu.get(key, "absent") != cpu.get(key, "absent")}
    assert {key.split(".")[0] for key in differing} <= {"actor_rollout_ref", "trainer", "reward", "transfer_queue"}
    assert not {key for key in differing if "clip" in key or "optim." in key or key.endswith((".n", "batch_size"))}


@pytest.mark.parametrize(
    "key", ["data.max_prompt_lenght", "actor_rollout_ref.actors.clip_ratio_low", "trainer.v2.trainer_mode"]
)
def test_a_key_that_verl_renamed_fails_with_its_name(key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        set_key(settings.default_settings(), key, 1)


def test_a_value_still_to_be_given_is_a_key() -> None:
    config = settings.default_settings()  # `rollout.name: ???` in verl's defaults
    set_key(config, "actor_rollout_ref.rollout.name", "vllm")
    assert config.actor_rollout_ref.rollout.name == "vllm"


def test_variables_hold_those_that_verl_sets_itself(tmp_path: Path) -> None:
    """verl sets them only for a Ray that it starts; a verl that sets more has to be followed."""
    from verl.trainer.constants_ppo import PPO_RAY_RUNTIME_ENV

    theirs = {name for name in PPO_RAY_RUNTIME_ENV["env_vars"] if not name.startswith("HCCL")}
    ours = environment(DapoRecipe(), tmp_path, tmp_path)
    assert theirs <= ours.keys()
    assert ours["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in environment(DapoRecipe(), Path("Qwen/Qwen3-VL-8B-Instruct"), tmp_path)
    assert "VERL_PLATFORM" not in ours
    assert environment(DapoRecipe().replaced(cluster__use_gpu=False), tmp_path, tmp_path)["VERL_PLATFORM"] == "cpu"


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.3])
def test_learning_rate_is_the_one_that_verl_steps_with(schedule: str, warmup: float) -> None:
    from verl.utils.torch_functional import get_constant_schedule_with_warmup, get_cosine_schedule_with_warmup

    total, lr = 20, 3e-4
    options = OmegaConf.create({"lr": lr, "lr_warmup_steps_ratio": warmup, "lr_scheduler_type": schedule})
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    steps = int(warmup * total)
    scheduler = (
        get_cosine_schedule_with_warmup(optimizer, steps, total)
        if schedule == "cosine"
        else get_constant_schedule_with_warmup(optimizer, steps)
    )
    for step in range(1, total + 1):
        assert learning_rate(step, total, options) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        scheduler.step()


def test_tensor_parallelism_must_fit_a_node() -> None:
    recipe = DapoRecipe().replaced(rollout__tensor_parallel=3)
    with pytest.raises(ConfigError, match="tensor_parallel=3"):
        verl_settings(recipe, job())


def test_updates_of_a_step_hold_whole_groups() -> None:
    recipe = DapoRecipe().replaced(
        cluster__num_workers=1, algorithm__batch_per_worker=4, algorithm__accumulation=1, algorithm__updates_per_step=2
    )
    with pytest.raises(ConfigError, match="4 completions"):
        verl_settings(recipe, job(num_nodes=1, workers_per_node=1))


@pytest.mark.parametrize(
    ("num_workers", "gpus", "expected"),
    [
        (1, [0, 1], (1, 1)),
        (64, [8] * 8, (8, 8)),
        (64, [8] * 9 + [0], (8, 8)),
        (4, [4, 4], (1, 4)),
        (4, [3, 2, 1], (2, 2)),
        (6, [4, 3, 3], (2, 3)),
    ],
)
def test_workers_are_spread_over_equal_nodes(num_workers: int, gpus: list[int], expected: tuple[int, int]) -> None:
    assert spread(num_workers, gpus) == expected


def test_too_few_gpus_are_refused() -> None:
    with pytest.raises(ClusterError, match=r"\[2, 1\]"):
        spread(4, [1, 2])


def test_sdpa_unless_flash_attention_is_asked_for() -> None:
    assert attention_of(DapoRecipe().replaced(cluster__use_gpu=False)) == "sdpa"
    assert attention_of(DapoRecipe().replaced(model__attention="flash_attention_2")) == "flash_attention_2"
    assert not verl_settings(DapoRecipe(), job(attention="sdpa")).actor_rollout_ref.model.use_remove_padding


def test_rewards_follow_the_recipe() -> None:
    recipe = DapoRecipe().replaced(prompts__max_completion_tokens=64, reward__lambda_fn=0.25, reward__weights__tags=0.0)
    found = reward_settings(recipe)
    assert dict(found.weights) == {"bbox": 1.0, "label": 0.2, "tags": 0.0, "overlong": 1.0, "facts": 0.0}
    assert (found.lambda_fn, found.max_tokens, found.buffer_tokens) == (0.25, 64, 64)
