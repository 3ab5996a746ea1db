"""Running a study, with children that stand in for runs."""

import dataclasses
import errno
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

import finelab.studies.books as books
from finelab.contracts.errors import UserError
from finelab.contracts.record import write_record
from finelab.contracts.run_config import config_digest
from finelab.contracts.run_lock import RunLock
from finelab.studies.cell import Cell
from finelab.studies.cell_file import read_cell
from finelab.studies.cell_folder import truth_of, write_cell
from finelab.studies.engines.local import Local
from finelab.studies.engines.process_launcher import ProcessLauncher
from finelab.studies.entries import entries_of
from finelab.studies.event_log import EventLog, event
from finelab.studies.ledger import LEDGER_FILE, read_ledger
from finelab.studies.results import read_results
from finelab.studies.retry import retry

from .made_up import a_record
from .running import Due, Running, a_cell, stand_in


def test_everything_is_run_once_and_never_again(tmp_path):
    cells = [a_cell(number) for number in range(5)]
    study = Running(tmp_path, cells)
    outcome = study.run()
    assert (outcome.complete, outcome.ran, outcome.failed, outcome.exit_code) == (True, 5, (), 0)
    assert study.count("start") == study.count("done") == dict.fromkeys([cell.id for cell in cells], 1)
    rows = {entry.id: entry for entry in read_ledger(study.folder)}
    assert {entry.state for entry in rows.values()} == {"done"} and rows.keys() == {cell.id for cell in cells}
    assert [state for _, state in study.watcher.seen if state == "done"] == ["done"] * 5
    again = study.run()
    assert (again.complete, again.ran) == (True, 0)
    assert sum(study.count("start").values()) == 5


def shown(number: int, every: int) -> Cell:
    """One with a setting that its identity leaves out, since it changes no number."""
    cell = a_cell(number)
    config = cell.config | {"trainer": {"log_every_n_steps": every}}
    return dataclasses.replace(cell, config=config, config_digest=config_digest(config))


def test_what_changes_no_number_loses_no_result(tmp_path):
    before, after = [shown(1, 50), shown(2, 50)], [shown(1, 10), shown(2, 10)]
    assert before[0].id == after[0].id and before[0].config_digest != after[0].config_digest
    study = Running(tmp_path, before)
    assert study.run().ran == 2
    study.cells = after
    outcome = study.run()
    assert (outcome.complete, outcome.ran) == (True, 0)
    assert [found.cell for found in read_results(study.folder, after)] == after
    assert [found.cell for found in read_results(study.folder, before)] == before
    record = study.place(after[0]) / "run" / "record.json"
    record.write_text(record.read_text().replace(before[0].config_digest, "another"))
    assert len(read_results(study.folder, after)) == 1, "a record of neither is no result"


@pytest.mark.parametrize(
    ("status", "kept"), [("interrupted", True), ("failed: memory", True), ("failed: error", False)]
)
def test_a_run_that_goes_on_keeps_its_configuration(status, kept, tmp_path):
    before, after = shown(1, 50), shown(1, 10)
    study = Running(tmp_path, [before])
    folder = study.place(before)
    write_cell(folder, before)
    (folder / "run" / "checkpoints" / "state-00000001").mkdir(parents=True)
    error = {"type": "x", "message": "y"} if status.startswith("failed") else None
    record = a_record(before, {"accuracy": 1.0}, 1)
    write_record(dataclasses.replace(record, status=status, error=error), folder / "run")
    write_cell(folder, dataclasses.replace(after, arm="renamed"))
    written = read_cell(folder)
    assert (written.arm, written.config_digest) == ("renamed", (before if kept else after).config_digest)
    assert yaml.safe_load((folder / "config.yaml").read_text())["trainer"]["log_every_n_steps"] == (50 if kept else 10)
    (folder / "run" / "record.json").unlink()
    study.cells = [after]
    assert study.run().complete and len(read_results(study.folder, [after])) == 1


def test_a_folder_that_was_renamed_is_nobodys(tmp_path):
    cells = [a_cell(1), a_cell(2)]
    study = Running(tmp_path, cells)
    study.run()
    folder = study.place(cells[0])
    folder.rename(folder.with_name(f"{folder.name}.bak"))
    assert {entry.id: entry.state for entry in entries_of(study.folder)} == {cells[1].id: "done"}
    assert len(read_results(study.folder, cells)) == 1
    outcome = study.run()
    assert (outcome.complete, outcome.ran) == (True, 1)
    assert len(read_results(study.folder, cells)) == 2


