"""Every file in configs/ parses, instantiates and takes one step on a tiny model and a few made-up rows."""

import importlib.resources
import json
from pathlib import Path

import pytest
import yaml

from finelab.scripts.cli import main

FILES = sorted(
    str(file)
    for file in map(Path, map(str, importlib.resources.files("finelab.configs").iterdir()))
    if file.suffix == ".yaml" and file.name != "defaults.yaml"
)
ROOMY = ("finelab.data.Instruction", "finelab.data.PromptResponse", "finelab.data.Messages")
"""Templates whose prompt and answer need more room than a window."""
LANGUAGE_MODELS = {"finelab.models.CausalLM": "tiny://llama", "finelab.models.Seq2SeqLM": "tiny://t5"}


def targets(number):
    """The columns of ``PythonFunctions`` beside those of ``told``, whose answer is among the choices."""
    return {
        "signature": f"f(x{number})",
        "body": f"return {number}",
        "words": [f"word{number}", "x", "end"],
        "tags": ["O", "B-PARAMETER", "O"],
        "statements": [["return"], ["loop", "return"], []][number % 3],
        "log2_lines": float(number % 4),
        "choices": ["two", f"it is {number}", "three"],
    }


def made_up(folder):
    """Rows that serve every template: texts of two labels, long enough for a window, and every other target."""
    folder.mkdir()
    for split, count in (("train", 12), ("validation", 4), ("test", 4)):
        rows = [
            {"text": f"{split} row {i}: " + word * 6, "label": i % 2, "label_text": word.strip(), **second(i)}
            | told(i)
            | targets(i)
            for i, word in enumerate(("poor ", "fine ") * (count // 2))
        ]
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def second(i):
    """The second text of a pair under the names of several data sets."""
    return dict.fromkeys(("text_pair", "context"), f"the other {i}")


def told(i):
    """Columns of a prompt and its answer under the names of several data sets."""
    asked, answer = f"number {i}", f"it is {i}"
    prompts = dict.fromkeys(("prompt", "question", "instruction", "input", "en"), asked)
    return (
        prompts | dict.fromkeys(("response", "answer", "output", "de"), answer) | {"references": [answer, answer + "!"]}
    )


def on(spec, rows):
    """A part of a mixture with the same splits, on made-up rows."""
    given = spec["source"]
    return spec | {
        "source": {key: str(rows / "train.jsonl") for key in given} if isinstance(given, dict) else str(rows)
    }


@pytest.mark.parametrize("file", FILES, ids=[Path(file).stem for file in FILES])
def test_every_configuration_takes_a_step(file, tmp_path, capsys):
    config = yaml.safe_load(Path(file).read_text())
    overrides = [
        "--model.base",
        LANGUAGE_MODELS.get(config["model"]["class_path"], "tiny://bert"),
        "--trainer.max_steps",
        "1",
    ]
    overrides += ["--run.root", str(tmp_path / "runs"), "--run.name", "one"]
    if config["data"]["class_path"] == "finelab.data.TextDataModule":
        overrides += ["--data.source", str(made_up(tmp_path / "rows"))]
    if config["data"]["class_path"] == "finelab.data.MixtureDataModule":
        rows = made_up(tmp_path / "rows")
        for key in ("sources", "eval_sets"):
            if specs := config["data"]["init_args"].get(key):
                overrides += [f"--data.{key}", json.dumps({name: on(spec, rows) for name, spec in specs.items()})]
    template = config["data"].get("init_args", {}).get("template", {}).get("class_path")
    overrides += ["--data.context", "128" if template in ROOMY else "32", "--data.cache_dir", str(tmp_path / "cache")]
    assert main(["fit", "-c", file, *overrides]) == 0, capsys.readouterr().err
    record = json.loads((tmp_path / "runs" / "one" / "record.json").read_text())
    assert record["status"] == "finished"


def test_there_is_something_to_test():
    assert {"quickstart", "sst2_lora", "domain_lm"} <= {Path(file).stem for file in FILES}


@pytest.mark.parametrize("file", FILES, ids=[Path(file).stem for file in FILES])
def test_every_header_states_its_command_and_what_to_expect(file):
    header = "".join(line for line in Path(file).read_text().splitlines(keepends=True) if line.startswith("#"))
    assert "finelab fit -c " in header
    assert "Expected" in header
    assert "TODO" not in header
