"""Our recipe as verl's configuration: verl's own defaults, with the keys below set and nothing else.

Every key must exist in verl's defaults, except those marked `+`, which verl reads and does not list. A verl that renamed
one fails here, with the name, before anything starts.
"""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf, open_dict

from medmo_ray.config.dapo import DapoRecipe
from medmo_ray.errors import ConfigError
from rollout import ADVANTAGES, WEIGHT_REPORTS, cpu
from rollout.reward_settings import reward_settings

ACTOR = "actor_rollout_ref.actor"
MODEL = "actor_rollout_ref.model"
ROLLOUT = "actor_rollout_ref.rollout"
VLLM = f"{ROLLOUT}.engine_kwargs.vllm"
POLL_INTERVAL_S = 0.1
WEIGHT_BUCKET_MB_GPU, WEIGHT_BUCKET_MB_CPU = 2048, 64
DUAL_CLIP = 10.0
"""verl's bound of the ratio where the advantage is negative; the value of its own DAPO recipe, loose enough to be idle."""


@dataclass(frozen=True)
class Job:
    """What the recipe does not say: where things are, and how large the job turned out.

    Attributes:
        directory: of the stage.
        model: starting weights.
        prompts: Parquet of prompts.
        max_images: most images in one prompt.
        total_steps: optimizer steps × updates of the whole run.
        epochs: passes over the prompts that hold so many steps.
        num_nodes: nodes with training workers.
        workers_per_node: training workers on each of them.
        attention: "flash_attention_2" or "sdpa".
    """

    directory: Path
    model: Path
    prompts: Path
    max_images: int
    total_steps: int
    epochs: int
    num_nodes: int = 1
    workers_per_node: int = 1
    attention: str = "sdpa"


