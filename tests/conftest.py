"""What the machine must have for a test: missing means skipped with the reason, and failed in CI."""

import os
import shutil

import pytest
import torch

NEEDS = {
    "browser": (lambda: shutil.which("chromium") or shutil.which("google-chrome"), "Chromium is not installed"),
    "sandbox": (lambda: shutil.which("bwrap"), "bubblewrap is not installed"),
}


def pytest_configure(config: pytest.Config) -> None:
    # Threads that wait for one another on a busy core make small networks a hundred times slower.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker, (found, reason) in NEEDS.items():
        if item.get_closest_marker(marker) and not found():
            if os.environ.get("CI") == "true":
                pytest.fail(f"{reason}, and in CI it must be")
            pytest.skip(f"{reason}: `kshot doctor` says how")
    if item.get_closest_marker("omniglot"):
        from kshot.data import OMNIGLOT_FILE, data_folder

        if not (data_folder() / OMNIGLOT_FILE).exists():
            pytest.skip("Omniglot is not in the data folder: `kshot data omniglot` downloads it")


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)
