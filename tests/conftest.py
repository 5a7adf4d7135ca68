"""What tests share: where the repository and the real data are."""

import os
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