def environment(recipe: DapoRecipe, model: Path, directory: Path) -> dict[str, str]:
    """Variables of every process of the run.

    What verl itself would set for a Ray that it starts, what keeps vLLM and transformers quiet and offline, and on a
    machine without a GPU the CPU platform.
    """
    variables = {
        "TOKENIZERS_PARALLELISM": "true",
        "NCCL_DEBUG": "WARN",
        "VLLM_LOGGING_LEVEL": "WARN",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "true",
        "VLLM_DISABLE_COMPILE_CACHE": "1",
        "HSA_NO_SCRATCH_RECLAIM": "1",
        "TRANSFER_QUEUE_ENABLE": "1",
        "VERL_LOGGING_LEVEL": "WARNING",
        "HYDRA_FULL_ERROR": "1",
        "VLLM_NO_USAGE_STATS": "1",
        # Bars and warnings of a dozen processes would bury the run's own lines.
        "TQDM_DISABLE": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "PYTHONWARNINGS": "ignore",
        "HF_DATASETS_CACHE": str(directory / "prompts" / "cache"),
        WEIGHT_REPORTS: str(directory / "weights"),
    }
    if model.is_dir():
        variables |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    if not recipe.cluster.use_gpu:
        variables |= {"OMP_NUM_THREADS": "1", "TQ_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
        # Their warnings are about speed on a GPU.
        variables |= {"VLLM_LOGGING_LEVEL": "ERROR", "VERL_LOGGING_LEVEL": "ERROR", "TRANSFORMERS_VERBOSITY": "error"}
        variables |= cpu.environment(recipe.rollout.kv_cache_gb)
    return variables


def verl_settings(recipe: DapoRecipe, job: Job) -> DictConfig:
    """verl's configuration for this job.

    Raises:
        ConfigError: verl has no such key any more, or the recipe asks for what verl cannot divide.
    """
    check_division(recipe, job)
    values: dict[str, Any] = {
        **_algorithm(recipe),
        **_data(recipe, job),
        **_model(recipe, job),
        **_optimizer(recipe),
        **_rollout(recipe, job),
        **_rewards(recipe),
        **_trainer(recipe, job),
        **(_engine_on_gpu() if recipe.cluster.use_gpu else _engine_on_cpu()),
    }
    config = default_settings()
    for key, value in values.items():
        set_key(config, key, value)
    return config


def num_message_actors(recipe: DapoRecipe) -> int:
    """How many of each of verl's actors that only pass messages: a handful serves a cluster, each takes seconds to start."""
    return 8 if recipe.cluster.use_gpu else 1


def queue_settings(recipe: DapoRecipe) -> DictConfig:
    """The part of verl's configuration that its store of trajectories starts with."""
    config = default_settings()
    for key, value in _queue(recipe).items():
        set_key(config, key, value)
    return config.transfer_queue


def default_settings() -> DictConfig:
    """verl's defaults, composed by its own rules, without importing verl."""
    found = importlib.util.find_spec("verl")
    if found is None or not found.submodule_search_locations:
        raise ConfigError("verl is not installed: `pip install medmo-ray` brings it")
    with initialize_config_dir(str(Path(found.submodule_search_locations[0]) / "trainer/config"), version_base=None):
        return compose("ppo_trainer")


def set_key(config: DictConfig, key: str, value: Any) -> None:
    """Set one dotted key.

    Args:
        config: changed in place.
        key: starts with `+` where verl reads a key that its defaults do not list.
        value: plain values, lists and dicts.

    Raises:
        ConfigError: the key does not exist.
    """
    *parents, last = key.removeprefix("+").split(".")
    node = config
    for depth, name in enumerate(parents):
        if name not in node.keys():  # noqa: SIM118  `in node` is false for values that are still to be given
            if not key.startswith("+"):
                raise _unknown(key, parents[: depth + 1])
            with open_dict(node):
                node[name] = {}
        node = node[name]
        if not isinstance(node, DictConfig):
            raise _unknown(key, parents[: depth + 1])
    if last not in node.keys() and not key.startswith("+"):  # noqa: SIM118
        raise _unknown(key, [*parents, last])
    with open_dict(node):
        node[last] = OmegaConf.create(value) if isinstance(value, dict | list) else value


def _unknown(key: str, found: list[str]) -> ConfigError:
    return ConfigError(
        f"verl has no setting {'.'.join(found)} (for {key}): this project is made for verl 0.9.1; after another verl is "
        "installed, compare its trainer/config with rollout/settings.py"
    )


def check_division(recipe: DapoRecipe, job: Job) -> None:
    """Refuse what verl can only refuse once the cluster is up.

    Raises:
        ConfigError: says which number to change.
    """
    algorithm, workers = recipe.algorithm, recipe.cluster.num_workers
    per_update = algorithm.batch_per_worker * algorithm.accumulation * workers
    if per_update % algorithm.completions_per_prompt:
        raise ConfigError(
            f"an optimizer step has {per_update} completions, no multiple of the {algorithm.completions_per_prompt} of a "
            "prompt: raise algorithm.accumulation or batch_per_worker"
        )
    if job.workers_per_node % recipe.rollout.tensor_parallel:
        raise ConfigError(
            f"rollout.tensor_parallel={recipe.rollout.tensor_parallel} does not divide the {job.workers_per_node} training "
            "workers of a node, which share their GPUs with vLLM"
        )


def _algorithm(recipe: DapoRecipe) -> Mapping[str, Any]:
    """DAPO: clip-higher, token-level loss, group-relative advantages, no KL term, hence no reference model."""
    algorithm = recipe.algorithm
    return {
        "algorithm.adv_estimator": ADVANTAGES,
        "algorithm.norm_adv_by_std_in_grpo": True,
        "algorithm.use_kl_in_reward": False,
        f"{ACTOR}.use_kl_loss": False,
        f"{ACTOR}.clip_ratio": algorithm.clip_low,
        f"{ACTOR}.clip_ratio_low": algorithm.clip_low,
        f"{ACTOR}.clip_ratio_high": algorithm.clip_high,
        f"{ACTOR}.clip_ratio_c": DUAL_CLIP,
        f"{ACTOR}.loss_agg_mode": "token-mean",
        f"{ACTOR}.entropy_coeff": 0,
        f"{ACTOR}.ppo_epochs": 1,
        f"{ACTOR}.ppo_mini_batch_size": recipe.prompts_per_step // algorithm.updates_per_step,
        f"{ACTOR}.ppo_micro_batch_size_per_gpu": algorithm.batch_per_worker,
        # The same shape for old and new log probabilities, so that their ratio is 1 before an update.
        f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu": algorithm.batch_per_worker,
        # Dynamic sampling is our sampler's: verl's own has no bound. Single prompts, so that it can ask for exact numbers.
        "data.gen_batch_size": 1,
        "trainer.v1.sampler.custom_sampler.path": "pkg://rollout.sampling",
        "trainer.v1.sampler.custom_sampler.name": "BoundedSampler",
        "trainer.v1.sampler.sampler_kwargs": {
            "dynamic": algorithm.dynamic_sampling,
            "max_refill_rounds": algorithm.max_refill_rounds,
            "min_reward_std": algorithm.min_reward_std,
            "poll_interval_s": POLL_INTERVAL_S,
        },
    }


def _data(recipe: DapoRecipe, job: Job) -> Mapping[str, Any]:
    return {
        "data.train_files": str(job.prompts),
        # verl wants a validation file; held-out images are measured outside of it.
        "data.val_files": str(job.prompts),
        "data.val_max_samples": 1,
        "data.train_batch_size": recipe.prompts_per_step,
        "data.max_prompt_length": recipe.prompts.max_prompt_tokens,
        "data.max_response_length": recipe.prompts.max_completion_tokens,
        "data.truncation": "error",
        "data.image_patch_size": 16,
        "data.mm_processor_kwargs": {"do_resize": False},
        "data.shuffle": True,
        "data.seed": recipe.run.seed,
        "data.dataloader_num_workers": 0,
    }


def _model(recipe: DapoRecipe, job: Job) -> Mapping[str, Any]:
    unpadded = job.attention == "flash_attention_2"
    return {
        f"{MODEL}.path": str(job.model),
        f"+{MODEL}.override_config.attn_implementation": job.attention,
        # Without padding, sequences lie end to end, which only flash attention keeps apart.
        f"{MODEL}.use_remove_padding": unpadded,
        f"{MODEL}.enable_gradient_checkpointing": recipe.cluster.use_gpu,
        f"{ACTOR}.strategy": "fsdp2",
        f"{ACTOR}.fsdp_config.model_dtype": "fp32",
        f"+{ACTOR}.fsdp_config.mixed_precision": _precision(recipe),
        f"{ACTOR}.fsdp_config.seed": recipe.run.seed,
        f"{ACTOR}.data_loader_seed": recipe.run.seed,
    }


def _precision(recipe: DapoRecipe) -> dict[str, str]:
    """Master weights are fp32; the forward pass has the model's numeric form, sums over workers are fp32."""
    forward = "bf16" if recipe.model.dtype == "bfloat16" else "fp32"
    return {"param_dtype": forward, "reduce_dtype": "fp32", "buffer_dtype": "fp32"}


def _optimizer(recipe: DapoRecipe) -> Mapping[str, Any]:
    optimizer = recipe.optimizer
    return {
        f"{ACTOR}.optim.lr": optimizer.lr,
        f"{ACTOR}.optim.betas": list(optimizer.betas),
        f"{ACTOR}.optim.override_optimizer_config": {"eps": optimizer.eps},
        f"{ACTOR}.optim.weight_decay": optimizer.weight_decay,
        f"{ACTOR}.optim.lr_warmup_steps_ratio": optimizer.warmup_share,
        f"{ACTOR}.optim.lr_scheduler_type": optimizer.schedule,
        # As in transformers: a warm-up begins at 0, so that its first step changes nothing.
        f"{ACTOR}.optim.zero_indexed_step": True,
        f"{ACTOR}.optim.clip_grad": optimizer.max_grad_norm,
        f"{ACTOR}.grad_clip": optimizer.max_grad_norm,
    }


def _rollout(recipe: DapoRecipe, job: Job) -> Mapping[str, Any]:
    longest = recipe.prompts.max_prompt_tokens + recipe.prompts.max_completion_tokens
    return {
        f"{ROLLOUT}.name": "vllm",
        f"{ROLLOUT}.n": recipe.algorithm.completions_per_prompt,
        f"{ROLLOUT}.temperature": recipe.algorithm.temperature,
        f"{ROLLOUT}.top_p": 1.0,
        f"{ROLLOUT}.top_k": -1,
        f"{ROLLOUT}.calculate_log_probs": True,
        f"{ROLLOUT}.dtype": recipe.model.dtype,
        # The first weights come from the trainer as all later ones do.
        f"{ROLLOUT}.load_format": "dummy",
        f"{ROLLOUT}.seed": recipe.run.seed,
        f"{ROLLOUT}.tensor_model_parallel_size": recipe.rollout.tensor_parallel,
        f"{ROLLOUT}.gpu_memory_utilization": recipe.rollout.gpu_memory_share,
        f"{ROLLOUT}.max_num_seqs": recipe.rollout.max_num_seqs,
        f"{ROLLOUT}.max_model_len": longest,
        f"{ROLLOUT}.max_num_batched_tokens": max(8192, longest),
        f"+{VLLM}.limit_mm_per_prompt": {"image": max(1, job.max_images), "video": 0},
        f"+{VLLM}.worker_extension_cls": "rollout.vllm_worker.WatchedWorker",
    }


def _rewards(recipe: DapoRecipe) -> Mapping[str, Any]:
    pool = recipe.pool
    return {
        "reward.reward_manager.source": "importlib",
        "reward.reward_manager.name": "PoolRewardManager",
        "reward.reward_manager.module.path": "pkg://rollout.reward_manager",
        "+reward.reward_kwargs": {
            "timeout_s": pool.timeout_s,
            "max_retries": pool.max_retries,
            "wait_for_pool_s": pool.wait_for_pool_s,
            "settings_json": reward_settings(recipe).to_json(),
        },
    }


def _trainer(recipe: DapoRecipe, job: Job) -> Mapping[str, Any]:
    num_loops = num_message_actors(recipe)
    return {
        "trainer.use_v1": True,
        "trainer.v1.trainer_mode": "sync",
        "trainer.device": "cuda" if recipe.cluster.use_gpu else "cpu",
        "trainer.nnodes": job.num_nodes,
        "trainer.n_gpus_per_node": job.workers_per_node,
        "trainer.total_training_steps": job.total_steps,
        "trainer.total_epochs": job.epochs,
        "trainer.val_before_train": False,
        "trainer.test_freq": -1,
        "trainer.save_freq": recipe.checkpoint.every_steps,
        "trainer.max_actor_ckpt_to_keep": recipe.checkpoint.keep,
        "trainer.default_local_dir": str(job.directory / "checkpoints"),
        "trainer.resume_mode": "auto",
        "trainer.logger": [],
        "trainer.project_name": "medmo",
        "trainer.experiment_name": recipe.run.name,
        "reward.num_workers": num_loops,
        f"{ROLLOUT}.agent.num_workers": num_loops,
        **_queue(recipe),
    }


def _queue(recipe: DapoRecipe) -> Mapping[str, Any]:
    return {
        "transfer_queue.enable": True,
        "transfer_queue.backend.SimpleStorage.num_data_storage_units": num_message_actors(recipe),
        # Each unit is bound to one node for good: on a head without free CPUs it would wait for ever.
        "+transfer_queue.backend.SimpleStorage.required_node_resource": "GPU",
    }


def _engine_on_gpu() -> Mapping[str, Any]:
    return {
        f"{ROLLOUT}.enforce_eager": False,
        f"{ROLLOUT}.free_cache_engine": True,
        f"{ROLLOUT}.checkpoint_engine.update_weights_bucket_megabytes": WEIGHT_BUCKET_MB_GPU,
    }


def _engine_on_cpu() -> Mapping[str, Any]:
    return {
        f"{ACTOR}.use_torch_compile": False,
        f"{ACTOR}.fsdp_config.use_torch_compile": False,
        f"{ROLLOUT}.enforce_eager": True,
        # Nothing to hand back: trainer and vLLM have memory of their own.
        f"{ROLLOUT}.free_cache_engine": False,
        f"+{ROLLOUT}.enable_sleep_mode": False,
        f"{ROLLOUT}.checkpoint_engine.update_weights_bucket_megabytes": WEIGHT_BUCKET_MB_CPU,
        f"+{VLLM}.compilation_config": {"cudagraph_mode": "NONE"},
        f"+{VLLM}.skip_mm_profiling": True,
        # The engine's one worker lives in the engine's process; by its short name, "uni", vLLM replaces it on the CPU.
        f"+{VLLM}.distributed_executor_backend": "vllm.v1.executor.uniproc_executor.UniProcExecutor",
    }
