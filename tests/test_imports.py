"""Who may import whom: the tree keeps the contracts, and a planted violation of each is caught."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("contracts", "models", "data", "callbacks", "studies", "scripts", "configs")
LINT = Path(sys.executable).with_name("lint-imports")

pytestmark = pytest.mark.skipif(not LINT.exists(), reason="import-linter is not installed (pip install .[dev])")


@pytest.fixture
def tree(tmp_path):
    """A copy of the packages, seen as finelab."""
    package = tmp_path / "seen" / "finelab"
    for room in ROOMS:
        shutil.copytree(ROOT / room, package / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return package


def lint(tree: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(tree.parent)}
    return subprocess.run(
        [LINT, "--no-cache"], cwd=tree.parent.parent, env=environment, capture_output=True, text=True, check=False
    )


def test_the_tree_keeps_the_contracts(tree):
    result = lint(tree)
    assert result.returncode == 0, result.stdout
    assert "0 broken" in result.stdout


ROOMS_CONTRACT, LEAF, METHODS = "never the other way", "neither torch nor lightning", "named in YAML and tests only"
PLANTED = {
    "data/splits.py": ("from ..callbacks.standard import standard_callbacks", ROOMS_CONTRACT),
    "models/losses.py": ("from ..data import collate", ROOMS_CONTRACT),
    "callbacks/card.py": ("from ..scripts import cli", ROOMS_CONTRACT),
    "contracts/uri.py": ("from ..models import losses", ROOMS_CONTRACT),
    "contracts/seeds.py": ("import torch", LEAF),
    "models/regularizers/regularizer.py": ("from ..losses import token_nll", "regularizers -> contracts only"),
    "models/regularizers/rdrop.py": ("from ..adapters.adapter import Adapter", "regularizers -> contracts only"),
    "models/adapters/full.py": ("from ..regularizers.l2sp import L2SP", "adapters -> the protocol"),
    "models/finetuner.py": ("from .regularizers.rdrop import RDrop", METHODS),
    "callbacks/evaluation.py": ("from ..models.adapters.full import Full", METHODS),
    "studies/cell.py": ("from ..scripts import cli", "studies start runs as child processes"),
    "studies/scores.py": ("import torch", "studies start runs as child processes"),
}


@pytest.mark.parametrize("file", PLANTED)
def test_a_planted_violation_is_caught(tree, file):
    line, contract = PLANTED[file]
    target = tree / file
    target.write_text(f"{line}\n{target.read_text()}")
    result = lint(tree)
    assert result.returncode != 0, result.stdout
    broken = [line for line in result.stdout.splitlines() if line.partition(" (")[0].endswith("BROKEN")]
    assert any(contract in line for line in broken), result.stdout
