"""What `--dry-run` says of memory, beside what models take: term by term, on the CPU.

    python benchmarks/bench_preflight.py            # some minutes on one core

Random Qwen3-VL models of three sizes (0.2, 8 and 160 M parameters) are trained for one step each on batches of images and
text. Parameters, gradients and optimizer state are counted from the tensors themselves; `kept` from what autograd saves
for the backward pass, each storage once, parameters left out, and the batch; `activations` is the most that lives at once
beside parameters, from every tensor that an operation of either pass makes (gradients of weights go as soon as they are
whole; the head's waits for the embedding's). The predictions are `medmo_ray.config.memory`'s.

Not shown: what a GPU's allocator rounds and fragments, workspaces of kernels (flash-attention, cuBLAS, NCCL), and what FSDP2
gathers (`in_flight`), which one process on a CPU has none of.
"""

import argparse
import gc
import json
import weakref
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import Qwen3VLConfig

from medmo_ray.config.architecture import _of_config
from medmo_ray.config.memory import Arithmetic, MicroBatch, kept_bytes, moments, training_memory
from medmo_ray.config.sft import OptimizerSettings, TuningSettings
from medmo_ray.model.answers import AnsweringQwen, score_answers
from medmo_ray.model.parts import choose_trained
from medmo_ray.model.patches import embed_patches_by_product
from medmo_ray.model.segments import attend_in_segments
from medmo_ray.sft.schedule import adamw

RESULT = Path(__file__).parent / "results" / "preflight.json"
LIMIT = 0.15
"""Largest error of a term, as a share of what was measured."""

SIZES = {
    "0.2M": (64, 128, 3, 4, 2, 32, 1024, 64, 128, 3),
    "8M": (256, 768, 6, 8, 2, 32, 4096, 128, 512, 4),
    "160M": (768, 2048, 12, 12, 4, 64, 32768, 512, 2048, 12),
}
"""Hidden and inner width, layers, heads, key heads and their width, vocabulary; the tower's two widths and its depth."""


@dataclass(frozen=True)
class Case:
    """One step: a model, a batch of `rows` samples with one image of `side`² tokens and up to `text` tokens each, and how."""

    size: str
    dtype: str = "bfloat16"
    checkpointing: bool = True
    rows: int = 2
    side: int = 8
    text: int = 96
    shortest: int | None = None
    packed: bool = False
    tuning: dict[str, Any] = field(default_factory=dict)


CASES = (
    *(Case(size, dtype, recompute) for size in ("0.2M", "8M") for dtype in ("bfloat16", "float32") for recompute in (False, True)),
    *(Case("8M", checkpointing=recompute, side=16, text=length) for recompute in (False, True) for length in (64, 512)),
    Case("8M", rows=4, shortest=32),
    Case("8M", rows=4, shortest=32, packed=True),
    Case("8M", checkpointing=False, rows=4, shortest=32, packed=True),
    Case("8M", text=1400, tuning={"cross_entropy": "chunked"}),
    Case("8M", checkpointing=False, tuning={"frozen": ["vision", "projector"]}),
    Case("8M", checkpointing=False, tuning={"lora": {"rank": 16}}),
    Case("8M", tuning={"lora": {"rank": 16}}),
    Case("160M", checkpointing=False),
    Case("160M"),
    Case("160M", side=12, text=200),
    Case("160M", "float32"),
)  # fmt: skip


