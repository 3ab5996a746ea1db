"""docs/adapters.md is what its script measures, and leaves no method of PEFT out."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest
from peft import PeftType

SCRIPT = Path(__file__).resolve().parent.parent / "docs" / "adapters_table.py"
QUICK = ("LoRA", "LoRA, KaSA", "LoRA, Arrow", "AdaLora", "LinearProbe")


@pytest.fixture(scope="module")
def script():
    specification = importlib.util.spec_from_file_location("adapters_table", SCRIPT)
    sys.modules["adapters_table"] = module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def cases(script):
    return script.cases_module()


def first_cells(text):
    return [line.split(" | ")[0].removeprefix("| ") for line in text.splitlines() if line.startswith("| ")][1:]


def test_the_page_has_a_row_for_each_case(script, cases):
    assert first_cells(script.PAGE.read_text()) == [case.name for case in cases.every_case()]


def test_quick_rows_are_as_measured(script, cases):
    written = script.PAGE.read_text().splitlines()
    chosen = [case for case in cases.every_case() if case.name in QUICK]
    assert len(chosen) == len(QUICK)
    for line in script.page(cases, chosen).splitlines():
        assert line in written


def test_every_method_of_peft_is_in_it(script, cases):
    task = next(iter(cases.TASKS.values()))
    shown = {config.peft_type for case in cases.every_case() if hasattr(config := case.config(task), "peft_type")}
    assert set(PeftType) == shown


@pytest.mark.slow
def test_the_page_is_as_measured(script, cases):
    assert script.page(cases, cases.every_case()) == script.PAGE.read_text()
    assert not re.search(r"/tmp|/root|/work|/home", script.PAGE.read_text())
