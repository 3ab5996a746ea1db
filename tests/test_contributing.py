"""The examples of CONTRIBUTING.md run as they stand, from a package that is not finelab's."""

import functools
import importlib
import json
import re
import sys
from pathlib import Path

import pytest
import torch
import yaml

from finelab.models.adapters import Full
from finelab.models.backbone import Loading
from finelab.scripts.cli import main
from finelab.scripts.exported import Exported

from .models import made_up_targets
from .models.matrix.regularizer_runs import run

TEXT = (Path(__file__).resolve().parent.parent / "CONTRIBUTING.md").read_text()
SGD = functools.partial(torch.optim.SGD, lr=0.1)
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
    assert set(EXAMPLES) == {
        "confidence_penalty.py",
        "word_dropout.py",
        "output_gains.py",
        "parity.py",
        "head_norm.py",
    }
    assert all(code.count("\n") <= 60 for code in EXAMPLES.values())


PENALTY = {"class_path": "my_lab.confidence_penalty.ConfidencePenalty", "init_args": {"weight": 0.1}}
WORDS = {"class_path": "my_lab.word_dropout.WordDropout", "init_args": {"p": 0.2}}
RDROP = {"class_path": "finelab.models.regularizers.RDrop"}


def test_five_outside_classes_plug_in_together(my_lab, capsys):
    """Through ``class_path`` and --trust-module alone, beside a method of ours that runs a second forward."""
    config = {
        "run": {"root": str(my_lab / "runs"), "name": "one"},
        "trainer": {"max_epochs": 1, "callbacks": [{"class_path": "my_lab.head_norm.HeadNorm"}]},
        "model": {
            "class_path": "finelab.models.SequenceClassifier",
            "init_args": {
                "base": "tiny://bert",
                "adapter": {"class_path": "my_lab.output_gains.OutputGains"},
                "regularizers": [PENALTY, WORDS, RDROP],
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
    export = ["export", "--run", str(my_lab / "runs" / "one"), "--output", str(my_lab / "exported")]
    assert main([*export, *arguments[3:]]) == 0, capsys.readouterr().err
    assert Exported(my_lab / "exported").predict([{"text": "one two"}])[0]["label"] in ("odd", "even")
    assert main(arguments[:3]) == 2
    assert "my_lab" in capsys.readouterr().err


@pytest.fixture
def classes(my_lab):
    return importlib.import_module("my_lab.word_dropout").WordDropout, importlib.import_module("my_lab.output_gains")


def test_the_perturbation_is_counted(classes):
    """Neutral and in evaluation it does nothing; a recomputed activation sees the same words left out."""
    dropout, gains = classes
    weights = []
    for on, methods in ((False, [dropout(0.3)]), (True, [dropout(0.3)]), (False, [dropout(0.0)]), (False, [])):
        loading = Loading(gradient_checkpointing=on)
        module = made_up_targets.model("class", SGD, gains.OutputGains(), regularizers=methods, loading=loading)
        weights.append(run(module, made_up_targets.loader("class", 4)).weights)
    assert (weights[0] - weights[1]).abs().max() < 1e-6
    assert torch.equal(weights[2], weights[3])
    assert not torch.equal(weights[0], weights[2])


def test_the_adapter_tells_the_truth(classes):
    _, gains = classes
    batch = next(iter(made_up_targets.loader("class", 8)))
    module = made_up_targets.model("class", SGD, gains.OutputGains())
    module.configure_model()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for p in module.adapted.parameters():
            if p.requires_grad:
                p.data.uniform_(0.5, 1.5)
    plain = made_up_targets.model("class", SGD, Full())
    plain.configure_model()
    with torch.no_grad():
        tuned, base = module.eval()(batch), plain.eval()(batch)
        with module.as_base():
            assert torch.equal(module(batch).hidden, base.hidden)
        assert (tuned.hidden - base.hidden).abs().max() > 0.01
        module.model.backbone = module.adapter.merge(module.adapted)
        assert torch.allclose(module(batch).hidden, tuned.hidden, atol=1e-6)
