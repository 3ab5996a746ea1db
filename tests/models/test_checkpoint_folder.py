"""What a checkpoint folder holds, and everything that it must not be loaded from or into."""

import json
import os
import pickle

import pytest
import torch
from peft import PromptTuningConfig
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from finelab.contracts.errors import UserError
from finelab.contracts.uri import resolve
from finelab.models import CausalLM, SequenceClassifier
from finelab.models.adapters import Full, LinearProbe

from .made_up_targets import LABELS, lora


def built(sgd, adapter=None, **options):
    module = SequenceClassifier("tiny://bert", adapter or lora(), sgd, labels=LABELS, **options)
    module.configure_model()
    return module


def tensors(folder):
    return {name: value for file in folder.glob("*.safetensors") for name, value in load_file(file).items()}


@pytest.mark.parametrize("adapter", [Full, LinearProbe, lora, lambda: PromptTuningConfig(num_virtual_tokens=4)])
def test_only_what_trains_is_written(tmp_path, sgd, adapter):
    module = built(sgd, adapter())
    module.save_folder(tmp_path)
    trained = [p.numel() for p in module.parameters() if p.requires_grad]
    stored = [value.numel() for value in tensors(tmp_path).values()]
    assert sorted(stored) == sorted(trained)
    written = sum(file.stat().st_size for file in tmp_path.glob("*.safetensors"))
    assert written < 4 * sum(trained) + 10_000, "four bytes a weight, and the names"


def write_base(folder, seed):
    """The configuration and tokenizer of a tiny model, with weights of their own."""
    source = resolve("tiny://llama").path
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(source)).save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)


@pytest.mark.parametrize("adapter", [Full, lora], ids=["Full", "lora"])
def test_another_base_of_the_same_shapes_is_refused(tmp_path, sgd, adapter):
    base = tmp_path / "base"
    write_base(base, seed=1)
    module = CausalLM(str(base), adapter(), sgd)
    module.configure_model()
    module.save_folder(tmp_path / "run")
    CausalLM(str(base), adapter(), sgd).load_folder(tmp_path / "run")
    base.rename(tmp_path / "moved")
    CausalLM(str(tmp_path / "moved"), adapter(), sgd).load_folder(tmp_path / "run")
    write_base(tmp_path / "moved", seed=2)
    with pytest.raises(UserError, match="base_digest"):
        CausalLM(str(tmp_path / "moved"), adapter(), sgd).load_folder(tmp_path / "run")


def flipped(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize("damage", [flipped, lambda b: b[: len(b) // 2], lambda b: b""], ids=["flip", "half", "empty"])
@pytest.mark.parametrize(
    ("adapter", "file"),
    [(lora, "adapter_model.safetensors"), (lora, "head.safetensors"), (Full, "weights.safetensors")],
    ids=["lora", "head", "Full"],
)
def test_a_damaged_file_is_named_and_nothing_is_loaded(tmp_path, sgd, flat, adapter, file, damage):
    built(sgd, adapter()).save_folder(tmp_path)
    (tmp_path / file).write_bytes(damage((tmp_path / file).read_bytes()))
    other = built(sgd, adapter(), seeds=9)
    before = flat(other)
    with pytest.raises(UserError, match=f"{file} is not the file") as refusal:
        other.load_folder(tmp_path)
    assert "\n" not in str(refusal.value)
    assert torch.equal(flat(other), before)


class Bomb:
    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return os.mkdir, (str(self.canary),)


@pytest.mark.parametrize(
    ("adapter", "file"),
    [(lora, "adapter_model"), (lora, "head"), (Full, "weights")],
    ids=["lora", "head", "Full"],
)
def test_a_pickle_is_never_read(tmp_path, sgd, adapter, file):
    folder, canary = tmp_path / "run", tmp_path / "canary"
    built(sgd, adapter()).save_folder(folder)
    (folder / f"{file}.safetensors").unlink()
    (folder / f"{file}.bin").write_bytes(pickle.dumps(Bomb(canary)))
    with pytest.raises(UserError, match="never pickles"):
        built(sgd, adapter()).load_folder(folder)
    assert not canary.exists()
    (folder / f"{file}.safetensors").write_bytes(pickle.dumps(Bomb(canary)))
    with pytest.raises(UserError, match="not the file"):
        built(sgd, adapter()).load_folder(folder)
    assert not canary.exists()
    pickle.loads((folder / f"{file}.bin").read_bytes())
    assert canary.exists(), "the pickle would have run code"


class Scaled(Full):
    """An adapter whose setting leaves no trace in its weights' shapes."""

    def __init__(self, scale):
        self.scale = scale


def test_the_adapter_and_its_settings_are_known(tmp_path, sgd):
    built(sgd, Scaled(2.0)).save_folder(tmp_path)
    manifest = json.loads((tmp_path / "finelab.json").read_text())
    assert manifest["adapter"] == {"class": "Scaled", "settings": {"scale": 2.0}}
    built(sgd, Scaled(2.0)).load_folder(tmp_path)
    for other in (Scaled(3.0), Full()):
        with pytest.raises(UserError, match="adapter"):
            built(sgd, other).load_folder(tmp_path)


def test_a_folder_of_another_format_is_refused(tmp_path, sgd):
    built(sgd).save_folder(tmp_path)
    manifest = json.loads((tmp_path / "finelab.json").read_text())
    (tmp_path / "finelab.json").write_text(json.dumps(manifest | {"format": 1}))
    with pytest.raises(UserError, match="has format 1 and this version of finelab reads 2"):
        built(sgd).load_folder(tmp_path)