class Refusing(Local):
    """An engine whose system has no process left for it, so many times from the second cell on."""

    def __init__(self, times: int) -> None:
        super().__init__(slots=2, gpus=0, launcher=ProcessLauncher(stand_in))
        self.asked, self.times = 0, times

    def submit(self, job):
        self.asked += 1
        if 1 < self.asked <= self.times + 1:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return super().submit(job)


@pytest.mark.parametrize(("times", "failed"), [(1, 0), (3, 1)])
def test_a_process_that_cannot_be_started_stops_no_other(times, failed, tmp_path):
    cells = [a_cell(1, seconds=0.5), a_cell(2)]
    study = Running(tmp_path, cells, retries=2)
    outcome = study.run(engine=Refusing(times))
    assert (outcome.complete, outcome.ran, len(outcome.failed)) == (not failed, 2 - failed, failed)
    assert study.count("start") == {cells[0].id: 1, cells[1].id: 3 if failed else 2}
    assert all(
        entry.reason == "infrastructure" and "temporarily unavailable" in entry.message for entry in outcome.failed
    )


def test_what_follows_from_results_is_run_after_them(tmp_path):
    first, second = [a_cell(1), a_cell(2)], [a_cell(3)]

    def due(finished, failed):
        cells = second if all(cell.id in finished for cell in first) else first
        return Due([cell for cell in cells if cell.id not in finished], first + second, second[0].id in finished)

    study = Running(tmp_path, [])
    assert study.run(due=due).complete
    assert [found["cell"] for found in study.events("start")][-1] == second[0].id


@pytest.mark.parametrize(
    ("fate", "reason", "attempts", "says"),
    [
        ("say", "error", 1, "ValueError: made up"),
        ("refuse", "refused", 1, "made up: refused."),
        ("lie", "error", 1, "left no valid record"),
        ("failed: nonfinite", "nonfinite", 1, "made up: failed: nonfinite"),
        ("failed: data", "data", 1, "made up: failed: data"),
        ("failed: memory", "memory", 2, "made up: failed: memory"),
        ("kill", "infrastructure", 3, "killed by SIGKILL"),
    ],
)
def test_one_that_fails_stops_no_other_and_is_tried_again_as_its_class_says(fate, reason, attempts, says, tmp_path):
    cells = [a_cell(1, fate), a_cell(2), a_cell(3)]
    study = Running(tmp_path, cells, retries=2, memory_retries=1)
    outcome = study.run()
    assert (outcome.complete, outcome.ran, outcome.exit_code) == (False, 2, 1)
    (failed,) = outcome.failed
    assert (failed.id, failed.state, failed.reason, failed.attempts) == (cells[0].id, "failed", reason, attempts)
    assert says in failed.message
    assert study.run().ran == 0, "what has failed is not tried again by itself"
    assert study.count("start")[cells[0].id] == attempts


def test_an_infrastructure_that_comes_back_costs_nothing(tmp_path):
    cells = [a_cell(1, "kill", "kill", "finish")]
    study = Running(tmp_path, cells, retries=2)
    assert study.run().complete
    assert [found["event"] for found in study.events("start", "again", "failed", "done")] == [
        *("start", "again") * 2, "start", "done",
    ]  # fmt: skip


def test_attempts_that_get_further_are_not_counted(tmp_path):
    """As on machines that are taken away every hour."""
    study = Running(tmp_path, [a_cell(1, "step", "step", "step", "kill", "kill", "finish")], retries=1)
    (failed,) = study.run().failed
    assert (failed.attempts, failed.failures) == (5, 2)


def test_a_retry_begins_with_all_attempts_before_it(tmp_path):
    cells = [a_cell(1, "kill", "say", "kill", "finish"), a_cell(2, "say", "finish"), a_cell(3)]
    study = Running(tmp_path, cells, retries=1)
    assert [entry.state for entry in study.run().failed] == ["failed"] * 2
    with pytest.raises(UserError, match="is done, and only a cell that has failed"):
        retry(study.folder, [cells[2].id])
    with pytest.raises(UserError, match="is no cell of this study"):
        retry(study.folder, ["nothing"])
    assert [entry.state for entry in retry(study.folder, [cells[1].id[:8]])] == ["interrupted"]
    assert [entry.id for entry in study.run().failed] == [cells[0].id]
    assert [entry.id for entry in retry(study.folder)] == [cells[0].id]
    assert study.run().complete
    assert study.count("again") == {cells[0].id: 2}


