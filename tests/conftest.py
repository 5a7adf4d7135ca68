"""What tests share: where the repository and the real data are."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).parents[1]

# Two cores are oversubscribed quickly; set before numpy or torch are imported by any test.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

# A deadline per example measures the machine: the first example pays for imports, and the cores are shared.
settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real data sets: MEDMO_TEST_DATA, else ../shared/data beside the repository."""
    folder = Path(os.environ.get("MEDMO_TEST_DATA") or REPOSITORY.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is not there (set MEDMO_TEST_DATA)")
    return folder


@pytest.fixture(scope="session")
def real_folder(real_data: Path) -> Callable[[str], Path]:
    """The folder of one real data set by its name; a test that asks for one that is absent is skipped with the reason."""

    def find(name: str) -> Path:
        if not (real_data / name).is_dir():
            pytest.skip(f"no real data: {real_data / name} is not there")
        return real_data / name

    return find


_STATUS = pytest.StashKey[int]()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[_STATUS] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End at once, with pytest's status, a process that Ray and torch were loaded into.

    Once all is reported, what is left is the shutting down and unloading of native libraries, in an order that is not ours; it
    has been seen to crash there, after the last test had passed. Every Ray was shut down by the fixture that started it.
    """
    if _STATUS in config.stash and {"ray", "torch"} <= sys.modules.keys():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(config.stash[_STATUS])
