"""The platform that `rollout.cpu` registers: torch's CPU behind the interface that verl gives every accelerator."""

import resource
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import torch
import verl.utils.distributed
from verl.plugin.platform import PlatformBase, PlatformRegistry

from rollout.cpu import PLATFORM


class _Stream:
    """A stream on a device that has none: everything is done when the call returns."""

    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...
    def synchronize(self) -> None: ...
    def wait_stream(self, other: object) -> None: ...
    def wait_event(self, event: object) -> None: ...
    def record_event(self, event: object = None) -> object:
        return event


class _Event:
    def __init__(self, *_: object, **__: object) -> None: ...
    def record(self, *_: object) -> None: ...
    def wait(self, *_: object) -> None: ...
    def synchronize(self) -> None: ...
    def query(self) -> bool:
        return True

    def elapsed_time(self, other: object) -> float:
        return 0.0


def _nothing(*_: object, **__: object) -> None: ...


def _peak_bytes(*_: object) -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _resident_bytes(*_: object) -> int:
    return psutil.Process().memory_info().rss


def _free_and_total_bytes(*_: object) -> tuple[int, int]:
    memory = psutil.virtual_memory()
    return memory.available, memory.total


class _TorchCpu(types.ModuleType):
    """`torch.cpu` with what verl asks of `torch.cuda`. Memory is that of the process, so verl's memory metrics mean something."""

    Stream, Event = _Stream, _Event
    empty_cache = ipc_collect = synchronize = set_device = staticmethod(_nothing)
    reset_peak_memory_stats = set_per_process_memory_fraction = staticmethod(_nothing)
    manual_seed = manual_seed_all = staticmethod(torch.manual_seed)
    memory_allocated = memory_reserved = staticmethod(_resident_bytes)
    max_memory_allocated = max_memory_reserved = staticmethod(_peak_bytes)
    mem_get_info = staticmethod(_free_and_total_bytes)

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def device_count() -> int:
        return 1

    @staticmethod
    def current_device() -> torch.device:
        return torch.device("cpu")

    @staticmethod
    def get_device_name(*_: object) -> str:
        return "cpu"

    @staticmethod
    def get_rng_state(*_: object) -> torch.Tensor:
        return torch.get_rng_state()

    @staticmethod
    def set_rng_state(state: torch.Tensor, *_: object) -> None:
        torch.set_rng_state(state)

    @staticmethod
    def stream(*_: object) -> _Stream:
        return _Stream()

    current_stream = default_stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(torch.cpu, name)


class CpuPlatform(PlatformBase):
    """verl's platform interface for the CPU."""

    device_name = PLATFORM
    vendor_name = PLATFORM
    device_module = _TorchCpu("medmo_torch_cpu")

    def is_available(self) -> bool:
        return True

    def is_platform_available(self, use_smi_check: bool = False) -> bool:
        return False  # never found by probing: VERL_PLATFORM asks for it by name

    def current_device(self) -> torch.device:
        # Not an index: verl hands it to Tensor.to(), where 0 means the first GPU.
        return torch.device("cpu")

    def device_count(self) -> int:
        return 1

    def set_device(self, device_index: int) -> None: ...
    def synchronize(self, device_index: int | None = None) -> None: ...
    def manual_seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings: str) -> None: ...
    def empty_cache(self) -> None: ...
    def get_device_capability(self, device_index: int = 0) -> tuple[int | None, int | None]:
        return None, None

    def communication_backend_name(self) -> str:
        return "gloo"

    def visible_devices_envvar(self) -> str:
        return "CUDA_VISIBLE_DEVICES"

    @contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:
        yield

    def profiler_start(self) -> None: ...
    def profiler_stop(self) -> None: ...
    def ray_resource_name(self) -> str:
        # verl reserves one accelerator a training worker and counts "GPU" and "NPU" only, so that a node without any
        # declares logical ones.
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        return ["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"]

    def is_ipc_supported(self) -> bool:
        return False  # weights reach vLLM through POSIX shared memory

    def cudart(self) -> None: ...


def install() -> None:
    """Register the platform, and give verl a process group that torch accepts.

    verl asks torch for the backend "cpu:gloo,<device>:<backend>", which on the CPU names one device twice.
    """
    PlatformRegistry.register(PLATFORM)(CpuPlatform)
    initialize = verl.utils.distributed.initialize_global_process_group_ray

    def initialize_on_cpu(timeout_second: int | None = None, backend: str | None = None) -> None:
        initialize(timeout_second, backend or "cpu:gloo")

    verl.utils.distributed.initialize_global_process_group_ray = initialize_on_cpu