def test_fail_fast_stops_the_others_which_go_on_later(tmp_path):
    cells = [a_cell(1, "say", seconds=0.3), a_cell(2, "hang", "finish"), a_cell(3)]
    study = Running(tmp_path, cells)
    outcome = study.run(fail_fast=True)
    assert (outcome.ran, outcome.exit_code) == (0, 1) and any("--fail-fast" in said for said in study.watcher.said)
    rows = {entry.id: entry.state for entry in read_ledger(study.folder)}
    assert rows == {cells[0].id: "failed", cells[1].id: "interrupted", cells[2].id: "pending"}
    assert study.run().ran == 2


def test_a_cell_that_takes_too_long_is_stopped_and_not_tried_again(tmp_path):
    cells = [a_cell(1, "hang"), a_cell(2, "deaf"), a_cell(3)]
    study = Running(tmp_path, cells, timeout=0.3)
    outcome = study.run()
    assert [(entry.reason, entry.attempts) for entry in outcome.failed] == [("timeout", 1)] * 2
    assert outcome.ran == 1
    codes = {found["cell"]: found["code"] for found in study.events("failed")}
    assert codes == {cells[0].id: 143, cells[1].id: -9}, "SIGTERM, and SIGKILL for the one that does not listen"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_signal_lets_cells_save_and_the_next_run_goes_on(number, tmp_path):
    cells = [a_cell(1, "hang", "finish"), a_cell(2, "hang", "finish"), a_cell(3)]
    study = Running(tmp_path, cells)
    threading.Timer(0.5, os.kill, (os.getpid(), number)).start()
    outcome = study.run()
    assert (outcome.signal, outcome.exit_code, outcome.ran) == (number, 128 + number, 0)
    assert [truth_of(study.place(cell), cell).state for cell in cells] == ["interrupted"] * 2 + ["nothing"]
    rows = {entry.id: (entry.state, entry.failures) for entry in read_ledger(study.folder)}
    assert rows == {cells[0].id: ("interrupted", 0), cells[1].id: ("interrupted", 0), cells[2].id: ("pending", 0)}
    assert study.run().complete


def test_a_second_signal_kills(tmp_path):
    study = Running(tmp_path, [a_cell(1, "deaf", "finish")])
    for delay in (0.4, 0.6):
        threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT)).start()
    begun = time.monotonic()
    assert study.run(pace=None).signal == signal.SIGINT
    assert time.monotonic() - begun < 5, "SIGKILL, and not after the two minutes of grace"
    assert [found["code"] for found in study.events("interrupted")] == [-9]


def test_a_cell_without_room_pauses_the_study(tmp_path):
    cells = [a_cell(1, "failed: disk", "finish"), a_cell(2, seconds=0.3), a_cell(3)]
    study = Running(tmp_path, cells)
    outcome = study.run()
    assert (outcome.complete, outcome.ran, outcome.failed, outcome.exit_code) == (False, 1, (), 1)
    assert (
        "disk is full: made up: failed: disk. Nothing is lost" in outcome.paused
        and outcome.paused in study.watcher.said
    )
    assert {entry.id: entry.state for entry in read_ledger(study.folder)} == {
        cells[0].id: "interrupted", cells[1].id: "done", cells[2].id: "pending",
    }  # fmt: skip
    assert study.run().complete


def test_a_child_that_could_only_print_that_the_disk_is_full_pauses_it_too(tmp_path):
    study = Running(tmp_path, [a_cell(1, "full", "finish")])
    assert "No space left on device" in study.run().paused
    assert study.run().complete


