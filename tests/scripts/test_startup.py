"""What has to be fast: help, version and every refusal that needs no class."""

import os
import re
import subprocess
import sys
import time

import pytest

from finelab.scripts import cli, invocation

REPORT = """
import sys
from finelab.scripts.cli import main
code = main({argv!r})
heavy = sorted({{"torch", "lightning", "transformers", "jsonargparse", "peft"}} & sys.modules.keys())
print("heavy:", heavy, "code:", code)
"""


def run(*argv: str) -> tuple[str, float]:
    started = time.perf_counter()
    command = [sys.executable, "-c", REPORT.format(argv=list(argv))]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"COLUMNS": "120"})
    return result.stdout + result.stderr, time.perf_counter() - started


@pytest.mark.parametrize("argv", [(), ("--help",), ("--version",), ("study", "--help")], ids=str)
def test_help_is_quick_and_light(argv):
    seconds = []
    for _ in range(3):
        text, taken = run(*argv)
        seconds.append(taken)
    assert "heavy: [] code: 0" in text
    assert min(seconds) < 1.0
    assert text.startswith("finelab 0." if argv == ("--version",) else "usage: finelab")


def test_every_option_of_our_own_stands_in_the_help():
    options = cli.HELP.partition("\noptions:\n")[2].partition("\nexamples:")[0]
    named = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", options))
    assert named >= {*invocation.OWN_OPTIONS, invocation.RESUME}


def test_what_needs_no_class_is_refused_without_torch(tmp_path):
    config = tmp_path / "a.yaml"
    config.write_text("model: {class_path: os.system}\ndata: {class_path: finelab.data.TextDataModule}\n")
    text, _ = run("fit", "-c", str(config))
    assert "heavy: [] code: 2" in text
    assert f"{config}:1 sets model.class_path: os.system, which is not allowed" in text


def test_the_console_script_is_installed():
    from importlib.metadata import entry_points

    (script,) = entry_points(group="console_scripts", name="finelab")
    assert script.value == "finelab.scripts.cli:main"
