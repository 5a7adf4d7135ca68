"""Where a run stands, read without loading a tensor.

checkpoints/step-00000500/        one file a rank (torch.distributed.checkpoint), rng-00000.pt …, state.json
checkpoints/step-00001000.part/   being written, or left behind by a kill; never read
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from medmo_ray.errors import ConfigError, TrainingError

FORMAT = 1
STATE_FILE = "state.json"
_EDGE_BYTES = 1 << 20


@dataclass(frozen=True)
class Progress:
    """Where a run stands, beside its tensors.

    Attributes:
        step: optimizer steps done.
        cursor: micro-batches of the plan that these steps consumed.
        plan: digest of the plan.
        model: fingerprint of the weights that the run started from.
        world_size: ranks that wrote the checkpoint; any number can read it.
        format: of the checkpoint.
    """

    step: int
    cursor: int
    plan: str
    model: str
    world_size: int
    format: int = FORMAT


def complete_checkpoints(directory: Path) -> list[Path]:
    """The complete checkpoints of a run, oldest first."""
    return sorted(path for path in directory.glob("step-*") if path.suffix != ".part")


def latest_checkpoint(directory: Path) -> tuple[Path, Progress] | None:
    """The last complete checkpoint of a run, None before the first.

    Raises:
        TrainingError: its state.json cannot be read.
    """
    complete = complete_checkpoints(directory)
    if not complete:
        return None
    file = complete[-1] / STATE_FILE
    try:
        return complete[-1], Progress(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, json.JSONDecodeError, TypeError) as error:
        raise TrainingError(
            f"{file} cannot be read ({error}): remove {complete[-1]} to go on from the checkpoint before"
        ) from error


def check_resumable(directory: Path, *, plan: str, model: str) -> Progress | None:
    """The last checkpoint's progress, None where there is none to resume.

    Args:
        directory: the run's checkpoints.
        plan: digest of this run's plan.
        model: fingerprint of the weights that this run starts from.

    Raises:
        ConfigError: it was written by another version, for another model or for another order of samples.
    """
    found = latest_checkpoint(directory)
    if found is None:
        return None
    path, progress = found
    for what, has, wanted in (
        ("format", progress.format, FORMAT),
        ("starting model", progress.model, model),
        ("plan of samples", progress.plan, plan),
    ):
        if has != wanted:
            raise ConfigError(
                f"{path} was written for another {what} ({has}, this run has {wanted}): it cannot be resumed. "
                "Give another run.name, or run.overwrite=true to start anew."
            )
    return progress


def fingerprint(model: Path) -> str:
    """Names the weights in a Hugging Face directory: its configuration, and size, head and tail of each weight file."""
    digest = hashlib.sha256((model / "config.json").read_bytes())
    for file in sorted(model.glob("*.safetensors")):
        size = file.stat().st_size
        digest.update(f"{file.name}:{size}".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(_EDGE_BYTES))
            stream.seek(max(0, size - _EDGE_BYTES))
            digest.update(stream.read())
    return digest.hexdigest()[:16]
