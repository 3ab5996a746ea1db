"""Where the numbers of a report come from."""

from pathlib import Path

import pytest

from finelab.studies.analysis.provenance import command
from finelab.studies.study_file import read_study

FILE = "study: toy\nbase: base.yaml\nfactors: {f: {a: {}, b: {}}}\nbaseline: {f: a}\nmetric: test/accuracy\n"


@pytest.mark.parametrize(
    ("own", "root", "says"),
    [
        ("", None, ""),
        ("", "runs", ""),
        ("", "over there", " --root 'over there'"),
        ("root: there\n", "there", ""),
        ("root: there\n", "runs", " --root runs"),
        ("", "../beside", " --root ../beside"),
        ("", "/outside", " --root DIR"),
    ],
)
def test_the_command_names_the_root_that_the_file_does_not(tmp_path, monkeypatch, own, root, says):
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text("{}")
    Path("toy.yaml").write_text(FILE + own)
    study = read_study(Path("toy.yaml"), None if root is None else Path(root))
    assert command(study) == f"finelab study run toy.yaml{says}"