class Live(TorchDispatchMode):
    """The bytes of all tensors that operations made and that are still there, and the most of them at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._seen: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        known = {leaf.untyped_storage() for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)}
        found = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(found):
            if isinstance(leaf, torch.Tensor):
                storage = leaf.untyped_storage()
                if storage not in self._seen and storage not in known:
                    self._seen.add(storage)
                    self.now += storage.nbytes()
                    self.most = max(self.most, self.now)
                    weakref.finalize(storage, self._free, storage.nbytes())
        return found

    def _free(self, count: int) -> None:
        self.now -= count


def build(size: str) -> AnsweringQwen:
    """A random Qwen3-VL in float32."""
    hidden, inner, layers, heads, keys, head, vocab, width, wide, depth = SIZES[size]
    part = head // 2 // 3
    turns = {"mrope_interleaved": True, "mrope_section": [head // 2 - 2 * part, part, part]}
    text = {
        "vocab_size": vocab, "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": keys, "head_dim": head, "tie_word_embeddings": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, **turns},
    }  # fmt: skip
    vision = {
        "depth": depth, "hidden_size": width, "intermediate_size": wide, "num_heads": width // 32,
        "out_hidden_size": hidden, "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1, 2],
    }  # fmt: skip
    config = Qwen3VLConfig(
        text_config=text, vision_config=vision, tie_word_embeddings=True, image_token_id=vocab - 1,
        video_token_id=vocab - 2, vision_start_token_id=vocab - 3, vision_end_token_id=vocab - 4, attn_implementation="sdpa",
    )  # fmt: skip
    torch.manual_seed(0)
    model = AnsweringQwen(config)
    embed_patches_by_product(model)
    return model


def batch_of(model: AnsweringQwen, case: Case) -> dict[str, Any]:
    """Inputs as training gives them: all text of a sample is learnt."""
    vocab, image = model.config.text_config.vocab_size, case.side**2
    texts = [case.text if row == 0 else case.shortest or case.text for row in range(case.rows)]
    lengths = [1 + image + text for text in texts]
    rows = 1 if case.packed else case.rows
    starts = [sum(lengths[:row]) if case.packed else row * max(lengths) for row in range(case.rows)]
    ids = torch.zeros(sum(lengths) if case.packed else rows * max(lengths), dtype=torch.int64)
    learnt = []
    for start, length, text in zip(starts, lengths, texts, strict=True):
        ids[start : start + length] = torch.randint(0, vocab - 8, (length,))
        ids[start + 1 : start + 1 + image] = vocab - 1
        learnt.append(torch.arange(start + length - text - 1, start + length - 1))
    count = torch.cat([torch.arange(length) for length in lengths]) if case.packed else torch.arange(max(lengths))
    positions = count.expand(4 if case.packed else 3, rows, -1).contiguous()
    place = torch.cat(learnt)
    return {
        "input_ids": ids.view(rows, -1), "position_ids": positions,
        "image_grid_thw": torch.tensor([[1, 2 * case.side, 2 * case.side]] * case.rows),
        "pixel_values": torch.randn(case.rows * 4 * image, 1536), "use_cache": False, "learnt": place,
        "targets": ids[place + 1], "segments": lengths if case.packed else None,
    }  # fmt: skip


def measured(case: Case) -> dict[str, Any]:
    """Train one step; what it took and what was predicted, in bytes."""
    model, tuning = build(case.size), TuningSettings.model_validate(case.tuning)
    choose_trained(model, tuning)
    sizes = _of_config(model.config.to_dict())
    assert sizes is not None
    state = _state(model, tuning)
    dtype = getattr(torch, case.dtype)
    for weight in model.parameters():  # as FSDP2 hands them out; buffers stay float32
        weight.data = weight.data.to(dtype)
    if case.packed:
        attend_in_segments(model)
    if case.checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    batch = batch_of(model.train(), case)
    kept, most = _passes(model, batch, tuning)
    how = Arithmetic(dtype.itemsize, case.checkpointing, tuning)
    micro = MicroBatch(batch["input_ids"].numel(), len(batch["learnt"]), len(batch["pixel_values"]))
    said = training_memory(sizes, how, micro, 1)
    pairs = {
        "parameters": (state["parameters"], said.parameters),
        "gradients": (state["gradients"], said.gradients),
        "optimizer": (state["optimizer"], said.optimizer),
        "kept": (kept, kept_bytes(sizes, how, micro)),
        "activations": (most, max(moment.waiting + moment.activations for moment in moments(sizes, how, micro))),
    }
    return {
        **asdict(case),
        "parameters_m": round(sizes.parameters / 1e6, 2),
        "tokens": micro.tokens,
        "patches": micro.patches,
        "measured_mib": {name: round(found / 2**20, 3) for name, (found, _) in pairs.items()},
        "error": {name: round(predicted / found - 1, 4) for name, (found, predicted) in pairs.items()},
    }


def _state(model: AnsweringQwen, tuning: TuningSettings) -> dict[str, int]:
    """Bytes of parameters, gradients and optimizer state after a step of the project's AdamW in float32."""
    optimizer = adamw(model, OptimizerSettings(), tuning)
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    for weight in trained:
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    moments = [value for state in optimizer.state.values() for value in state.values()]
    found = {
        "parameters": sum(weight.nbytes for weight in model.parameters()),
        "gradients": sum(weight.grad.nbytes for weight in trained if weight.grad is not None),
        "optimizer": sum(value.nbytes for value in moments),
    }
    optimizer.zero_grad()
    return found


def _passes(model: AnsweringQwen, batch: dict[str, Any], tuning: TuningSettings) -> tuple[int, int]:
    """Bytes kept at the end of the forward pass, and the most at once in both; gradients go as soon as they come."""
    for weight in model.parameters():
        if weight.requires_grad:
            weight.register_post_accumulate_grad_hook(lambda ready: setattr(ready, "grad", None))
    pixels = batch["pixel_values"].nbytes
    own = {weight.untyped_storage() for weight in model.parameters()}
    held: set[torch.UntypedStorage] = set()

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage() not in own and tensor.untyped_storage() != batch["pixel_values"].untyped_storage():
            held.add(tensor.untyped_storage())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = score_answers(model, cross_entropy=tuning.cross_entropy, **batch)["loss"].sum()
    kept = sum(storage.nbytes() for storage in held)
    held.clear()
    del loss
    gc.collect()
    with Live() as live:
        score_answers(model, cross_entropy=tuning.cross_entropy, **batch)["loss"].sum().backward()
    return kept + pixels, live.most + pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, help="only this model, and nothing is written")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = []
    for case in CASES:
        if given.size in (None, case.size):
            found.append(measured(case))
            print(case, found[-1]["tokens"], found[-1]["error"], flush=True)
    worst = {name: max((case["error"][name] for case in found), key=abs) for name in found[0]["error"]}
    print("largest error:", worst)
    if given.size is None:
        RESULT.write_text(json.dumps({"limit": LIMIT, "largest_error": worst, "cases": found}, indent=1) + "\n")
    raise SystemExit(int(any(abs(error) > LIMIT for error in worst.values())))


if __name__ == "__main__":
    main()
