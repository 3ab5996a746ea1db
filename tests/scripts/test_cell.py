"""``finelab cell FOLDER``: one attempt."""

import json
import sys
from pathlib import Path

import pytest
import yaml

from finelab.contracts.record import read_record
from finelab.contracts.run_config import RunConfig, config_digest
from finelab.contracts.run_lock import RunLock
from finelab.contracts.seeds import Seeds
from finelab.contracts.state_folder import latest_state, write_manifest
from finelab.scripts import cell as command
from finelab.scripts.cli import main
from finelab.studies.cell import Cell
from finelab.studies.cell_folder import truth_of, write_cell
from finelab.studies.results import finished_record

SEEDS = Seeds(5, 5, 5)


@pytest.fixture(autouse=True)
def by_hand(monkeypatch):
    """Nobody's child."""
    monkeypatch.delenv("FINELAB_PARENT", raising=False)
    monkeypatch.setattr("sys.argv", ["finelab"])


@pytest.fixture
def words(monkeypatch):
    """Of the fit that would be started."""
    found: list[list[str]] = []
    monkeypatch.setattr(command, "fit", lambda given: found.append(given) or 0)
    return found


def a_cell(config: dict) -> Cell:
    return Cell("0123456789abcdef", "lora", None, "report", 0, 0, 0, SEEDS, {}, config, config_digest(config))


@pytest.fixture
def folder(here) -> Path:
    """Of a cell that nothing has happened to."""
    place = here / "cells" / "lora-report-0-0123456789abcdef"
    write_cell(place, a_cell({"seeds": SEEDS.as_dict(), "model": {}}))
    return place


def leave_state(run: Path) -> None:
    """A run that was stopped after its fourth step."""
    state = run / "checkpoints" / "state-00000004"
    state.mkdir(parents=True)
    (state / "state.safetensors").write_text("made up")
    write_manifest(state, {"step": 4})
    (run / "config.yaml").write_text("seeds: 5\n")


def test_a_fresh_one_then_a_second_call_then_after_its_record_is_lost(config, here):
    """The whole way, with a real fit: the result is that of this configuration, once."""
    assert main(["fit", "-c", str(config()), "--run.root", "first", "--run.name", "a"]) == 0
    whole = {key: value for key, value in RunConfig.read(here / "first" / "a").content.items() if key != "run"}
    cell, folder = a_cell(whole), here / "cells" / "lora-report-0-0123456789abcdef"
    write_cell(folder, cell)
    assert main(["cell", str(folder)]) == 0
    record = finished_record(cell, folder / "run")
    assert record is not None and record.metrics == read_record(here / "first" / "a").metrics
    assert yaml.safe_load((folder / "config.yaml").read_text())["run"] == {"root": str(folder), "name": "run"}
    written = (folder / "run" / "record.json").stat().st_mtime_ns
    assert main(["cell", str(folder)]) == 0
    assert (folder / "run" / "record.json").stat().st_mtime_ns == written
    (folder / "run" / "record.json").write_text("{")
    assert truth_of(folder, cell).state == "nothing"
    assert main(["cell", str(folder)]) == 0
    again = finished_record(cell, folder / "run")
    assert again is not None and again.metrics == record.metrics
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "cell.json", "config.yaml", "run"]


def test_a_fresh_run_gets_its_place_whatever_the_file_says(folder, words):
    moved = folder.with_name("moved-0123456789abcdef")
    folder.rename(moved)
    assert main(["cell", str(moved), "--trust-module", "mine", "--trust-module", "theirs"]) == 0
    (said,) = words
    assert said[:3] == ["fit", "-c", str(moved / "config.yaml")] and "--no-check" in said
    assert said[said.index("--run.root") + 1] == str(moved) and said[said.index("--run.name") + 1] == "run"
    assert said[-4:] == ["--trust-module", "mine", "--trust-module", "theirs"]


def test_one_with_a_training_state_goes_on(folder, words):
    leave_state(folder / "run")
    assert main(["cell", str(folder)]) == 0
    assert words == [["fit", "--resume", str(folder / "run"), "--no-check"]]


@pytest.mark.parametrize("harm", ["changed", "without manifest", "without config"])
def test_a_damaged_state_is_no_state(harm, folder, words):
    run = folder / "run"
    leave_state(run)
    state = latest_state(run)
    assert state is not None
    match harm:
        case "changed":
            (state / "state.safetensors").write_text("another")
        case "without manifest":
            (state / "manifest.json").unlink()
        case _:
            (run / "config.yaml").unlink()
    assert main(["cell", str(folder)]) == 0
    assert words[0][:2] == ["fit", "-c"] and not run.exists()


@pytest.mark.parametrize(
    ("status", "goes_on"),
    [("interrupted", True), ("failed: memory", True), ("failed: disk", True), ("failed: nonfinite", False),
     ("failed: data", False), ("failed: error", False), ("finished", False)],
)  # fmt: skip
def test_what_would_end_the_same_way_is_begun_anew(status, goes_on, folder, words, monkeypatch):
    leave_state(folder / "run")
    fake = type("Fake", (), {"status": status})
    monkeypatch.setattr(command, "record_in", lambda run: fake)
    assert main(["cell", str(folder)]) == 0
    assert (words[0][1] == "--resume") is goes_on
    assert (folder / "run").exists() is goes_on


def test_a_run_without_a_state_is_removed_with_what_a_kill_left(folder, words):
    (folder / "run").mkdir()
    (folder / ".run.part-0a1b2c3d").mkdir()
    (folder / ".config.yaml.part-0a1b2c3d").write_text("x")
    assert main(["cell", str(folder)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "cell.json", "config.yaml"]


@pytest.mark.parametrize("what", ["cell", "run"])
def test_one_that_somebody_else_has_is_left_alone(what, folder, words, capsys):
    (folder / "run").mkdir()
    with RunLock(folder if what == "cell" else folder / "run"):
        assert main(["cell", str(folder)]) == 75
    assert words == [] and (folder / "run").exists() and "another process" in capsys.readouterr().err


def test_wrong_words_and_wrong_folders_are_refused(here, folder, capsys):
    for given in ([], [str(folder), "--trust-module"], [str(folder), "--slots", "2"]):
        assert main(["cell", *given]) == 2
        assert "cell takes a cell's folder" in capsys.readouterr().err
    (folder / "cell.json").write_text(json.dumps({"id": 1}))
    for place in (folder, here / "nothing"):
        assert main(["cell", str(place)]) == 2
        assert "is not the cell of a study" in capsys.readouterr().err


def test_ranks_of_a_cell_are_told_what_it_runs(folder, monkeypatch):
    """Lightning starts them with the words of this process."""
    seen = []
    monkeypatch.setattr("finelab.scripts.cli.read_invocation", lambda given: seen.append([*sys.argv]) or exit(7))
    monkeypatch.setattr("sys.argv", ["finelab", "cell", str(folder)])
    assert main(["cell", str(folder)]) == 7
    assert seen[0][1] == "fit"
