"""A configuration on a tiny model and made-up texts, and a user's own package that lies outside finelab."""

import json
import sys
from pathlib import Path

import pytest
import yaml

from finelab.scripts.cli import main

OUTSIDE = '''
import os

from lightning.pytorch import Callback, LightningDataModule
from torch.utils.data import DataLoader

from finelab.data.rejections import Row
from finelab.data.sources import Source
from finelab.models.regularizers.regularizer import Regularizer
from finelab.models.sequence_classifier import SequenceClassifier


class Nothing(Regularizer):
    def __init__(self, weight: float, name: str = "nothing") -> None:
        self.weight, self.name = weight, name


class Classifier(SequenceClassifier):
    """A model of the user's own."""


class Steps(Callback):
    seen = 0

    def on_train_batch_end(self, *args) -> None:
        Steps.seen += 1


class Kick(Callback):
    """Sends this process a signal at the end of some steps."""

    def __init__(self, steps: list[int], number: int = 15) -> None:
        self.steps, self.number = steps, number

    def on_train_batch_end(self, trainer, *args) -> None:
        if trainer.global_step in self.steps:
            os.kill(os.getpid(), self.number)


class Numbers(Source):
    name = "numbers"

    def __init__(self, rows: int = 40) -> None:
        self.rows = rows

    def splits(self):
        return ["train"]

    def digest(self):
        return str(self.rows)

    def read(self, split, reject):
        for number in range(self.rows):
            yield Row(f"numbers:{number}", {"text": f"{number} is", "label": "odd" if number % 2 else "even"})


class Unlinked(LightningDataModule):
    """Knows neither seed nor base nor label_names."""

    def __init__(self, size: int = 3) -> None:
        super().__init__()
        self.size = size

    def predict_dataloader(self):
        return DataLoader(list(range(self.size)))
'''


@pytest.fixture(scope="session")
def outside(tmp_path_factory):
    """Name of an importable package that a configuration may name once it is trusted."""
    folder = tmp_path_factory.mktemp("outside")
    (folder / "outside_package.py").write_text(OUTSIDE)
    sys.path.insert(0, str(folder))
    yield "outside_package"
    sys.path.remove(str(folder))


@pytest.fixture(scope="session")
def texts(tmp_path_factory):
    """A folder with three splits of texts that two labels separate."""
    folder = tmp_path_factory.mktemp("texts")
    for split, rows in (("train", 24), ("validation", 8), ("test", 8)):
        with open(folder / f"{split}.jsonl", "w") as file:
            for i in range(rows):
                row = {"text": f"{'good nice' if i % 2 else 'bad ugly'} {split} {i}", "label": ["neg", "pos"][i % 2]}
                file.write(json.dumps(row) + "\n")
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty current folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def config(texts, here):
    """Writes a valid configuration into the current folder, with some text replaced, and returns its path."""

    def write(old: str = "", new: str = "", name: str = "small.yaml") -> Path:
        content = {
            "seeds": 5,
            "model": {
                "class_path": "finelab.models.SequenceClassifier",
                "init_args": {
                    "base": "tiny://bert",
                    "adapter": {"class_path": "peft.LoraConfig", "init_args": {"r": 2, "target_modules": "all-linear"}},
                    "regularizers": [{"class_path": "finelab.models.regularizers.L2SP", "init_args": {"weight": 0.01}}],
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
        text = yaml.safe_dump(content, sort_keys=False)
        assert old in text
        path = here / name
        path.write_text(text.replace(old, new, 1) if old else text)
        return path

    return write


@pytest.fixture
def refused(capsys, here):
    """Runs a command that must fail with one paragraph and leave nothing; returns the paragraph."""

    def run(*argv: str) -> str:
        before = sorted(here.rglob("*"))
        code = main([str(word) for word in argv])
        printed = capsys.readouterr()
        assert code == 2, printed
        paragraphs = [line for line in printed.err.splitlines() if line.startswith("finelab: ")]
        assert len(paragraphs) == 1, printed.err
        assert "Traceback" not in printed.err and "usage:" not in printed.err
        assert sorted(here.rglob("*")) == before, "something was left behind"
        return paragraphs[0]

    return run
