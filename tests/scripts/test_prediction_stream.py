"""Generated text as a stream: in input order, whole lines, and the same after an interruption."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

from finelab.contracts.errors import UserError
from finelab.data.chat_format import built_in
from finelab.scripts.cli import main

PROMPTS = [f"Say {word} {i} times" for i, word in enumerate(["red", "green", "blue"] * 8)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a tiny model on a few conversations, and a folder to work in."""
    folder = tmp_path_factory.mktemp("chat")
    for split, rows in (("train", 8), ("validation", 4)):
        lines = [json.dumps({"prompt": f"{split} {i}", "response": f"it is {i}"}) for i in range(rows)]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    config = {
        "model": {
            "class_path": "finelab.models.CausalLM",
            "init_args": {
                "base": "tiny://llama",
                "adapter": {"class_path": "finelab.models.adapters.Full"},
                "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01}},
                "generation": {"class_path": "finelab.models.Generation", "init_args": {"max_new_tokens": 40}},
            },
        },
        "data": {
            "class_path": "finelab.data.TextDataModule",
            "init_args": {
                "source": str(folder),
                "template": {"class_path": "finelab.data.PromptResponse", "init_args": {"too_long": "drop"}},
                "context": 64,
                "batch_size": 2,
                "cache_dir": str(folder / "cache"),
            },
        },
        "trainer": {"max_epochs": 1, "accelerator": "cpu", "enable_progress_bar": False},
    }
    (folder / "chat.yaml").write_text(yaml.safe_dump(config))
    root = ["--run.root", str(folder / "runs"), "--run.name", "one"]
    assert main(["fit", "-c", str(folder / "chat.yaml"), *root]) == 0
    rows = [{"prompt": prompt, "id": f"row-{i}"} for i, prompt in enumerate(PROMPTS)]
    rows[5]["prompt"] = "too long " * 20
    rows[-1]["prompt"] = "too long " * 20
    (folder / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(["predict", *options(folder), "--output", str(folder / "whole.jsonl")]) == 0
    return folder


def options(folder: Path) -> list[str]:
    return ["--run", str(folder / "runs" / "one"), "--input", str(folder / "in.jsonl")]


def test_every_row_has_its_line_in_input_order(run):
    lines = [json.loads(line) for line in (run / "whole.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == [f"row-{i}" for i in range(len(PROMPTS))]
    assert [i for i, line in enumerate(lines) if line["text"] is None] == [5, len(PROMPTS) - 1]
    assert all(set(line) == {"id", "text", "ended"} for line in lines)


def test_standard_output_gets_the_same_lines(run, capsys):
    assert main(["predict", *options(run), "--output", "-"]) == 0
    assert capsys.readouterr().out == (run / "whole.jsonl").read_text()


def test_standard_input_gives_the_same_lines(run, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO((run / "in.jsonl").read_bytes())))
    output = run / "piped.jsonl"
    assert main(["predict", *options(run)[:2], "--input", "-", "--output", str(output)]) == 0
    assert output.read_bytes() == (run / "whole.jsonl").read_bytes()


@pytest.mark.parametrize("rows", [slice(3, 6), slice(5, 6)], ids=["one left out", "all left out"])
def test_csv_has_the_same_rows_and_columns(run, rows):
    lines = (run / "in.jsonl").read_text().splitlines(keepends=True)[rows]
    (run / "few.jsonl").write_text("".join(lines))
    command = ["predict", *options(run)[:2], "--input", str(run / "few.jsonl"), "--output"]
    assert main([*command, str(run / "few_out.csv")]) == 0
    assert main([*command, str(run / "few_out.jsonl")]) == 0
    expected = [json.loads(line) for line in (run / "few_out.jsonl").open()]
    found = list(csv.DictReader((run / "few_out.csv").open(newline="")))
    assert found == [{"id": row["id"], "text": row["text"] or "", "ended": str(row["ended"])} for row in expected]


def interrupted(folder: Path, name: str, *more: str) -> Path:
    """An output whose first batch of four rows is answered, with the note beside it."""
    output = folder / name
    command = ["predict", *options(folder), "--output", str(output), "--trainer.limit_predict_batches", "1", *more]
    assert main(command) == 2
    assert output.read_bytes().count(b"\n") == 4 and output.with_name(f"{name}.resume").exists()
    return output


@pytest.mark.parametrize("bytes_left", [1, 1003])
def test_an_output_cut_anywhere_is_completed_to_the_same_bytes(run, bytes_left):
    whole = (run / "whole.jsonl").read_bytes()
    output = interrupted(run, f"cut{bytes_left}.jsonl")
    assert whole.startswith(output.read_bytes())
    output.write_bytes(whole[:bytes_left])
    assert main(["predict", *options(run), "--output", str(output), "--resume"]) == 0
    assert output.read_bytes() == whole
    assert not output.with_name(f"{output.name}.resume").exists()


def test_rows_that_were_never_generated_are_not_written_as_left_out(run, capsys):
    output = interrupted(run, "limited.jsonl")
    assert f"4 of {len(PROMPTS)} rows are answered" in capsys.readouterr().err
    assert main(["predict", *options(run), "--output", "-", "--trainer.limit_predict_batches", "1"]) == 2
    assert capsys.readouterr().out == output.read_text()


def changed(folder: Path, what: str) -> list[str]:
    """The command line of an interrupted output with one thing changed; rows of its input have no ids."""
    rows = [{"prompt": prompt} for prompt in PROMPTS]
    if what == "input":
        rows[1]["prompt"] = "Say something else"
    own = folder / f"{what}.jsonl"
    own.write_text("".join(json.dumps(row) + "\n" for row in rows))
    more = {
        "generation": ["--model.generation.max_new_tokens", "7"],
        "batch": ["--data.batch_size", "1"],
        "weights": ["--run", str(folder / "runs" / "two")],
    }
    return [*options(folder)[:2], "--input", str(own), *more.get(what, [])]


@pytest.mark.parametrize(
    ("what", "named"),
    [
        ("input", "another input or template"),
        ("batch", "another batch size (4, now 2)"),
        ("generation", "another model.generation.max_new_tokens (40, now 7)"),
        ("weights", "another checkpoint"),
    ],
)
def test_an_output_begun_otherwise_is_not_gone_on_with(run, capsys, what, named):
    if what == "weights":
        weights = shutil.copytree(run / "runs" / "one", run / "runs" / "two") / "checkpoints" / "best"
        save_file({"made.up": torch.zeros(1)}, weights / "more.safetensors")
    (run / "plain.jsonl").write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in PROMPTS))
    output = interrupted(run, f"begun_{what}.jsonl", "--input", str(run / "plain.jsonl"))
    before = output.read_bytes()
    assert main(["predict", *changed(run, what), "--output", str(output), "--resume"]) == 2
    assert named in capsys.readouterr().err
    assert output.read_bytes() == before
    assert main(["predict", *changed(run, "nothing"), "--output", str(output), "--resume"]) == 0


