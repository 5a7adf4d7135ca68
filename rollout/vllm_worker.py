"""What verl adds to a vLLM worker, with a witness of the weights that the worker holds.

vLLM's weights are what completions are sampled from, and they change only by verl's transfer. The witness looks at them
after each transfer, so that a transfer that brought nothing is seen at the step it happened.
"""

import json
import math
import os
import time
from pathlib import Path
from typing import Any

import torch
from verl.workers.rollout.vllm_rollout.utils import vLLMColocateWorkerExtension

from rollout import WEIGHT_REPORTS, cpu

SAMPLED = 16_384
"""Values of a parameter that are compared between two transfers, evenly spaced."""


class WatchedWorker(vLLMColocateWorkerExtension):
    """Named to vLLM by `engine_kwargs.vllm.worker_extension_cls`; becomes a base class of its worker."""

    def __new__(cls, **kwargs: Any) -> "WatchedWorker":
        if cpu.is_active():
            # vLLM packs a linear layer's weights for oneDNN and frees them; then no transfer could reach them.
            from vllm import _custom_ops

            _custom_ops._supports_onednn = False
        worker = super().__new__(cls, **kwargs)
        tied = kwargs["vllm_config"].model_config.hf_config.tie_word_embeddings
        worker._witness = WeightWitness(twice={"lm_head.weight"} if tied else set())
        return worker

    def update_weights_from_ipc(self, *args: Any, **kwargs: Any) -> None:
        """Receive the trainer's weights, then look at the weights held."""
        self._witness.begin()
        super().update_weights_from_ipc(*args, **kwargs)
        directory = os.environ.get(WEIGHT_REPORTS)
        if directory:
            report = self._witness.look(list(self.model_runner.model.parameters()))
            file = Path(directory) / f"replica-{os.environ.get('VERL_REPLICA_RANK', '0')}-rank-{self.rank}.jsonl"
            with file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps({**report, "time": time.time()}) + "\n")

    def _update_weights(self, weights: list[tuple[str, torch.Tensor]], **kwargs: Any) -> None:
        self._witness.receive(weights)
        super()._update_weights(weights, **kwargs)


class WeightWitness:
    """Remembers a sample of the weights, to say how far a transfer moved them.

    Args:
        twice: names that arrive beside the tensor that they share their values with.
    """

    def __init__(self, twice: set[str]) -> None:
        self.twice = twice
        self.num_transfers = 0
        self.received = 0.0
        self.before: torch.Tensor | None = None

    def begin(self) -> None:
        """A transfer begins."""
        self.received = 0.0

    def receive(self, weights: list[tuple[str, torch.Tensor]]) -> None:
        """Weights arrive, in buckets."""
        self.received += sum(_squares(tensor) for name, tensor in weights if name not in self.twice)

    def look(self, parameters: list[torch.Tensor]) -> dict[str, float]:
        """Look at the parameters held now.

        Returns:
            transfer: its number, from 1.
            change: L2 distance of the sampled values from those after the transfer before; NaN for the first.
            held: L2 norm of all parameters.
            received: L2 norm of all tensors that arrived; of the same weights, since packing and splitting keep it,
                where they are not cut over several workers.
        """
        now = torch.cat([_sample(parameter) for parameter in parameters])
        change = math.nan if self.before is None else float(torch.linalg.vector_norm(now - self.before))
        self.before = now
        self.num_transfers += 1
        held = math.sqrt(sum(_squares(parameter) for parameter in parameters))
        return {
            "transfer": self.num_transfers,
            "change": change,
            "held": held,
            "received": math.sqrt(self.received),
        }


def _sample(parameter: torch.Tensor) -> torch.Tensor:
    values = parameter.detach().reshape(-1)
    return values[:: max(1, values.numel() // SAMPLED)].float().cpu()


def _squares(tensor: torch.Tensor) -> float:
    return float(torch.linalg.vector_norm(tensor.detach(), dtype=torch.float64) ** 2)
