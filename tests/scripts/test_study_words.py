"""What ``finelab study`` understands, and how it refuses the rest."""

import pytest

from finelab.contracts.errors import UserError
from finelab.scripts.cli import main
from finelab.scripts.study import HELP
from finelab.scripts.studying.words import OPTIONS, Words, read_words


def test_words_are_sorted_wherever_they_stand():
    assert read_words(
        ["run", "--slots", "2", "a.yaml", "--root=there", "--fail-fast", "--trust-module", "mine"]
    ) == Words("run", "a.yaml", "there", ("mine",), 2, frozenset({"--fail-fast"}))
    assert read_words(["retry", "a", "--cell", "12", "--cell=34"]).cells == ("12", "34")
    assert read_words(["status", "a.yaml", "--watch"]).switches == {"--watch"}


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("rum a.yaml", "did you mean run?"),
        ("frobnicate a.yaml", "plan|run|status|retry|report FILE"),
        ("run", "names no study file; it takes one: finelab study run FILE"),
        ("run a.yaml b.yaml", "names 2 files, a.yaml, b.yaml"),
        ("run a.yaml --fail-fats", "did you mean --fail-fast?"),
        ("run a.yaml --watch", "--watch on the command line belongs to finelab study status, not to run"),
        ("run a.yaml --slots", "--slots on the command line needs a number after it"),
        ("run a.yaml --slots 0", "--slots 0 on the command line has to be a number"),
        ("run a.yaml --slots=-1", "--slots -1"),
        ("run a.yaml --fail-fast=yes", "--fail-fast takes no value"),
        ("run a.yaml --root --slots 2", "--root on the command line needs a folder"),
        ("retry a.yaml", "takes either --failed"),
        ("retry a.yaml --failed --cell 1", "both were given"),
        ("report a.yaml --seed 1", "is no option here: finelab study report takes --root, --trust-module"),
    ],
)
def test_the_rest_is_refused_in_one_paragraph(line, says, capsys):
    assert main(["study", *line.split()]) == 2
    out, err = capsys.readouterr()
    assert not out and err.startswith("finelab: ") and err.count("\n") == 1
    assert says in err


def test_another_command_keeps_what_was_given():
    words = read_words(["run", "a b.yaml", "--root", "over there", "--trust-module", "mine", "--slots", "2"])
    assert words.command("run") == "finelab study run 'a b.yaml' --root 'over there' --trust-module mine --slots 2"
    assert words.command("retry", "--failed").endswith("--trust-module mine --slots 2 --failed")
    assert words.command("report") == "finelab study report 'a b.yaml' --root 'over there' --trust-module mine"
    assert read_words(["run", "a.yaml"]).command("plan") == "finelab study plan a.yaml"


def test_a_refusal_keeps_the_root_too(capsys):
    assert main(["study", "retry", "a.yaml", "--root", "there"]) == 2
    assert "finelab study status a.yaml --root there lists" in capsys.readouterr().err


def test_what_an_error_echoes_cannot_steer_the_terminal(capsys, tmp_path):
    for line in (["run", "\x1b[31mred.yaml"], ["r\x1bun", "a.yaml"]):
        assert main(["study", *line]) == 2
        err = capsys.readouterr().err
        assert "\x1b" not in err and "\\x1b" in err
    (tmp_path / "red.yaml").write_text(
        'study: "a\\eb"\nbase: base.yaml\nfactors: {f: {a: {}}}\nbaseline: {f: a}\nmetric: test/accuracy\n'
    )
    assert main(["study", "plan", str(tmp_path / "red.yaml")]) == 2
    err = capsys.readouterr().err
    assert "\x1b" not in err and r"a\x1bb" in err


def test_an_unknown_command_that_is_near_study_is_told():
    with pytest.raises(UserError, match="study"):
        from finelab.scripts.invocation import read_invocation

        read_invocation(["studdy", "run"])


def test_help_names_every_option_and_verb(capsys):
    for line in (["study"], ["study", "--help"], ["study", "run", "-h"]):
        assert main(line) == 0
        assert capsys.readouterr().out == HELP
    assert all(f"  {verb} " in HELP for verb in OPTIONS)
    assert all(option in HELP for options in OPTIONS.values() for option in options)
