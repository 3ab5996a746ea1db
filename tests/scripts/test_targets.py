"""A template and a model that do not belong together stop every command before a step, with one paragraph."""

import json

import pytest
import yaml

PAIRS = {
    "an encoder-decoder on its own answers": (
        "Seq2SeqLM",
        "t5",
        "PromptResponse",
        ["TextToText", "finelab.models.CausalLM"],
    ),
    "a decoder on pairs": (
        "CausalLM",
        "llama",
        "TextToText",
        ["Documents or PromptResponse", "finelab.models.Seq2SeqLM"],
    ),
    "a decoder on classes": ("CausalLM", "llama", "Classification", ["Documents", "finelab.models.SequenceClassifier"]),
    "a regressor on classes": ("SequenceRegressor", "bert", "Classification", ["Regression", "SequenceClassifier"]),
}


def written(folder, model, base, data):
    adapter = {"class_path": "finelab.models.adapters.Full"}
    optimizer = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1}}
    config = {
        "model": {
            "class_path": f"finelab.models.{model}",
            "init_args": {"base": f"tiny://{base}", "adapter": adapter, "optimizer": optimizer},
        },
        "data": data,
        "trainer": {"max_steps": 1, "accelerator": "cpu"},
    }
    path = folder / "pair.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture
def file(here):
    path = here / "rows.jsonl"
    row = {"prompt": "a", "response": "b", "source": "a", "target": "b", "text": "a", "label": "x"}
    path.write_text("".join(json.dumps(row | {"text": f"t {i}", "label": "xy"[i % 2]}) + "\n" for i in range(20)))
    return str(path)


@pytest.mark.parametrize("case", PAIRS)
@pytest.mark.parametrize("command", ["fit", "validate"])
def test_a_pair_that_does_not_match(case, command, file, here, texts, refused):
    model, base, template, parts = PAIRS[case]
    (texts / "cache").mkdir(exist_ok=True)
    settings = {
        "source": file,
        "template": {"class_path": f"finelab.data.{template}"},
        "cache_dir": str(texts / "cache"),
    }
    data = {"class_path": "finelab.data.TextDataModule", "init_args": settings}
    paragraph = refused(command, "-c", written(here, model, base, data))
    assert all(part in paragraph for part in (f"model {model} learns", f"template {template} gives", *parts)), paragraph


def test_a_mixture_of_two_kinds(file, here, refused):
    sources = {
        name: {"source": file, "template": {"class_path": f"finelab.data.{template}"}}
        for name, template in (("a", "Documents"), ("b", "TextToText"))
    }
    data = {"class_path": "finelab.data.MixtureDataModule", "init_args": {"sources": sources}}
    paragraph = refused("fit", "-c", written(here, "CausalLM", "llama", data))
    assert "a has the template Documents, and b has TextToText" in paragraph
