"""What `--dry-run` says of memory, beside what models take: term by term, on the CPU.

    python benchmarks/bench_preflight.py            # some minutes on one core

Random Qwen3-VL models of three sizes (0.2, 8 and 160 M parameters) are trained for one step each on batches of images and
text. Parameters, gradients and optimizer state are counted from the tensors themselves; `kept` from what autograd saves
for the backward pass, each storage once, parameters left out, and the batch; `activations` is the most that lives at once
beside parameters, from every tensor that an operation of either pass makes (gradients of weights go as soon as they are
whole; the head's waits for the embedding's). The predictions are `medmo_ray.config.memory`'s. `operations` are those of the
matrix products of a forward pass, counted by torch, beside `medmo_ray.config.architecture`'s without attention, which torch
does not count on a CPU.

`sharded`: the second of two micro-batches on two ranks that FSDP2 shards over (gloo): the most that lives at once beside
this rank's share of weights and gradients, what is gathered and exchanged included.

Not shown: what a GPU's allocator rounds and fragments, and workspaces of kernels (flash-attention, cuBLAS, NCCL).
"""

import argparse
import gc
import json
import tempfile
import weakref
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen3VLConfig

from medmo_ray.config.architecture import _of_config
from medmo_ray.config.memory import Arithmetic, MicroBatch, kept_bytes, moments, training_memory
from medmo_ray.config.model import ModelSettings
from medmo_ray.config.sft import OptimizerSettings, TuningSettings
from medmo_ray.model.answers import AnsweringQwen, score_answers
from medmo_ray.model.parts import choose_trained
from medmo_ray.model.patches import embed_patches_by_product
from medmo_ray.model.segments import attend_in_segments
from medmo_ray.model.shard import load_sharded
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
    Case("160M", "float32"),
)  # fmt: skip


class Live(TorchDispatchMode):
    """The most bytes at once of all tensors that operations made; FSDP2 empties and fills its own, so each is asked anew.

    Args:
        but: tensors that are not counted.
    """

    def __init__(self, but: Iterable[torch.Tensor] = ()) -> None:
        super().__init__()
        self.most = 0
        self._but = {tensor.untyped_storage() for tensor in but}
        self._seen: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(found):
            if isinstance(leaf, torch.Tensor) and not isinstance(leaf, DTensor):
                self._seen.add(leaf.untyped_storage())
        self.most = max(self.most, sum(storage.nbytes() for storage in self._seen if storage not in self._but))
        return found


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
    operations = _operations(model, batch, tuning)
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
    tokens, rows = micro.tokens / case.rows, case.rows
    products = rows * (sizes.language_flops(tokens, micro.learnt / rows) + sizes.vision_flops(case.side**2))
    products -= rows * 2 * sizes.num_layers * sizes.num_heads * sizes.head_dim * tokens**2
    products -= rows * 4 * sizes.vision_depth * sizes.vision_hidden_size * (4 * case.side**2) ** 2
    adapters = tuning.lora is not None  # small, and left out of plans
    pairs = pairs if adapters else {**pairs, "operations": (operations, products)}
    units = {name: 1e6 if name == "operations" else 2**20 for name in pairs}
    return {
        **asdict(case),
        "parameters_m": round(sizes.parameters / 1e6, 2),
        "tokens": micro.tokens,
        "patches": micro.patches,
        "measured_mib_or_mflop": {name: round(found / units[name], 3) for name, (found, _) in pairs.items()},
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
    with Live(but=[*model.parameters(), *batch_tensors(batch)]) as live:
        score_answers(model, cross_entropy=tuning.cross_entropy, **batch)["loss"].sum().backward()
    return kept + pixels, live.most + pixels


def _operations(model: AnsweringQwen, batch: dict[str, Any], tuning: TuningSettings) -> int:
    """Of the matrix products of a forward pass."""
    with torch.no_grad(), FlopCounterMode(display=False) as counted:
        score_answers(model, cross_entropy=tuning.cross_entropy, **batch)
    return counted.get_total_flops()


def sharded(recompute: bool, text: int) -> dict[str, Any]:
    """The 8 M model on two ranks, bfloat16 arithmetic; what rank 0 takes beside its share of weights and gradients."""
    with tempfile.TemporaryDirectory() as folder:
        build("8M").save_pretrained(folder)
        for name in ("tokenizer.json", "preprocessor_config.json"):  # looked for, not read
            Path(folder, name).write_text("{}")
        case, out = Case("8M", checkpointing=recompute, text=text), Path(folder, "out.json")
        mp.spawn(_rank, (Path(folder), case, out), nprocs=2)
        return json.loads(out.read_text(encoding="utf-8"))


def _rank(rank: int, folder: Path, case: Case, out: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'group'}", rank=rank, world_size=2)
    settings = ModelSettings(dtype="bfloat16", attention="sdpa")
    model = load_sharded(
        folder, settings, torch.device("cpu"), recompute=case.checkpointing, min_unit_parameters=10_000
    )
    batch = batch_of(model, case)
    model(**batch)["loss"].sum().backward()
    own = [weight.data.to_local() for weight in model.parameters()]
    own += [weight.grad.to_local() for weight in model.parameters()]
    with Live(but=[*own, *batch_tensors(batch)]) as live:
        model(**batch)["loss"].sum().backward()
    sizes, how = _of_config(model.config.to_dict()), Arithmetic(2, case.checkpointing, TuningSettings())
    micro = MicroBatch(batch["input_ids"].numel(), len(batch["learnt"]), len(batch["pixel_values"]))
    predicted = max(moments(sizes, how, micro), key=lambda moment: moment.total)
    most = live.most + batch["pixel_values"].nbytes
    if rank == 0:
        found = {
            "checkpointing": case.checkpointing, "tokens": micro.tokens, "fullest_at": predicted.when,
            "measured_mib": round(most / 2**20, 3), "error": round(predicted.total / most - 1, 4),
        }  # fmt: skip
        out.write_text(json.dumps(found))
    dist.destroy_process_group()


def batch_tensors(batch: dict[str, Any]) -> list[torch.Tensor]:
    """The tensors of a batch."""
    return [value for value in batch.values() if isinstance(value, torch.Tensor)]


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
    worst = {name: max((case["error"].get(name, 0) for case in found), key=abs) for name in found[0]["error"]}
    if given.size is None:
        ranks = [sharded(recompute, text) for recompute, text in ((True, 16), (False, 96))]
        worst["sharded"] = max((case["error"] for case in ranks), key=abs)
        result = {"limit": LIMIT, "largest_error": worst, "cases": found, "sharded": ranks}
        RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print("largest error:", worst)
    raise SystemExit(int(any(abs(error) > LIMIT for error in worst.values())))


if __name__ == "__main__":
    main()
