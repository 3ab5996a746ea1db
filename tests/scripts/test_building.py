"""What a constructor refuses is a paragraph; what breaks in other people's code keeps its traceback."""

import os
import subprocess
import sys

import pytest
import yaml

from finelab.scripts.cli import main

BROKEN = """
import json

from finelab.data.text_data_module import TextDataModule
from finelab.models.adapters.full import Full
from finelab.models.regularizers.regularizer import Regularizer


class Regular(Regularizer):
    def __init__(self, weight: float) -> None:
        self.weight, self.name = int("five"), "regular"


class Typed(Regularizer):
    def __init__(self, weight: float) -> None:
        self.weight, self.name = weight + "x", "typed"


class Under(Regularizer):
    def __init__(self, weight: float) -> None:
        self.weight, self.name = json.loads("{not json"), "under"


class Adapted(Full):
    def __init__(self) -> None:
        raise TypeError("a mistake of my own")


class Texts(TextDataModule):
    @property
    def label_names(self):
        return self.no_such_attribute
"""


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("broken")
    (folder / "broken_package.py").write_text(BROKEN)
    sys.path.insert(0, str(folder))
    yield "broken_package"
    sys.path.remove(str(folder))


L2SP, TEXTS, LORA = "finelab.models.regularizers.L2SP", "finelab.data.TextDataModule", "peft.LoraConfig"


@pytest.mark.parametrize(
    ("old", "new", "error", "message"),
    [
        (L2SP, "Regular", ValueError, "invalid literal"),
        (L2SP, "Typed", TypeError, "unsupported operand"),
        (L2SP, "Under", ValueError, "Expecting property name"),
        (TEXTS, "Texts", AttributeError, "no_such_attribute"),
    ],
)
def test_a_mistake_in_a_class_of_the_users_keeps_its_traceback(old, new, error, message, config, here, broken):
    file = config(f"class_path: {old}", f"class_path: {broken}.{new}")
    with pytest.raises(error, match=message) as raised:
        main(["fit", "-c", str(file), "--trust-module", broken])
    assert any(entry.path.name == f"{broken}.py" for entry in raised.traceback)
    assert not (here / "runs").exists()


def test_a_mistake_in_an_adapter_keeps_its_traceback(config, here, broken):
    """Its argument takes one of two types, so the parser wraps the error."""
    content = yaml.safe_load(config().read_text())
    content["model"]["init_args"]["adapter"] = {"class_path": f"{broken}.Adapted"}
    (here / "own.yaml").write_text(yaml.safe_dump(content))
    program = "import sys; from finelab.scripts.cli import main; sys.exit(main(sys.argv[1:]))"
    words = [sys.executable, "-c", program, "fit", "-c", "own.yaml", "--trust-module", broken]
    environment = os.environ | {"PYTHONPATH": sys.path[0]}
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "in __init__" in done.stderr and "Namespace(" not in done.stderr
    assert done.stderr.rstrip().endswith("TypeError: a mistake of my own")
    assert not (here / "runs").exists()


def test_what_our_own_constructors_refuse_is_a_paragraph(config, refused):
    paragraph = refused(
        "fit", "-c", config(), "--model.schedule", "finelab.models.WarmupLinear", "--model.schedule.warmup", "2"
    )
    assert "cannot be built" in paragraph and "warmup is a share" in paragraph


def test_a_package_that_a_method_needs_is_named(config, refused, here, monkeypatch):
    """Two types are tried for ``model.adapter``, and the other's refusal says nothing."""
    monkeypatch.setitem(sys.modules, "sklearn", None)
    content = yaml.safe_load(config().read_text())
    adapter = {"class_path": "peft.AdamssConfig", "init_args": {"r": 4, "target_modules": ["query"]}}
    content["model"]["init_args"]["adapter"] = adapter
    (here / "own.yaml").write_text(yaml.safe_dump(content))
    paragraph = refused("fit", "-c", "own.yaml")
    assert "'peft.AdamssConfig': scikit-learn is required" in paragraph and "Adapter" not in paragraph
