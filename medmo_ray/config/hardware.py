"""What plans know of machines: accelerators by name, and what this machine has. No heavy import."""

import os
from dataclasses import dataclass
from pathlib import Path

HEADROOM = 0.1
"""Share of a card that plans leave to the driver, communication buffers and fragmentation: an assumption."""


@dataclass(frozen=True)
class Accelerator:
    """Vendor figures of one accelerator.

    Attributes:
        memory_gib: high-bandwidth memory, GiB.
        bf16_tflops: dense bfloat16 peak, TFLOP/s, without sparsity.
        source: the vendor's document that both figures are from.
    """

    memory_gib: float
    bf16_tflops: float
    source: str


ACCELERATORS: dict[str, Accelerator] = {
    "MI210": Accelerator(64, 181, "AMD Instinct MI210 data sheet"),
    "A100-40": Accelerator(40, 312, "NVIDIA A100 data sheet, SXM 40 GB"),
    "A100-80": Accelerator(80, 312, "NVIDIA A100 data sheet, SXM 80 GB"),
    "H100": Accelerator(80, 989, "NVIDIA H100 data sheet, SXM, half of the figure with sparsity"),
    "H200": Accelerator(141, 989, "NVIDIA H200 data sheet, SXM, half of the figure with sparsity"),
    "MI300X": Accelerator(192, 1307, "AMD Instinct MI300X data sheet"),
}


@dataclass(frozen=True)
class Machine:
    """What the machine that prints the plan has."""

    num_gpus: int
    num_cores: int
    memory_gib: float

    def text(self) -> str:
        gpus = f"{self.num_gpus} GPU{'s' if self.num_gpus != 1 else ''}" if self.num_gpus else "no GPU"
        return f"{gpus}, {self.num_cores} cores, {self.memory_gib:.0f} GiB of memory"


def this_machine() -> Machine:
    """Look at device files and /proc, which takes milliseconds; neither torch nor a driver library is loaded."""
    nvidia = list(Path("/dev").glob("nvidia[0-9]*"))
    amd = list(Path("/sys/class/kfd/kfd/topology/nodes").glob("*/mem_banks/0")) if Path("/dev/kfd").exists() else []
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Machine(len(nvidia) or len(amd), len(os.sched_getaffinity(0)), memory_bytes / 2**30)
