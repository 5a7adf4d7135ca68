"""Spread a Qwen3-VL over all workers with FSDP2: each holds a share of the weights and gathers a layer when it is its turn."""

from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.nn.functional import linear
from transformers import AutoConfig, Qwen3VLForConditionalGeneration

from medmo_ray.config.model import ModelSettings
from medmo_ray.model.load import attention_of, load_model

MIN_UNIT_PARAMETERS = 1_000_000
"""A layer smaller than this is gathered with the whole model: its own collective would cost more than it saves."""


def load_sharded(
    path: Path,
    settings: ModelSettings,
    device: torch.device,
    *,
    recompute: bool,
    min_unit_parameters: int = MIN_UNIT_PARAMETERS,
) -> FSDPModule:
    """Load a model onto all ranks at once; collective.

    Rank 0 reads the checkpoint and hands every rank its share, so the others never hold the whole. Weights and optimizer
    state are float32; with `settings.dtype` bfloat16 the arithmetic and the gathered weights are bfloat16, and gradients
    are summed in float32.

    Args:
        path: a Hugging Face directory.
        settings: numeric form and attention.
        device: where this rank trains.
        recompute: drop activations in the forward pass and compute them again in the backward pass.
        min_unit_parameters: least size of a layer that is gathered by itself.

    Returns:
        A `Qwen3VLForConditionalGeneration` in training mode.
    """
    whole = load_model(path, settings.model_copy(update={"dtype": "float32"})) if dist.get_rank() == 0 else None
    config = AutoConfig.from_pretrained(path, attn_implementation=attention_of(settings.attention))
    with torch.device("meta"):
        model = Qwen3VLForConditionalGeneration(config).to(torch.float32)
    _embed_patches_by_product(model)
    _shard(model, settings.dtype, device, min_unit_parameters)
    model.to_empty(device=device)
    model.tie_weights()
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True, cpu_offload=False)
    set_model_state_dict(model, {} if whole is None else whole.state_dict(), options=options)
    _copy_buffers(model, whole, device)
    model.config.use_cache = False
    if recompute:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model.train()


def _embed_patches_by_product(model: Qwen3VLForConditionalGeneration) -> None:
    """Patches do not overlap, so Qwen's Conv3d over them is a matrix product, and one is faster (3 times on a CPU)."""
    embed = model.model.visual.patch_embed

    def forward(patches: torch.Tensor) -> torch.Tensor:
        weight = embed.proj.weight
        return linear(patches.to(weight.dtype), weight.flatten(1), embed.proj.bias)

    embed.forward = forward


def _shard(model: Qwen3VLForConditionalGeneration, dtype: str, device: torch.device, min_unit: int) -> None:
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    policy = MixedPrecisionPolicy()
    if dtype == "bfloat16":
        policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    visual, language = model.model.visual, model.model.language_model
    for unit in (*visual.blocks, visual, *language.layers):
        if _num_parameters(unit) >= min_unit:
            fully_shard(unit, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)


def _copy_buffers(model: nn.Module, whole: nn.Module | None, device: torch.device) -> None:
    """Rotary frequencies are in no checkpoint: take them from the model that was loaded."""
    source = dict(whole.named_buffers()) if whole is not None else {}
    for name, buffer in model.named_buffers():
        if name in source:
            buffer.copy_(source[name])
        dist.broadcast(buffer, src=0)


def _num_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
