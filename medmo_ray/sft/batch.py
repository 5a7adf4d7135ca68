"""A micro-batch on the device of its rank."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from medmo_ray.model.processor import Colours
from medmo_ray.stream.batch import probe_arrays
from medmo_ray.stream.flat import Arrays
from medmo_ray.stream.images import pixel_values
from medmo_ray.stream.render import IGNORED


@dataclass(frozen=True)
class DeviceBatch:
    """Inputs of the model and what its answers are compared with.

    Attributes:
        inputs: keyword arguments of Qwen3-VL's forward.
        targets: int64 [N, K], of the K positions for which logits are computed.
        ids: samples in it.
        skipped: pairs of id and reason.
        num_targets: tokens that are learnt from.
        num_tokens: tokens without padding.
        num_positions: tokens with padding.
    """

    inputs: dict[str, Any]
    targets: torch.Tensor
    ids: list[str]
    skipped: list[tuple[str, str]]
    num_targets: int
    num_tokens: int
    num_positions: int


def to_device(arrays: Arrays, device: torch.device, colours: Colours) -> DeviceBatch:
    """Copy a micro-batch to the device and normalise its pixels there.

    Logits are asked for only where some row has a target: with a vocabulary of 150,000 they are most of the memory.
    """
    facts = json.loads(arrays["facts"].tobytes())
    tokens, targets = torch.tensor(arrays["tokens"]).long(), torch.tensor(arrays["targets"]).long()
    lengths = torch.tensor(arrays["lengths"])
    kept = (targets != IGNORED).any(dim=0).nonzero().flatten()
    if len(kept) == 0:
        kept = torch.zeros(1, dtype=torch.long)
    mask = torch.arange(tokens.shape[1]) < lengths[:, None]
    inputs = {
        "input_ids": tokens,
        "attention_mask": mask.long(),
        "position_ids": torch.tensor(arrays["positions"]).long(),
        "image_grid_thw": torch.tensor(arrays["grid"]).long(),
        "logits_to_keep": kept,
    }
    moved: dict[str, Any] = {name: value.to(device, non_blocking=True) for name, value in inputs.items()}
    patches = torch.tensor(arrays["patches"]).to(device, non_blocking=True)
    moved["pixel_values"] = pixel_values(patches, colours.mean, colours.std)
    return DeviceBatch(
        inputs={**moved, "use_cache": False},
        targets=targets[:, kept].to(device),
        ids=facts["ids"],
        skipped=[(name, reason) for name, reason in facts["skipped"]],
        num_targets=int((targets != IGNORED).sum()),
        num_tokens=int(lengths.sum()),
        num_positions=tokens.numel(),
    )


def probe_of(model: Path, device: torch.device, colours: Colours) -> Callable[[nn.Module], torch.Tensor]:
    """A fixed batch as a question to a model: the log probabilities [K, V] that it answers with.

    Two models that answer alike here have the same weights in the same places: the batch passes through the vision tower,
    DeepStack and the language model.
    """
    batch = to_device(probe_arrays(model), device, colours)

    @torch.no_grad()
    def probe(asked: nn.Module) -> torch.Tensor:
        training = asked.training
        answer = asked.eval()(**batch.inputs).logits.float().log_softmax(-1)
        asked.train(training)
        return answer

    return probe
