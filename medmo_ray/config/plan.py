"""What a run will do, cost and need, with the arithmetic behind each number: printed by `--dry-run`.

Everything here is standard-library arithmetic on the recipe, the corpus manifest where there is one, and stated tables
(`architecture.py`, `memory.py`, `hardware.py`); nothing is loaded and no cluster is asked.
"""

import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medmo_ray.config.architecture import Architecture
from medmo_ray.config.base import ClusterSettings, RunSettings
from medmo_ray.config.hardware import ACCELERATORS, HEADROOM, this_machine
from medmo_ray.config.memory import GIB, Memory
from medmo_ray.errors import ConfigError

ASSUMED_MFU = 0.35
"""Share of peak arithmetic that plans count on; measured runs report their own."""


@dataclass
class Plan:
    """Lines to print, and what stands in the way.

    Attributes:
        lines: (label, value, how it was computed) in print order.
        lacks: what this machine does not have; the run may still be right for its cluster.
        impossible: why the recipe cannot run anywhere as stated, each with the nearest change that would.
    """

    title: str
    lines: list[tuple[str, str, str]] = field(default_factory=list)
    lacks: list[str] = field(default_factory=list)
    impossible: list[str] = field(default_factory=list)

    def add(self, label: str, value: str, how: str = "") -> None:
        self.lines.append((label, value, how))

    def text(self) -> str:
        label_width = max((len(label) for label, _, _ in self.lines), default=0)
        value_width = max((len(value) for _, value, how in self.lines if how), default=0)
        rows = [f"  {label:<{label_width}}  {value:<{value_width}}  {how}".rstrip() for label, value, how in self.lines]
        out = [f"# the plan: {self.title}", *rows, ""]
        if self.lacks:
            out += ["# what this machine lacks", *(f"  - {lack}" for lack in self.lacks), ""]
        if self.impossible:
            out += ["# why this cannot run as stated", *(f"  - {reason}" for reason in self.impossible), ""]
        if not self.lacks and not self.impossible:
            out.append("Nothing stands in the way on this machine.")
        return "\n".join(out)

    def extend(self, other: "Plan") -> None:
        """Append another plan under its title."""
        self.lines += [("", "", ""), (other.title, "", ""), *other.lines]
        self.lacks += [lack for lack in other.lacks if lack not in self.lacks]
        self.impossible += [f"{other.title}: {reason}" for reason in other.impossible]


def resolve(path: str | Path) -> Path:
    """An absolute path; a relative one starts from MEDMO_HOME, else from the working directory.

    A job that `ray job submit` sent runs in a temporary copy of the code, where results would be lost. There relative
    paths start from the checkout whose `.venv/bin/python` runs the job (it names itself in MEDMO_CHECKOUT).

    Raises:
        ConfigError: a relative path in such a copy, and nothing says where it starts.
    """
    if Path(path).is_absolute():
        return Path(path)
    start = os.environ.get("MEDMO_HOME")
    if not start and "_ray_pkg_" in str(Path.cwd()):
        start = os.environ.get("MEDMO_CHECKOUT")
        if not start:
            raise ConfigError(
                f"{path} is relative, and this job runs in Ray's temporary copy of the code, which is deleted: give an absolute "
                "run.root on storage that every node sees, or set MEDMO_HOME in the job's environment"
            )
    return (Path(start or Path.cwd()) / path).absolute()


def run_directory(run: RunSettings) -> Path:
    """Directory of a run, absolute."""
    return resolve(run.root) / run.name


