"""A canary that every attack tries to wake, a run to tamper with, and a base to poison."""

import os
import pickle
import shutil
import sys
from pathlib import Path

import pytest

from finelab.contracts.uri import resolve
from finelab.scripts.cli import main

from ..scripts.conftest import config, here, texts

__all__ = ["config", "here", "texts"]


class Bomb:
    """Makes the mark when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (os.mkdir, (str(self.mark),))


class World:
    """What one attack works with.

    Attributes:
        mark: must never exist.
        module: an importable module that makes the mark as soon as it is imported, and that has a class ``Canary``, a
            function ``boom`` and a sub-module ``inner``.
        run: a finished run, to be changed.
        here: the current folder.
        config: writes a valid configuration with some text replaced.
    """

    def __init__(self, here: Path, mark: Path, module: str, run: Path, config) -> None:
        self.here, self.mark, self.module, self.run, self.config = here, mark, module, run, config

    @property
    def best(self) -> Path:
        return self.run / "checkpoints" / "best"

    @property
    def bomb(self) -> bytes:
        return pickle.dumps(Bomb(self.mark))

    def torch_bomb(self, path: Path) -> Path:
        import torch

        torch.save(
            {"state_dict": {}, "hyper_parameters": {"_instantiator": f"{self.module}.boom"}, "x": Bomb(self.mark)}, path
        )
        return path

    def base(self, family: str = "bert") -> Path:
        """A folder with the base of the run, weights included."""
        import torch
        from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

        folder = self.here / "base"
        shutil.copytree(resolve(f"tiny://{family}").path, folder)
        cls = AutoModel if family == "bert" else AutoModelForCausalLM
        torch.manual_seed(0)
        cls.from_config(AutoConfig.from_pretrained(folder)).save_pretrained(folder)
        return folder


@pytest.fixture(scope="session")
def finished(tmp_path_factory, texts):
    """A run of one epoch, and its configuration."""
    import yaml

    folder = tmp_path_factory.mktemp("finished")
    content = {
        "seeds": 5,
        "run": {"root": str(folder), "name": "run"},
        "model": {
            "class_path": "finelab.models.SequenceClassifier",
            "init_args": {
                "base": "tiny://bert",
                "adapter": {"class_path": "peft.LoraConfig", "init_args": {"r": 2, "target_modules": "all-linear"}},
                "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.001}},
            },
        },
        "data": {
            "class_path": "finelab.data.TextDataModule",
            "init_args": {
                "source": str(texts),
                "template": {"class_path": "finelab.data.Classification"},
                "batch_size": 8,
                "cache_dir": str(texts / "cache"),
            },
        },
        "trainer": {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False},
    }
    (folder / "small.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    assert main(["fit", "-c", str(folder / "small.yaml")]) == 0
    return folder / "run"


@pytest.fixture
def world(finished, here, config, tmp_path_factory, monkeypatch):
    nest = tmp_path_factory.mktemp("nest")
    mark, module = nest / "executed", f"canary_{nest.name.rsplit('t')[-1]}"
    (nest / module).mkdir()
    (nest / module / "__init__.py").write_text(
        f"import os\nos.mkdir({str(mark)!r})\nclass Canary: ...\ndef boom(*args, **kwargs): ...\n"
    )
    (nest / module / "inner").mkdir()
    (nest / module / "inner" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(nest))
    run = here / "runs" / "attacked"
    shutil.copytree(finished, run)
    before = dict(os.environ)
    yield World(here, mark, module, run, config)
    assert not mark.exists() and module not in sys.modules, "the canary was woken"
    changed = {key for key, value in before.items() if os.environ.get(key) != value}
    assert changed <= {"PYTEST_CURRENT_TEST"}
    assert not list(here.parent.rglob("*escaped*")), "something was written outside"
