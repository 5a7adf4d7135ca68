"""The learning rate of every step, and which weights decay."""

import math

import torch
from torch import nn

from medmo_ray.config.sft import OptimizerSettings


def learning_rate(step: int, num_steps: int, settings: OptimizerSettings) -> float:
    """Rate of an optimizer step: a linear rise over the warm-up, then half a cosine down towards 0.

    It is a function of the step alone, so there is no scheduler state to save.

    Args:
        step: 0-based.
        num_steps: of the whole stage.
        settings: peak, warm-up share and shape.

    Source: supplementary 2.4 (warm-up of 10 % of the steps) and tables 1 to 3 (cosine decay).
    """
    warmup = math.ceil(settings.warmup_share * num_steps)
    if step < warmup:
        return settings.lr * (step + 1) / warmup
    if settings.schedule == "constant":
        return settings.lr
    return settings.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, num_steps - warmup)))


def adamw(model: nn.Module, settings: OptimizerSettings) -> torch.optim.AdamW:
    """AdamW over a sharded model; weight decay pulls on matrices, not on norms and biases.

    Shrinking a norm's scale or a bias towards 0 regularises nothing and costs stability; transformers' Trainer leaves
    them out as well.
    """
    matrices = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=settings.lr, betas=settings.betas, eps=settings.eps, fused=True)