@pytest.mark.parametrize("place", ["log", "ledger"])
@pytest.mark.parametrize("call", [3, 6, *(pytest.param(call, marks=pytest.mark.slow) for call in (2, 4, 5, 7, 8, 9))])
def test_a_disk_that_is_full_for_the_books_loses_nothing(place, call, tmp_path, monkeypatch):
    """At each of their writes in turn."""
    cells = [a_cell(number) for number in range(3)]
    study, calls = Running(tmp_path, cells), [0]

    def full() -> None:
        calls[0] += 1
        if calls[0] == call:
            if place == "log":
                raise OSError(28, "No space left on device")
            connection = sqlite3.connect(":memory:")
            connection.execute("PRAGMA max_page_count=1")
            connection.execute("CREATE TABLE t (a)")  # SQLite's own error

    owner, name = (EventLog, "append") if place == "log" else (books.Ledger, "put")
    real = getattr(owner, name)

    def failing(self, rows) -> None:
        full()
        real(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, failing)
        outcome = study.run(slots=1)
    if calls[0] >= call:
        assert "pauses, since its disk is full" in outcome.paused and outcome.exit_code == 1
    assert study.run().complete
    assert study.count("done") == dict.fromkeys([cell.id for cell in cells], 1)
    assert {entry.state for entry in read_ledger(study.folder)} == {"done"}


def test_a_stale_running_state_is_gone_on_from(tmp_path):
    """As a controller leaves it that was killed with everything on its machine."""
    cell = a_cell(1)
    study = Running(tmp_path, [cell])
    write_cell(study.place(cell), cell)
    EventLog(study.folder / "events.jsonl").append([event("start", cell=cell.id, record=None, log=0)])
    assert [entry.state for entry in entries_of(study.folder)] == ["interrupted"]
    assert study.run().complete
    assert [found["event"] for found in study.events("start", "interrupted", "done")] == [
        "start", "interrupted", "start", "done",
    ]  # fmt: skip
    assert study.events("interrupted")[0]["message"] == "It ended without a record, and nobody saw how."


def test_a_record_that_nobody_judged_still_tells(tmp_path):
    """The child wrote it, and its controller was killed before it looked."""
    cell = a_cell(1, "failed: nonfinite")
    study = Running(tmp_path, [cell])
    study.run()
    log = study.folder / "events.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(line for line in lines if '"failed"' not in line))
    outcome = study.run()
    assert [entry.reason for entry in outcome.failed] == ["nonfinite"] and study.count("start") == {cell.id: 1}


def test_a_cell_that_another_process_has_is_waited_for(tmp_path):
    cell = a_cell(1)
    study = Running(tmp_path, [cell])
    write_cell(study.place(cell), cell)
    lock = RunLock(study.place(cell))
    lock.acquire()
    threading.Timer(0.6, lock.release).start()
    begun = time.monotonic()
    assert [entry.state for entry in entries_of(study.folder)] == ["running"]
    assert study.run().complete and time.monotonic() - begun > 0.6
    assert study.count("start") == {cell.id: 1}


def test_one_controller_at_a_time(tmp_path):
    study = Running(tmp_path, [a_cell(1, seconds=2.5)])
    refused: list[str] = []

    def second() -> None:
        for attempt in (Running(tmp_path, study.cells).run, lambda: retry(study.folder)):
            try:
                attempt()
            except UserError as error:
                refused.append(str(error))

    threading.Timer(0.5, second).start()
    assert study.run().complete
    assert len(refused) == 2 and f"is being run by process {os.getpid()}" in refused[0]
    assert study.count("start") == {study.cells[0].id: 1}


def test_a_folder_removed_by_hand_is_made_again(tmp_path):
    cells = [a_cell(1), a_cell(2)]
    study = Running(tmp_path, cells)
    study.run()
    shutil.rmtree(study.place(cells[0]))
    assert sorted(entry.state for entry in entries_of(study.folder)) == ["done"]
    outcome = study.run()
    assert (outcome.complete, outcome.ran) == (True, 1)
    assert study.count("lost") == {cells[0].id: 1} and study.count("done") == {cells[0].id: 2, cells[1].id: 1}


def test_a_folder_removed_while_its_cell_runs_is_made_again(tmp_path):
    cell = a_cell(1, seconds=0.6)
    study = Running(tmp_path, [cell])
    threading.Timer(0.3, shutil.rmtree, (study.place(cell),)).start()
    assert study.run().complete
    assert [found["message"] for found in study.events("again")] == ["Its folder was removed while it ran."]


