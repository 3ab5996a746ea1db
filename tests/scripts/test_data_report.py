"""``finelab data report``: the whole audit without a model and without a run."""

import json

import pytest

from finelab.scripts.cli import main

PROMPTED = json.dumps({"class_path": "finelab.data.PromptResponse", "init_args": {"prompt": "{"}})


def test_it_writes_json_and_a_page_and_builds_no_model(config, here, capsys, monkeypatch):
    from finelab.models.finetuner import FineTuner

    def refuse(*args, **kwargs):
        raise AssertionError("a model was built")

    monkeypatch.setattr(FineTuner, "configure_model", refuse)
    assert main(["data", "report", "-c", str(config())]) == 0
    printed = capsys.readouterr().out
    assert "Data  " in printed and "data_reports/small/data_report.html" in printed
    assert len(printed.split("The whole report")[0].strip().splitlines()) < 20
    report = json.loads((here / "data_reports/small/data_report.json").read_text())
    assert report["splits"]["train"]["rows"] == 24
    page = (here / "data_reports/small/data_report.html").read_text()
    assert page.startswith("<!DOCTYPE html>") and report["fingerprint"] in page
    assert sorted(path.name for path in here.iterdir()) == ["data_reports", "small.yaml"]


def test_it_writes_where_it_is_told(config, here):
    assert main(["data", "report", "-c", str(config()), "--output", "there/mine"]) == 0
    assert {path.name for path in (here / "there/mine").iterdir()} == {"data_report.html", "data_report.json"}


def test_duplicates_are_set_like_any_argument(config, here):
    arguments = ["--data.duplicates", "{threshold: null, action: drop}", "--output", "there"]
    assert main(["data", "report", "-c", str(config()), *arguments]) == 0
    found = json.loads((here / "there/data_report.json").read_text())["duplicates"]
    assert found["near"] is None and found["action"] == "drop"


@pytest.mark.parametrize(
    "options", [("--data.batch_size", "0"), ("--data.template", PROMPTED)], ids=["size", "template"]
)
def test_what_cannot_be_built_is_the_paragraph_of_fit(config, refused, options):
    path = config()
    paragraph = refused("data", "report", "-c", path, *options)
    assert paragraph == refused("fit", "-c", path, *options)


def test_what_cannot_be_is_refused(config, refused, outside):
    path = config()
    assert "did you mean 'data report'?" in refused("data", "raport", "-c", path)
    assert "is a file" in refused("data", "report", "-c", path, "--output", path)
    assert "belong to predict" in refused("data", "report", "-c", path, "--input", "x.jsonl")
    assert "not for data report" in refused("data", "report", "--run", "runs/x")
    assert "has no key" in refused("data", "report", "-c", path, "--trainer.max_epoch=3")
    other = config("finelab.data.TextDataModule", f"{outside}.Unlinked", "other.yaml")
    text = other.read_text()
    other.write_text(text[: text.index("  init_args:\n    source")] + text[text.index("trainer:") :])
    said = refused("data", "report", "-c", other, "--trust-module", outside)
    assert "Unlinked has no report" in said
