"""POSIX shared memory that a killed run leaves behind: verl's weight buckets and vLLM's message queues."""

from pathlib import Path

SHM = Path("/dev/shm")
PREFIXES = ("verl_weights_", "psm_")


def sweep_shared_memory(since: float, shm: Path = SHM) -> list[str]:
    """Remove segments that were made after `since` and that no process has open.

    Args:
        since: seconds since the epoch; the start of the run.
        shm: directory of the segments.

    Returns:
        Names of what was removed.
    """
    segments = [file for prefix in PREFIXES for file in shm.glob(f"{prefix}*") if _changed(file) >= since]
    in_use = _mapped_files() if segments else set()
    removed = []
    for file in segments:
        if str(file) not in in_use:
            file.unlink(missing_ok=True)
            removed.append(file.name)
    return removed


def _changed(file: Path) -> float:
    try:
        return file.stat().st_ctime
    except FileNotFoundError:
        return 0.0


def _mapped_files() -> set[str]:
    """Files that a process of this machine has mapped, as far as this user may know."""
    mapped: set[str] = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        try:
            lines = maps.read_text(encoding="utf-8", errors="replace").splitlines()
        except (PermissionError, FileNotFoundError, ProcessLookupError):
            continue
        mapped.update(path for text in lines if (path := text[text.find("/") :]).startswith(f"{SHM}/"))
    return mapped