@pytest.mark.parametrize("damage", ["torn", "other content", "other seeds", "removed"])
def test_a_record_damaged_by_hand_is_no_result(damage, tmp_path):
    cells = [a_cell(1), a_cell(2)]
    study = Running(tmp_path, cells)
    study.run()
    record = study.place(cells[0]) / "run" / "record.json"
    text = record.read_text()
    match damage:
        case "torn":
            record.write_text(text[: len(text) // 2])
        case "other content":
            record.write_text(text.replace(cells[0].config_digest, cells[1].config_digest))
        case "other seeds":
            record.write_text(text.replace('"data": 1', '"data": 9'))
        case _:
            record.unlink()
    outcome = study.run()
    assert (outcome.complete, outcome.ran) == (True, 1)
    assert record.read_text() == text


@pytest.mark.parametrize("damage", ["garbage", "cut", "empty", "other version"])
def test_a_damaged_ledger_is_put_aside_and_made_anew(damage, tmp_path):
    cells = [a_cell(1), a_cell(2, "say")]
    study = Running(tmp_path, cells)
    study.run()
    before = {entry.id: entry for entry in read_ledger(study.folder)}
    ledger = study.folder / LEDGER_FILE
    content = ledger.read_bytes()
    match damage:
        case "garbage":
            ledger.write_bytes(b"not a ledger" * 1000)
        case "cut":
            ledger.write_bytes(content[: len(content) // 2])
        case "empty":
            ledger.write_bytes(b"")
        case _:
            with sqlite3.connect(ledger) as connection:
                connection.execute("DROP TABLE cells")
                connection.execute("CREATE TABLE cells (id, what)")
            connection.close()
    assert read_ledger(study.folder) == []
    study.run()
    assert {entry.id: entry for entry in read_ledger(study.folder)} == before
    aside = list(study.folder.glob("ledger.db.damaged-*"))
    assert len(aside) == (damage in ("garbage", "cut"))
    assert sum(study.count("start").values()) == 2


def test_without_log_and_ledger_records_are_enough(tmp_path):
    cells = [a_cell(1), a_cell(2, "failed: nonfinite")]
    study = Running(tmp_path, cells)
    study.run()
    for name in ("events.jsonl", LEDGER_FILE):
        (study.folder / name).unlink()
    outcome = study.run()
    assert (outcome.ran, [entry.reason for entry in outcome.failed]) == (0, ["nonfinite"])
    assert sum(study.count("start").values()) == 0


def test_a_renamed_arm_keeps_its_results(tmp_path):
    cells = [a_cell(1), a_cell(2, "hang", "finish")]
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    Running(tmp_path, cells).run()
    study = Running(tmp_path, [dataclasses.replace(cell, arm="another name") for cell in cells])
    assert study.run().ran == 1
    assert [result.cell for result in read_results(study.folder, study.cells)] == study.cells
    assert len(list((study.folder / "cells").iterdir())) == 2


@pytest.mark.parametrize("slots", [1, 3])
def test_any_number_of_slots_gives_the_same(slots, tmp_path):
    study = Running(tmp_path, [a_cell(number, "kill" if number == 4 else "finish", "finish") for number in range(6)])
    assert study.run(slots=slots).complete
    records = {cell.id: (study.place(cell) / "run" / "record.json").read_text() for cell in study.cells}
    assert all(f'"accuracy": {0.5 + number / 1000}' in records[cell.id] for number, cell in enumerate(study.cells))


def test_a_controller_that_is_killed_takes_its_cells_with_it(tmp_path):
    """The children ask the kernel for it; so no orphan writes beside the next controller's child."""
    program = (
        "import sys; from pathlib import Path; from studies.running import Running, a_cell; "
        "Running(Path(sys.argv[1]), [a_cell(1, 'hang', 'finish')]).run()"
    )
    root = Path(__file__).resolve().parents[2]
    environment = os.environ | {"PYTHONPATH": f"{root / 'build' / 'typing'}:{root / 'tests'}"}
    controller = subprocess.Popen([sys.executable, "-P", "-c", program, str(tmp_path)], env=environment)
    study = Running(tmp_path, [a_cell(1, "hang", "finish")])
    lock = study.place(study.cells[0]) / ".lock"
    deadline = time.monotonic() + 20
    while not (lock.exists() and lock.read_text()) and time.monotonic() < deadline:
        time.sleep(0.02)
    child = int(lock.read_text().split()[0])
    controller.kill()
    controller.wait()
    deadline = time.monotonic() + 5
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not Path(f"/proc/{child}").exists()
    assert study.run().complete