def test_an_unfinished_output_is_neither_overwritten_nor_gone_on_with_blindly(run, capsys):
    output = interrupted(run, "unfinished.jsonl")
    before = output.read_bytes()
    assert main(["predict", *options(run), "--output", str(output)]) == 2
    assert "unfinished.jsonl is unfinished" in capsys.readouterr().err
    output.with_name("unfinished.jsonl.resume").unlink()
    assert main(["predict", *options(run), "--output", str(output), "--resume"]) == 2
    assert "does not lie beside it" in capsys.readouterr().err
    assert output.read_bytes() == before


def test_an_earlier_output_stays_until_the_first_line_is_written(run, monkeypatch):
    output = run / "earlier.jsonl"
    output.write_text("earlier\n")

    def fail(self, *args):
        raise UserError("no weights")

    with monkeypatch.context() as broken:
        broken.setattr("finelab.scripts.lightning_cli.LoadWeights.on_predict_start", fail)
        assert main(["predict", *options(run), "--output", str(output)]) == 2
    assert output.read_text() == "earlier\n"
    assert main(["predict", *options(run), "--output", str(output)]) == 0
    assert output.read_bytes() == (run / "whole.jsonl").read_bytes()


def test_an_output_over_its_input_is_refused(run, capsys):
    before = (run / "in.jsonl").read_bytes()
    assert main(["predict", *options(run), "--output", str(run / "runs" / ".." / "in.jsonl")]) == 2
    assert "is the file that --input reads" in capsys.readouterr().err
    assert (run / "in.jsonl").read_bytes() == before


def test_a_finished_output_is_left_as_it_is(run):
    output = run / "done.jsonl"
    output.write_bytes((run / "whole.jsonl").read_bytes())
    assert main(["predict", *options(run), "--output", str(output), "--resume"]) == 0
    assert output.read_bytes() == (run / "whole.jsonl").read_bytes()


def test_killed_in_the_middle_and_resumed_gives_the_same_bytes(run):
    output = run / "killed.jsonl"
    command = [sys.executable, "-c", "import sys; from finelab.scripts.cli import main; sys.exit(main(sys.argv[1:]))"]
    command += ["predict", *options(run), "--output", str(output), "--data.batch_size", "1"]
    command += ["--data.loader.evaluation_batch_size", "1"]
    whole = run / "single.jsonl"
    assert main([*command[3:-6], "--output", str(whole), *command[-4:]]) == 0
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})
    deadline = time.monotonic() + 120
    while not (output.exists() and output.read_bytes().count(b"\n") >= 3) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    written = output.read_bytes()
    assert 3 <= written.count(b"\n") < len(PROMPTS)
    assert main([*command[3:], "--resume"]) == 0
    assert output.read_bytes() == whole.read_bytes()
    assert whole.read_bytes().startswith(written[: written.rfind(b"\n") + 1])


def test_an_output_of_other_rows_is_refused(run, capsys):
    output = run / "other.jsonl"
    output.write_text('{"id": "row-7", "text": "", "ended": true}\n')
    assert main(["predict", *options(run), "--output", str(output), "--resume"]) == 2
    assert "other.jsonl:1 has the id 'row-7', and the input has 'row-0' there" in capsys.readouterr().err


def test_resume_needs_a_file_and_predict(run, capsys):
    assert main(["predict", *options(run), "--resume"]) == 2
    assert "--resume on the command line needs the JSONL file" in capsys.readouterr().err
    assert main(["test", "--run", str(run / "runs" / "one"), "--resume"]) == 2
    assert "--resume on the command line belongs to fit and predict" in capsys.readouterr().err


def test_the_checkpoint_keeps_the_chat_template_and_predict_uses_it(run):
    manifest = run / "runs" / "one" / "checkpoints" / "best" / "finelab.json"
    stored = json.loads(manifest.read_text())
    assert stored["chat_template"] == built_in()
    assert stored["chat_template_hash"] in (run / "runs" / "one" / "data_report.json").read_text()
    changed = stored | {"chat_template": stored["chat_template"].replace("User", "Somebody else")}
    manifest.write_text(json.dumps(changed))
    try:
        assert main(["predict", *options(run), "--output", str(run / "template.jsonl")]) == 0
    finally:
        manifest.write_text(json.dumps(stored))
    assert (run / "template.jsonl").read_text() != (run / "whole.jsonl").read_text()
