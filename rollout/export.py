"""From verl's sharded checkpoint to the Hugging Face directory that the next reader loads."""

import shutil
from pathlib import Path
from typing import Any

import torch
from torch.distributed.tensor import DTensor, Shard
from transformers import AutoConfig, Qwen3VLForConditionalGeneration

from medmo_ray.errors import TrainingError


def export_checkpoint(actor: Path, export: Path, dtype: str) -> None:
    """Write the weights of a checkpoint, with its configuration and processor.

    Args:
        actor: verl's directory of the trained model: one file a worker, and huggingface/ without weights.
        export: replaced as a whole when it is there.
        dtype: "bfloat16" or "float32".

    Raises:
        TrainingError: the checkpoint is not complete, or not of this model.
    """
    state = {name: tensor.to(getattr(torch, dtype)) for name, tensor in merged_state(actor).items()}
    config = AutoConfig.from_pretrained(actor / "huggingface")
    config.dtype = getattr(torch, dtype)
    with torch.device("meta"):
        model = Qwen3VLForConditionalGeneration(config)
    absent = sorted(set(model.state_dict()) ^ set(state))
    if absent:
        raise TrainingError(f"{actor} does not hold the weights of its config.json: {', '.join(absent[:3])} …")
    unfinished = export.with_name(f".{export.name}")
    for directory in (unfinished, export):
        shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(actor / "huggingface", unfinished)
    model.save_pretrained(unfinished, state_dict=state)
    unfinished.replace(export)


def merged_state(actor: Path) -> dict[str, torch.Tensor]:
    """The whole weights, from the shards of all workers.

    Args:
        actor: verl's directory of the trained model.

    Returns:
        Name → tensor, in the numeric form of training.

    Raises:
        TrainingError: a worker's file is missing.
    """
    files = sorted(actor.glob("model_world_size_*_rank_*.pt"), key=_rank)
    world_size = int(files[0].stem.split("_")[3]) if files else 0
    if [_rank(file) for file in files] != list(range(world_size)) or not files:
        raise TrainingError(
            f"{actor} holds {len(files)} of {world_size or '?'} workers' weights: checkpoints must be on a disk that all "
            "training nodes share"
        )
    shards = [torch.load(file, map_location="cpu", weights_only=False, mmap=True) for file in files]
    return {name: _merged([shard[name] for shard in shards]) for name in shards[0]}


def _rank(file: Path) -> int:
    return int(file.stem.rsplit("_", 1)[1])


def _merged(pieces: list[Any]) -> torch.Tensor:
    """One tensor from what each worker holds of it; replicas of it are equal."""
    first = pieces[0]
    if not isinstance(first, DTensor):
        return first
    placement = first.placements[-1]
    local = [piece.to_local() for piece in pieces]
    return torch.cat(local, placement.dim) if isinstance(placement, Shard) else local[0]
