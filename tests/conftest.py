"""Shared by all tests: one torch thread, no hub, the place of the shared data, and small made-up batches."""

import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch

torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("FINELAB_SHARED", ROOT.parent / "shared"))


def pytest_collection_modifyitems(items):
    """Workers that collect under different names refuse to start, and do not say it in a line."""
    if addressed := [item.nodeid for item in items if " at 0x" in item.nodeid]:
        raise pytest.UsageError(f"{addressed[0]} is named after an address, which differs in every process; give ids=.")


def shared_path(kind: str, name: str) -> Path:
    path = SHARED / kind / name
    if not path.exists():
        pytest.skip(f"{path} is not here; set FINELAB_SHARED to the folder that holds data/ and models/")
    return path


@pytest.fixture
def shared_data():
    """A real data set's folder by name; the test is skipped where it is absent."""
    return lambda name: shared_path("data", name)


@pytest.fixture
def shared_model():
    """A real model's folder by name; the test is skipped where it is absent."""
    return lambda name: shared_path("models", name)