def read_manifest(corpus: Path) -> dict[str, Any] | None:
    """The manifest of a corpus as plain values; None where none was built yet."""
    try:
        manifest = json.loads((corpus / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return None
    return manifest if isinstance(manifest, dict) else None


def shape_lines(plan: Plan, architecture: Architecture | None, path: str | None) -> None:
    """The model's size."""
    if architecture is None:
        plan.add("model", path or "the export of the stage before", "sizes are known once it exists")
        return
    plan.add(
        "model",
        f"{architecture.name}, {architecture.parameters / 1e9:.3f} B parameters",
        f"text {architecture.text_parameters / 1e9:.3f} B + vision {architecture.vision_parameters / 1e9:.3f} B",
    )


def memory_lines(plan: Plan, memory: Memory) -> None:
    """Memory of a GPU and its terms."""
    terms = {
        "parameters": memory.parameters, "gradients": memory.gradients, "optimizer": memory.optimizer,
        "in flight": memory.in_flight, "activations": memory.activations,
    }  # fmt: skip
    written = " + ".join(f"{name} {value / GIB:.1f}" for name, value in terms.items())
    plan.add("memory per GPU", f"{memory.total / GIB:.1f} GiB", f"{written}; fullest at: {memory.when}")


def hardware_lines(plan: Plan, cluster: ClusterSettings, memory_gib: float | None, flops: float | None) -> None:
    """GPUs, memory against what the hardware has, hours and cost; then what this machine lacks."""
    kind = cluster.hardware
    card = ACCELERATORS.get(kind) if cluster.use_gpu else None
    if not cluster.use_gpu:
        plan.add("workers", f"{cluster.num_workers} on the CPU", f"{cluster.cpus_per_worker:g} cores each")
    else:
        plan.add("GPUs", f"{cluster.num_workers} × {kind}", "cluster.num_workers × cluster.hardware")
    if memory_gib is not None and card is not None:
        share = f"estimate; {HEADROOM:.0%} are left to the driver, communication and fragmentation, an assumption"
        plan.add("  of the card", f"{memory_gib / card.memory_gib:.0%} of {card.memory_gib:g} GiB", share)
    if flops is not None and card is not None:
        hours = flops / (card.bf16_tflops * 1e12 * ASSUMED_MFU * cluster.num_workers) / 3600
        how = f"{flops:.3g} FLOP at {ASSUMED_MFU:.0%}, an assumption, of {card.bf16_tflops:g} TFLOP/s ({card.source})"
        plan.add("time", f"{hours:,.1f} h", how)
        plan.add("GPU hours", f"{hours * cluster.num_workers:,.0f}")
        if cluster.price_per_gpu_hour is not None:
            cost = hours * cluster.num_workers * cluster.price_per_gpu_hour
            plan.add("cost", f"{cost:,.0f}", f"GPU hours × price_per_gpu_hour={cluster.price_per_gpu_hour:g}")
    _machine_lacks(plan, cluster)


def fits(memory_gib: float, hardware: str) -> bool:
    """Whether a GPU's memory is enough, with headroom."""
    return memory_gib <= (1 - HEADROOM) * ACCELERATORS[hardware].memory_gib


def _machine_lacks(plan: Plan, cluster: ClusterSettings) -> None:
    machine = this_machine()
    if cluster.use_gpu and machine.num_gpus < cluster.num_workers:
        reached = cluster.address or os.environ.get("RAY_ADDRESS")
        where = f"the cluster at {reached} must have them" if reached else "submit it to a cluster (`ray job submit`)"
        plan.lacks.append(
            f"GPUs: the recipe asks for {cluster.num_workers}, this machine has {machine.text()}; {where}, "
            "or rehearse on the CPU with recipes/rehearsal/"
        )


def path_lacks(plan: Plan, model: str | None, model_default: Path | None, corpus: Path) -> None:
    """A model or a corpus that is not on this machine."""
    if model is None and model_default is not None and not (model_default / "config.json").is_file():
        plan.lacks.append(
            f"the model of the stage before: {model_default} has no config.json; run that stage, or set model.path"
        )
    if model is not None and not Path(model).exists() and model.count("/") != 1:
        plan.lacks.append(f"the model: there is no {model}; set model.path to a Hugging Face directory or name")
    if not (corpus / "manifest.json").is_file():
        plan.lacks.append(f"the corpus: {corpus} has no manifest.json; build it with jobs/build_corpus.py")


def count(number: float) -> str:
    """A count with thousands separators; `unknown` for not-a-number."""
    return "unknown" if math.isnan(number) else f"{number:,.0f}"
