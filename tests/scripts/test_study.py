"""``finelab study`` on made-up runs: a study file, an engine whose cells end at once, and what a user sees."""

import dataclasses
import importlib.util
import json
import os
import signal
from pathlib import Path

import pytest
import yaml

from finelab.contracts.record import write_record
from finelab.contracts.run_lock import RunLock
from finelab.scripts.cli import main
from finelab.scripts.studying import found as finding
from finelab.scripts.studying import reporting
from finelab.studies import measurements
from finelab.studies import planning as plans
from finelab.studies.cell_file import read_cell
from finelab.studies.engines.engine import Job, JobState
from finelab.studies.resolution import Measured, Resolution, Resolved

HERE = Path(__file__).resolve().parent


def _made_up():
    path = HERE.parent / "studies" / "made_up.py"
    spec = importlib.util.spec_from_file_location("made_up_studies", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


made_up = _made_up()
STUDY = {
    "study": "toy",
    "question": "Is b better?",
    "base": "base.yaml",
    "factors": {"method": {"a": {}, "b": {"data.b": 1}, "c": {"data.c": 1}}},
    "baseline": {"method": "a"},
    "replicates": 3,
    "metric": "test/accuracy",
}
QUALITY = {"a": 0.5, "b": 0.7, "c": 0.6}


class AtOnce:
    """An engine without processes.

    Args:
        fate: name of an arm -> exit status of its cells; 0 where it is missing, and then they leave a record.
    """

    slots = 2

    def __init__(self, fate: dict[str, int]) -> None:
        self.fate = fate
        self.ran: list[str] = []

    def open(self) -> None: ...

    def close(self) -> None: ...

    def cancel(self, handle, kill=False) -> None: ...

    def submit(self, job: Job) -> int:
        cell = read_cell(job.folder)
        self.ran.append(job.label)
        if code := self.fate.get(cell.arm, 0):
            (job.folder / "log.txt").write_text("finelab: the loss went wrong\n")
            if code < 0:  # Ctrl-C while it runs
                os.kill(os.getpid(), signal.SIGINT)
                return 143
            return code
        value = QUALITY[cell.arm] + 0.01 * cell.seeds.data % 0.03
        record = made_up.a_record(cell, {"accuracy": value, "nll": 1 - value}, 8, examples={})
        (job.folder / "run").mkdir(exist_ok=True)
        write_record(record, job.folder / "run")
        return 0

    def poll(self, handles) -> list[JobState]:
        return [JobState("exited", code, "here") for code in handles]


@pytest.fixture
def engine(monkeypatch):
    found = AtOnce({})
    monkeypatch.setattr(finding, "engine_of", lambda spec, folder: found)
    for module in (plans, measurements):
        monkeypatch.setattr(module, "resolve", resolve)
    monkeypatch.setattr(reporting, "write_report", write_page)
    monkeypatch.setenv("COLUMNS", "100")
    return found


def write_page(analysis, folder: Path) -> Path:
    """In the place of a report, whose figures take seconds and have tests of their own."""
    page = folder / "report" / "report.html"
    page.parent.mkdir(exist_ok=True)
    page.write_text(" ".join(analysis.verdict))
    return page


def resolve(study, variants, measure=()):
    """As ``finelab resolve`` without its child: the overrides are the configuration."""
    found = {}
    for variant in variants:
        own = {key: value for _, overrides in variant.overrides for key, value in overrides.items()}
        config = {"seeds": 1, "evaluate_test": False, "trainer": {"max_steps": 5}, "lr": 0.1, "data": own}
        seen = Measured(0.1, 2e9 if "b" in str(own) else 1e9, 64, 40, 0.5, 10**9, 1_000, 100_000)
        found[variant.name] = Resolved(config, "d1", "b1", seen if variant.name in measure else None)
    return Resolution(found, made_up.VERSIONS, "c0de")


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a study file into the current folder, with some keys changed."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text("{}")

    def to(**changes) -> str:
        (tmp_path / "toy.yaml").write_text(yaml.safe_dump(STUDY | changes, sort_keys=False))
        return "toy.yaml"

    return to


@pytest.fixture
def say(capsys):
    """Runs a command line and gives its exit code and all that it printed."""

    def run(*words: str) -> tuple[int, str]:
        code = main(["study", *words])
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run


def test_a_study_is_run_once_and_ends_with_its_verdict(engine, write, say):
    code, printed = say("run", write())
    assert code == 0 and len(engine.ran) == 9
    assert "[9/9] done" in printed and "test/accuracy 0.7" in printed
    assert "report: runs/toy/report/report.html" in printed and Path("runs/toy/report/report.html").is_file()
    assert "Not powered: with 3 pairs of seeds nothing is claimed" in printed.partition("[9/9]")[2]
    code, printed = say("run", "toy.yaml")
    assert code == 0 and len(engine.ran) == 9
    assert "9 of the cells are done already" in printed


def test_the_folder_of_its_results_names_a_study_too(engine, write, say):
    say("run", write())
    Path("toy.yaml").unlink()
    for verb in ("status", "report", "run"):
        code, printed = say(verb, "runs/toy")
        assert code == 0, printed
    Path("runs/toy").rename("elsewhere")
    code, printed = say("report", "elsewhere")
    assert code == 0 and "elsewhere/report/report.html" in printed and len(engine.ran) == 9


def test_a_changed_file_shows_what_changed_and_runs_only_what_is_new(engine, write, say):
    say("run", write())
    engine.ran.clear()
    factors = {"method": {"a": {}, "b": {"data.b": 2}, "c": {"data.c": 1}}}
    code, printed = say("run", write(factors=factors))
    assert code == 0 and len(engine.ran) == 3 and all(label.startswith("b-") for label in engine.ran)
    assert "-      data.b: 1" in printed and "+      data.b: 2" in printed
    assert "6 of the cells are done already" in printed and "3 finished cells" in printed
    assert len(list(Path("runs/toy/cells").iterdir())) == 12


def test_failed_cells_stop_nothing_else_and_are_run_again_when_asked(engine, write, say):
    engine.fate["b"] = 1
    code, printed = say("run", write())
    assert code == 1 and len(engine.ran) == 9
    assert "3 failed" in printed and "the loss went wrong" in printed and "retry toy.yaml --failed" in printed
    code, printed = say("run", "toy.yaml")
    assert code == 1 and len(engine.ran) == 9, "what has failed for good is not run again by itself"
    failed = next(Path("runs/toy/cells").glob("b-report-0-*")).name.rpartition("-")[2]
    engine.fate.clear()
    code, printed = say("retry", "toy.yaml", "--cell", failed[:6])
    assert code == 1 and len(engine.ran) == 10 and f"({failed})" in printed
    code, printed = say("retry", "toy.yaml", "--failed")
    assert code == 0 and len(engine.ran) == 12
    assert "No cell of toy has failed" in say("retry", "toy.yaml", "--failed")[1]


@pytest.mark.parametrize(
    ("cell", "says"), [("zzzz", "is no cell of this study"), ("DONE", "only a cell that has failed")]
)
def test_a_cell_that_cannot_be_tried_again_is_told(engine, write, say, cell, says):
    say("run", write())
    done = next(Path("runs/toy/cells").iterdir()).name.rpartition("-")[2]
    code, printed = say("retry", "toy.yaml", "--cell", done if cell == "DONE" else cell)
    assert code == 2 and says in printed


def test_fail_fast_starts_nothing_more(engine, write, say):
    engine.fate["a"] = 1
    code, _ = say("run", write(), "--fail-fast")
    assert code == 1 and len(engine.ran) <= 4


def test_ctrl_c_ends_with_how_to_go_on(engine, write, say):
    engine.fate["b"] = -1
    code, printed = say("run", write())
    assert code == 130 and "finelab study run toy.yaml goes on" in printed
    engine.fate.clear()
    code, printed = say("run", "toy.yaml")
    assert code == 0 and "[9/9]" in printed


def test_commands_to_go_on_with_name_the_root(engine, write, say):
    line = "toy.yaml --root there --trust-module mine"
    given = line.split()
    assert f"finelab study run {line} runs it." in say("plan", write(), *given[1:])[1]
    assert f"finelab study plan {line} says more" in say("status", *given)[1]
    assert f"finelab study run {line} does" in say("report", *given)[1]
    engine.fate["b"] = -1
    assert f"finelab study run {line} goes on" in say("run", *given)[1]
    engine.fate["b"] = 1
    assert f"finelab study retry {line} --failed tries" in say("run", *given)[1]


def test_a_question_cannot_steer_the_terminal(engine, write, say):
    printed = say("plan", write(question="Is \x1b[31mb better?"))[1]
    assert "\x1b" not in printed and "\\x1b[31mb" in printed


def test_a_design_without_a_comparison_is_said_before_it_is_run(engine, write, say):
    alone = {"factors": {"method": {"a": {}}}, "noise": 2, "replicates": 1}
    nothing = "No comparison follows from this file"
    code, printed = say("plan", write(**alone))
    told = " ".join(printed.split())
    assert code == 0 and nothing in told and "finds a true difference" not in told and "1 arm x 1 replicate " in told
    code, printed = say("run", "toy.yaml")
    assert code == 0 and nothing in printed
    for within in ({}, {"within": ["method"]}):
        code, printed = say("plan", write(study="other", **within))
        assert code == 0 and (nothing in printed) == bool(within)


def test_a_metric_that_no_cell_has_stops_the_study_after_the_first(engine, write, say):
    code, printed = say("run", write(metric={"name": "chrf", "split": "test"}))
    assert code == 1 and len(engine.ran) <= engine.slots
    assert "toy.yaml sets metric: test/chrf, which no finished cell has" in printed
    assert "test/accuracy, test/nll, validation/accuracy, validation/nll" in printed and "report:" not in printed
    started = len(engine.ran)
    assert say("run", "toy.yaml")[0] == 1 and len(engine.ran) == started
    code, printed = say("run", write())
    assert code == 0 and len(engine.ran) == 9, "what is finished is kept"


def test_a_plan_trains_nothing_and_says_what_the_design_can_show(engine, write, say):
    code, printed = say("plan", write(noise=2))
    assert code == 0 and not engine.ran and not Path("runs/toy/cells").exists()
    for said in (
        "3 arms x 3 replicates", "To run: 13 cells, 2 at a time: at least", "2.00 x", "they have no placebo: b (2.0 x)",
        "cannot go below p = 0.25 with 3 replicates", "Nothing is tuned", "a    (reference)",
    ):  # fmt: skip
        assert " ".join(said.split()) in " ".join(printed.split())
    assert json.loads(Path("runs/toy/measured.json").read_text())
    assert "No time is estimated" in say("plan", write(study="other"), "--no-measure")[1]


def test_steps_are_measured_once(engine, write, say, monkeypatch):
    asked = []

    def counting(study, variants, measure=()):
        asked.append(list(measure))
        return resolve(study, variants, measure)

    monkeypatch.setattr(measurements, "resolve", counting)
    monkeypatch.setattr(plans, "resolve", counting)
    say("plan", write())
    say("plan", "toy.yaml")
    say("plan", write(factors={"method": {"a": {}, "b": {"data.b": 2}, "c": {"data.c": 1}}}))
    assert asked == [["a", "b", "c"], [], [], ["b"]]


def test_status_of_a_study_that_never_ran_and_of_one_that_did(engine, write, say):
    code, printed = say("status", write())
    assert code == 0 and "has not been run" in printed and "3 arms and 3 replicates" in " ".join(printed.split())
    engine.fate["b"] = 1
    say("run", "toy.yaml")
    code, printed = say("status", "toy.yaml")
    assert code == 0 and printed.count("● done") == 7 and printed.count("✗ failed") == 4  # 6, 3 and the legend
    assert "error: the loss went wrong" in printed and "toy: 6 of 9 cells, 3 failed" in printed
    assert "Nobody is running it" in printed


def test_a_report_of_half_a_study_says_what_is_missing(engine, write, say):
    code, printed = say("report", write())
    assert code == 2 and "nothing of this study has been run" in printed
    engine.fate["b"] = 1
    say("run", "toy.yaml")
    Path("runs/toy/report/report.html").unlink()
    code, printed = say("report", "toy.yaml")
    assert code == 0 and "Missing, and shown as missing: 3 failed" in printed and len(engine.ran) == 9
    assert Path("runs/toy/report/report.html").is_file()


def test_two_controllers_never_run_one_study(engine, write, say):
    say("run", write())
    with RunLock(Path("runs/toy")):
        code, printed = say("run", "toy.yaml")
        assert code == 2 and "is being run by process" in printed
        assert "It is being run by process" in say("status", "toy.yaml")[1]


@pytest.mark.parametrize(
    ("name", "says"),
    [("tyo.yaml", "did you mean toy.yaml?"), (".", "no study has run there; it holds base.yaml, toy.yaml")],
)
def test_a_study_that_is_not_there_is_told_with_what_is(write, say, name, says):
    write()
    code, printed = say("run", name)
    assert code == 2 and says in printed


@pytest.mark.parametrize(("engine", "says"), [({"slot": 2}, "did you mean 'slots'?"), ({"slots": "many"}, "'many'")])
def test_a_wrong_option_of_the_engine_is_told_with_the_file(write, say, engine, says):
    code, printed = say("plan", write(engine=engine))
    assert code == 2 and printed.startswith("finelab: toy.yaml: engine.slot") and says in printed


def test_other_slots_are_for_the_engine(write, say, monkeypatch):
    from finelab.scripts.studying.found import find_study
    from finelab.scripts.studying.words import read_words

    write(engine={"name": "local", "threads": 1})
    study = find_study(read_words(["run", "toy.yaml", "--slots", "3", "--root", "there", "--trust-module", "mine"]))
    assert study.engine.options == {"threads": 1, "slots": 3} and study.folder == Path("there/toy")
    assert study.trusted == ("mine",) and dataclasses.is_dataclass(study)
