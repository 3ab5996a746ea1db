"""``finelab check``: what it shows, what it returns, and that it leaves nothing."""

import json
import logging
import re
import sys

import pytest

from finelab.callbacks.checks.check import SECTIONS
from finelab.contracts.finding import Finding, ok
from finelab.scripts import check_output
from finelab.scripts.cli import main


def left(folder) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def check(capsys, here):
    """Exit code and both streams of one check."""

    def run(*argv) -> tuple[int, str, str]:
        code = main(["check", *map(str, argv)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def test_a_good_configuration(check, config, here):
    path = config()
    before, level = left(here), logging.getLogger("lightning.pytorch").level
    code, out, err = check("-c", path, "--output", "found.json")
    assert code == 0, out
    assert logging.getLogger("lightning.pytorch").level == level, "a later fit of this process says what it says"
    assert left(here) == sorted([*before, "found.json"])
    for part in (
        "Data  ",
        "One example, ",
        "=> «",
        "ok       gradients: ",
        "ok       time: training about ",
        "Ready to",
    ):
        assert part in out, part
    assert "Traceback" not in err and "\x1b" not in out
    found = json.loads((here / "found.json").read_text())
    assert found["level"] == "ok" and found["example"].startswith("[CLS]")
    assert {finding["level"] for finding in found["findings"]} == {"ok"}


def test_errors_give_exit_code_1_each_with_its_cure(check, config, here):
    before = left(config().parent)
    code, out, _ = check("-c", "small.yaml", "--data.context=4", "--model.optimizer.lr=0")
    assert code == 1
    assert out.count("ERROR ") == 1 and out.count("warning  rows cut, ") == 2
    assert "-> Set model.init_args.optimizer.init_args.lr above 0." in out
    assert "Not ready: " in out and "2 warnings, 1 error" in out
    assert left(here) == before


def test_a_refused_configuration_gives_exit_code_2(refused, config):
    path = config()
    assert "did you mean 'lr'" in refused("check", "-c", path, "--model.optimizer.lrr=1")
    assert "belongs to fit" in refused("check", "-c", path, "--no-check")
    assert "must end in .json" in refused("check", "-c", path, "--output", "found")
    assert "belong to predict" in refused("check", "-c", path, "--input", "x.jsonl")
    assert "not for check" in refused("check", "-c", path, "--run", "runs/x")


def test_fit_checks_first(config, here, refused):
    path = config()
    said = refused("fit", "-c", path, "--model.optimizer.lr=0")
    assert "learning rate: 0 in every step, so that nothing is trained. Set model.init_args" in said
    assert main(["fit", "-c", str(path), "--run.name", "checked"]) == 0
    assert main(["fit", "-c", str(path), "--run.name", "unchecked", "--no-check"]) == 0
    digests = [json.loads((here / "runs" / name / "record.json").read_text()) for name in ("checked", "unchecked")]
    for key in ("order_digest", "config_digest", "metrics", "history"):
        assert digests[0][key] == digests[1][key], key


def findings():
    cure = "Set data.init_args.batch_size to 16 and trainer.accumulate_grad_batches to twice its value."
    return {section: [] for section in SECTIONS} | {
        "data": [ok("validation split", "634 rows")],
        "cost": [
            Finding("disk", "warning", "checkpoints need about 67.5 MiB, and 72.0 MiB are free", "Free some space."),
            Finding("memory", "error", "out of memory on the longest training batch, 32 x 96 tokens", cure),
        ],
    }


@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_gets_a_table_that_fits(width, capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm-256color")
    check_output.show_findings(findings(), 1.0)
    lines = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out).splitlines()
    assert max(map(len, lines[:-1])) <= width
    assert any(line.startswith("ERROR") and "memory" in line for line in lines)
    assert lines[-1] == "Not ready: 3 findings, 1 warning, 1 error (1.0 s)."
