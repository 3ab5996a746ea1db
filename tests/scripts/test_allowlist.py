"""A configuration may name classes of trusted packages only, and what is refused is not even imported."""

import os
import subprocess
import sys

import pytest

from finelab.scripts.allowlist import ALLOWED, is_allowed

CANARY = "canary_{}"
POSITIONS = {
    "model": ("class_path: finelab.models.SequenceClassifier", "class_path: {}"),
    "data": ("class_path: finelab.data.TextDataModule", "class_path: {}"),
    "adapter": ("class_path: peft.LoraConfig", "class_path: {}"),
    "regularizer": ("class_path: finelab.models.regularizers.L2SP", "class_path: {}"),
    "factory": ("class_path: torch.optim.AdamW", "class_path: {}"),
    "callback": ("max_epochs: 1", "callbacks: [{{class_path: {}}}]"),
    "logger": ("max_epochs: 1", "logger: {{class_path: {}}}"),
    "callback, as a word": ("max_epochs: 1", "callbacks: [{}]"),
    "factory, as a word": (
        "optimizer:\n      class_path: torch.optim.AdamW\n      init_args:\n        lr: 0.001",
        "optimizer: {}",
    ),
}


@pytest.fixture
def canary(tmp_path_factory, monkeypatch):
    """A module that leaves a file when it is imported; gives its name and whether it was."""
    folder = tmp_path_factory.mktemp("canary")
    name = CANARY.format(folder.name.rsplit("y")[-1])
    mark = folder / "imported"
    (folder / f"{name}.py").write_text(f"open({str(mark)!r}, 'w').close()\nclass Canary: ...\n")
    monkeypatch.syspath_prepend(str(folder))
    return name, mark.exists


@pytest.mark.parametrize("position", POSITIONS)
@pytest.mark.parametrize("path", ["os.system", "subprocess.getoutput", "{}.Canary", "builtins.exec"])
def test_refused_in_every_position(position, path, canary, config, refused):
    name, was_imported = canary
    path = path.format(name)
    old, new = POSITIONS[position]
    paragraph = refused("fit", "-c", config(old, new.format(path)))
    assert f"{path}, which is not allowed" in paragraph
    assert "small.yaml:" in paragraph and "--trust-module" in paragraph
    assert not was_imported() and name not in sys.modules


@pytest.mark.parametrize(
    "option", ["--model", "--model.adapter", "--model.optimizer", "--model.regularizers+", "--trainer.callbacks+"]
)
def test_refused_on_the_command_line(option, canary, config, refused):
    name, was_imported = canary
    paragraph = refused("fit", "-c", config(), f"{option}={name}.Canary")
    assert f"{option} {name}.Canary, which is not allowed" in paragraph
    assert not was_imported()


def test_an_allowed_package_is_no_door_to_others(config, refused):
    paragraph = refused("fit", "-c", config(), "--model.adapter", "finelab.contracts.files.os.system")
    assert "not allowed" in paragraph


def test_prefixes_end_at_a_dot():
    assert is_allowed("peft.LoraConfig") and not is_allowed("peftx.LoraConfig")
    assert not is_allowed("torch.load") and not is_allowed("lightning.pytorch.cli.LightningCLI")
    assert not is_allowed("mine.Callback") and is_allowed("mine.Callback", ("mine",))
    assert all(is_allowed(f"{package}.X") for package in ALLOWED)


def test_a_trusted_package_is_found_in_the_current_folder(config, here):
    """As the console script starts: without the current folder on the path."""
    (here / "my_lab").mkdir()
    (here / "my_lab" / "__init__.py").write_text("")
    (here / "my_lab" / "quiet.py").write_text(
        "from finelab.models.regularizers.regularizer import Regularizer\n\n\nclass Quiet(Regularizer):\n"
        "    def __init__(self, weight: float) -> None:\n        self.weight = weight\n"
    )
    file = config("class_path: finelab.models.regularizers.L2SP", "class_path: my_lab.quiet.Quiet")
    program = "import sys; from finelab.scripts.cli import main; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-P", "-c", program, "fit", "-c", file, "--print_config"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    refused = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert refused.returncode == 2 and "not allowed" in refused.stderr
    found = subprocess.run([*words, "--trust-module", "my_lab"], capture_output=True, text=True, env=environment)
    assert found.returncode == 0, found.stderr
    assert "class_path: my_lab.quiet.Quiet" in found.stdout
