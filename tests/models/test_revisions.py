"""The commit of a base from the hub goes into what a run leaves; the hub is a made-up cache."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from peft import LoraConfig
from transformers import AutoConfig, AutoModelForCausalLM

from finelab.contracts.uri import resolve
from finelab.models import CausalLM
from finelab.models.backbone import Loading, load

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A cache that holds ``made/up`` with the branch ``main`` at a commit."""
    repository = tmp_path / "models--made--up"
    snapshot = repository / "snapshots" / COMMIT
    shutil.copytree(resolve("tiny://llama").path, snapshot)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(snapshot)).save_pretrained(snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return snapshot


@pytest.mark.parametrize("revision", [None, "main", COMMIT])
def test_a_branch_is_recorded_as_its_commit(revision, hub):
    assert load("made/up", "causal_lm", Loading(revision=revision)).revision == COMMIT


def test_a_folder_has_no_commit(hub):
    assert load(str(hub), "causal_lm", Loading()).revision is None
    assert load("tiny://llama", "causal_lm", Loading()).revision is None


def test_it_stands_in_the_checkpoint_and_the_same_base_is_loaded_under_another_name(hub, tmp_path):
    adapter = LoraConfig(r=2, target_modules="all-linear")
    module = CausalLM("made/up", adapter, torch.optim.SGD)
    module.configure_model()
    module.save_folder(tmp_path / "best")
    manifest = json.loads((tmp_path / "best" / "finelab.json").read_text())
    assert manifest["base_revision"] == COMMIT
    moved = Path(shutil.copytree(hub, tmp_path / "moved", symlinks=False))
    CausalLM(str(moved), adapter, torch.optim.SGD).load_folder(tmp_path / "best")
