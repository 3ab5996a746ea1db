"""The examples of CONTRIBUTING.md run as they stand, from a package that is not finelab's."""

import json
import re
import sys
from pathlib import Path

import pytest
import yaml

from finelab.scripts.cli import main

TEXT = (Path(__file__).resolve().parent.parent / "CONTRIBUTING.md").read_text()
EXAMPLES = dict(re.findall(r"```python\n# my_lab/(\w+\.py)\n(.*?)```", TEXT, re.DOTALL))


@pytest.fixture
def my_lab(tmp_path, monkeypatch):
    package = tmp_path / "my_lab"
    package.mkdir()
    (package / "__init__.py").touch()
    for name, code in EXAMPLES.items():
        (package / name).write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_lab"]:
        del sys.modules[name]


def test_each_example_is_one_file_of_at_most_sixty_lines():
    assert set(EXAMPLES) == {"confidence_penalty.py", "bias_only.py", "parity.py", "head_norm.py"}
    assert all(code.count("\n") <= 60 for code in EXAMPLES.values())


def test_four_outside_classes_plug_in_together(my_lab, capsys):
    config = {
        "run": {"root": str(my_lab / "runs"), "name": "one"},
        "trainer": {"max_epochs": 1, "callbacks": [{"class_path": "my_lab.head_norm.HeadNorm"}]},
        "model": {
            "class_path": "finelab.models.SequenceClassifier",
            "init_args": {
                "base": "tiny://bert",
                "adapter": {"class_path": "my_lab.bias_only.BiasOnly"},
                "regularizers": [
                    {"class_path": "my_lab.confidence_penalty.ConfidencePenalty", "init_args": {"weight": 0.1}}
                ],
                "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.001}},
            },
        },
        "data": {"class_path": "my_lab.parity.Parity"},
    }
    (my_lab / "config.yaml").write_text(yaml.safe_dump(config))
    arguments = ["fit", "-c", str(my_lab / "config.yaml"), "--trust-module", "my_lab"]
    assert main(arguments) == 0, capsys.readouterr().err
    record = json.loads((my_lab / "runs" / "one" / "record.json").read_text())
    assert record["status"] == "finished"
    assert main(arguments[:3]) == 2
    assert "my_lab" in capsys.readouterr().err
